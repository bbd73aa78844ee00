"""Next hops that accept, refuse, dawdle, hang up and lie; what they took is remembered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from mailrelay.testing.simulated.world import World


@frozen
class Character:
    """How likely a host misbehaves in one transaction or session; all are probabilities."""

    drop: float = 0.0
    temporary: float = 0.0
    permanent: float = 0.0
    slow: float = 0.0
    lie: float = 0.0
    always_temporary: bool = False
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 100000000", "8BITMIME", "DSN")


CHARACTERS = {
    "good.example": Character(),
    "flaky.example": Character(drop=0.3, temporary=0.3, slow=0.1),
    "plain.example": Character(drop=0.1, temporary=0.1, extensions=()),
    "chunky.example": Character(
        drop=0.2, slow=0.2, extensions=("PIPELINING", "CHUNKING", "8BITMIME")
    ),
    "strict.example": Character(permanent=0.4, temporary=0.1),
    "slow.example": Character(slow=0.5, drop=0.1),
    "liar.example": Character(lie=0.5, drop=0.1),
    "never.example": Character(always_temporary=True),
    "hub.example": Character(drop=0.15, temporary=0.15),
    "spare.example": Character(drop=0.1),
}

CHAIN = ("hub.example", "spare.example")
"""The relay hosts of who sends as somebody of the first."""

STAGES = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "content")


@define
class Acceptance:
    """A message that a peer answered 250 for, for one recipient."""

    recipient: str
    life: int
    at: float
    content: bytes = field(repr=False)
    heard_at: float | None = None  # when the 250 reached the node alive


@define(eq=False)
class Peers:
    """Every next hop, and what all of them took."""

    world: World
    accepted: list[Acceptance] = field(factory=list)
    told: dict[str, set[str]] = field(factory=dict)
    """By recipient, the outcomes that next hops tell later, of which one is the last word."""

    def factory(self, domain: str) -> Factory:
        """What listens as the host of ``domain``."""
        return _PeerFactory(self, CHARACTERS[domain], domain)

    def keep(
        self, domain: str, recipients: Sequence[str], content: bytes, life: int | None = None
    ) -> list[Acceptance]:
        """A next hop has a message, from this life unless another is named."""
        now = self.world.seconds()
        life = self.world.lives if life is None else life
        kept = [Acceptance(one, life, now, content) for one in recipients]
        self.accepted += kept
        for one in recipients:
            self.world.note(f"peer {domain} has {one}")
            if domain in CHAIN and not one.endswith(f"@{domain}"):
                self.world.count(f"relayed by {domain}")
        return kept

    def tells(self, recipient: str, outcome: str) -> None:
        """A next hop that has a message is to tell what became of it."""
        self.told.setdefault(recipient, set()).add(outcome)


def _lies(stage: str) -> list[str]:
    """What a liar may say: never a 250 for content that it did not take, which nobody can see."""
    lies = ["banana", "250-unfinished\r\n451 other"]
    if stage != "DATA":
        lies.append("354 go on")
    if stage != "content":
        lies.append("250 ok\r\n250 ok")
    return lies


class _PeerFactory(Factory):
    noisy = False

    def __init__(self, peers: Peers, character: Character, domain: str) -> None:
        self._made_from = peers, character, domain

    def buildProtocol(self, addr: object) -> Protocol:
        return _Peer(*self._made_from)


class _Peer(Protocol):
    """A server that takes one event at a time.  A fault is chosen for each transaction."""

    transport: Any

    def __init__(self, peers: Peers, character: Character, domain: str) -> None:
        self._peers, self._world = peers, peers.world
        self._character, self._domain = character, domain
        self._buffer = b""
        self._busy = False
        self._gone = False
        self._recipients: list[str] = []
        self._content: bytes | None = None  # being read as DATA
        self._chunk_left = 0
        self._chunks = b""
        self._in_chunk = False
        self._fault: tuple[str, str] | None = None
        self._life = 0

    # Faults

    def _choose_fault(self, stages: tuple[str, ...]) -> None:
        world, who = self._world, self._character
        self._fault = None
        if world.seconds() > world.calm_after:
            return
        kinds = {
            "drop": who.drop,
            "4xx": who.temporary,
            "5xx": who.permanent,
            "slow": who.slow,
            "lie": who.lie,
        }
        for kind, probability in kinds.items():
            if world.chance(probability):
                self._fault = world.random.choice(stages), kind
                return

    def _fault_at(self, stage: str) -> str | None:
        if self._fault is None or self._fault[0] != stage:
            return None
        kind = self._fault[1]
        self._fault = None
        names = {"drop": "dropped connection", "slow": "slow peer", "lie": "lying peer"}
        self._world.count(names.get(kind, kind))
        self._world.note(f"peer {self._domain} {kind} at {stage}")
        return kind

    # Connection

    def connectionMade(self) -> None:
        """See Protocol."""
        self._life = self._world.lives
        self._choose_fault(STAGES[:2])
        self._stage("greeting", lambda: self._say(f"220 {self._domain} ESMTP"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self._gone = True

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._buffer += data
        self._advance()

    def _say(self, line: str, taken: Callable[[], None] | None = None) -> None:
        self.transport.write_noted(line.encode() + b"\r\n", taken)

    def _stage(self, stage: str, answer: Callable[[], None]) -> None:
        """Answer, or do what the fault of this stage is."""
        kind = self._fault_at(stage)
        if kind is None:
            answer()
        elif kind == "drop":
            self.transport.abortConnection()
            self._gone = True
        elif kind == "4xx":
            self._refuse(stage, "451 4.3.0 not now")
        elif kind == "5xx":
            self._refuse(stage, "550 5.7.1 never")
        elif kind == "slow":
            self._busy = True
            longest = 650.0 if stage == "content" and self._world.chance(0.1) else 50.0
            wait = self._world.random.uniform(1.0, longest)
            self._world.clock.callLater(wait, self._go_on, answer)
        else:
            self._say(self._world.random.choice(_lies(stage)))

    def _refuse(self, stage: str, line: str) -> None:
        if stage == "MAIL":
            self._recipients = []
        self._say(line)

    def _go_on(self, answer: Callable[[], None]) -> None:
        self._busy = False
        if not self._gone:
            answer()
            self._advance()

    # Events

    def _advance(self) -> None:
        while not (self._busy or self._gone):
            if not self._next():
                return

    def _next(self) -> bool:
        if self._in_chunk:
            return self._take_chunk()
        if self._content is not None:
            return self._take_data()
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self._command(line.decode("utf-8", "replace"))
        return True

    def _command(self, line: str) -> None:
        verb = line.partition(" ")[0].upper()
        if verb == "EHLO":
            offered = [f"250-{name}\r\n" for name in self._character.extensions]
            self._stage("EHLO", lambda: self._say("".join(offered) + f"250 {self._domain}"))
        elif verb == "MAIL":
            self._recipients = []
            self._choose_fault(STAGES[2:])
            self._stage("MAIL", lambda: self._say("250 2.1.0 ok"))
        elif verb == "RCPT":
            match = re.search(r"<([^>]*)>", line)
            assert match is not None
            self._stage("RCPT", lambda: self._take_recipient(match.group(1)))
        elif verb == "DATA":
            self._stage("DATA", self._begin_data)
        elif verb == "BDAT":
            self._chunk_left, self._in_chunk = int(line.split(" ")[1]), True
        elif verb == "QUIT":
            self._say("221 2.0.0 bye")
            self.transport.loseConnection()
            self._gone = True
        else:
            self._say("250 2.0.0 ok")

    def _take_recipient(self, recipient: str) -> None:
        if self._character.always_temporary:
            self._world.count("4xx")
            self._say("450 4.2.0 mailbox busy")
            return
        self._recipients.append(recipient)
        self._say("250 2.1.5 ok")

    def _begin_data(self) -> None:
        if not self._recipients:
            self._say("503 5.5.1 no recipients")
            return
        self._content = b""
        self._say("354 go ahead")

    def _take_data(self) -> bool:
        if self._fault == ("content", "drop") and self._world.chance(0.5) and self._buffer:
            self._fault_at("content")
            self.transport.abortConnection()
            self._gone = True
            return False
        end = 0 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n") + 2
        if end == 1:
            return False
        content, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
        self._content = None
        self._ended(content.removeprefix(b".").replace(b"\r\n.", b"\r\n"))
        return True

    def _take_chunk(self) -> bool:
        if not self._buffer and self._chunk_left:
            return False
        taken = self._buffer[: self._chunk_left]
        self._buffer = self._buffer[len(taken) :]
        self._chunks += taken
        self._chunk_left -= len(taken)
        if not self._chunk_left:
            content, self._chunks, self._in_chunk = self._chunks, b"", False
            self._ended(content)
        return True

    def _ended(self, content: bytes) -> None:
        recipients, self._recipients = self._recipients, []
        if not recipients:
            self._say("554 5.5.1 no valid recipients")
        elif self._fault == ("content", "drop"):
            # It has the message, and its answer is lost: the message will come again.
            self._keep(recipients, content)
            self._stage("content", lambda: None)
        else:
            self._stage("content", lambda: self._accept(recipients, content))

    def _keep(self, recipients: list[str], content: bytes) -> list[Acceptance]:
        return self._peers.keep(self._domain, recipients, content, self._life)

    def _accept(self, recipients: list[str], content: bytes) -> None:
        kept = self._keep(recipients, content)

        def heard() -> None:
            for acceptance in kept:
                acceptance.heard_at = self._world.seconds()

        self._say("250 2.0.0 taken", heard)
