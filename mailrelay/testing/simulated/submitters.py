"""Clients that submit: pipelined, with a memory of what was answered 250."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from mailrelay.testing.simulated.network import Network
from mailrelay.testing.simulated.world import World

PATIENCE = 90.0
"""Seconds a client waits for a reply."""

MOST_TRIES = 12


@frozen
class Mail:
    """A message to submit.  Addresses get the number of message and try before them."""

    number: int
    reverse_path: str | None  # a domain; None for the null reverse-path
    recipients: Sequence[str]  # domains; "unknown" is a local user that is not there
    notify: str  # "" for the default
    size_bytes: int
    hold_for: int
    pipelined: bool


@define
class Acknowledged:
    """What the server answered 250 for, for one recipient."""

    recipient: str
    sender: str | None
    notify: str
    body: bytes = field(repr=False)
    at: float = 0.0
    hold_for: int = 0


@define(eq=False)
class Submitters:
    """All clients, and what they were promised."""

    world: World
    network: Network
    server_ip: str
    acknowledged: dict[str, Acknowledged] = field(factory=dict)
    tried: dict[str, float] = field(factory=dict)
    """By recipient, when it may be attempted at the earliest, by the wall clock."""
    tried_at: dict[str, float] = field(factory=dict)
    under_way: int = 0  # recipients of content that is not answered
    waiting: int = 0  # messages that are neither taken nor given up

    def begin(self, mails: Sequence[tuple[float, Mail]]) -> None:
        """Submit each at its time."""
        for at, mail in mails:
            self.waiting += 1
            self.world.clock.callLater(at, self._try, mail, 1)

    def _try(self, mail: Mail, number: int) -> None:
        port = 587 if mail.hold_for else 25
        factory = _SubmitterFactory(_Submission(self, mail, number))
        self.network.connect("10.9.0.1", (self.server_ip, port), factory, lambda end: None)

    def ended(self, mail: Mail, number: int, *, again: bool) -> None:
        """A try is over."""
        if again and number < MOST_TRIES:
            wait = self.world.random.uniform(2.0, 15.0)
            self.world.clock.callLater(wait, self._try, mail, number + 1)
        else:
            self.waiting -= 1
            if again:
                self.world.count("given up by its client")


class _SubmitterFactory(ClientFactory):
    noisy = False

    def __init__(self, protocol: _Submission) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._protocol.end(again=True)


class _Submission(Protocol):
    """One try.  What it expects is a list of (what was asked, codes that may answer it)."""

    transport: Any

    def __init__(self, submitters: Submitters, mail: Mail, number: int) -> None:
        self._submitters, self._world, self._mail, self._number = (
            submitters,
            submitters.world,
            mail,
            number,
        )
        self._tag = f"m{mail.number}t{number}"
        self._buffer = b""
        self._over = False
        self._steps: list[Callable[[], None]] = [self._hello, self._envelope]
        self._expected: list[tuple[str, Sequence[int]]] = [("greeting", (220,))]
        self._accepted: list[str] = []
        self._under_way = 0
        self._timer: Any = None
        domain = mail.reverse_path
        self._sender = None if domain is None else _address(f"{self._tag}.s", domain)
        self._body = _body(self._tag, self._sender, mail.size_bytes)

    def connectionMade(self) -> None:
        """See Protocol."""
        self._timer = self._world.clock.callLater(PATIENCE, self._impatient)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.end(again=True)

    def _impatient(self) -> None:
        self._world.note(f"client {self._tag} waits no longer")
        self.transport.abortConnection()

    def end(self, *, again: bool) -> None:
        """The try is over, once."""
        if self._over:
            return
        self._over = True
        self._submitters.under_way -= self._under_way
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._submitters.ended(self._mail, self._number, again=again)

    # Replies

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            if line[3:4] != b"-" and not self._over:
                self._timer.reset(PATIENCE)
                self._replied(int(line[:3]), line.decode())

    def _replied(self, code: int, line: str) -> None:
        if code == 421:
            self.transport.loseConnection()
            return
        if not self._expected:
            self._world.violated(f"a reply that nobody asked for: {self._tag} {line}")
            return
        asked, codes = self._expected.pop(0)
        if code not in codes:
            self._world.violated(f"replies out of order: {self._tag} {asked} got {line}")
        if asked.startswith("RCPT ") and code == 250:
            self._accepted.append(asked[5:])
        elif asked == "content":
            self._content_answered(code)
            return
        elif asked in ("MAIL", "DATA") and code >= 400:
            self.transport.write(b"QUIT\r\n")
            self.transport.loseConnection()
            return
        if not self._expected and self._steps:
            self._steps.pop(0)()

    def _content_answered(self, code: int) -> None:
        self._world.note(f"client {self._tag} {code}")
        if code == 250:
            mail = self._mail
            for recipient in self._accepted:
                self._submitters.acknowledged[recipient] = Acknowledged(
                    recipient,
                    self._sender,
                    mail.notify,
                    self._body,
                    self._world.seconds(),
                    mail.hold_for,
                )
            self.end(again=False)
        self.transport.write(b"QUIT\r\n")
        self.transport.loseConnection()

    # Commands

    def _hello(self) -> None:
        self._expected.append(("EHLO", (250,)))
        self.transport.write(b"EHLO client.example\r\n")

    def _envelope(self) -> None:
        mail = self._mail
        hold = f" HOLDFOR={mail.hold_for}" if mail.hold_for else ""
        commands: list[tuple[str, str, Sequence[int]]] = [
            ("MAIL", f"MAIL FROM:<{self._sender or ''}>{hold}", (250, 452))
        ]
        for index, domain in enumerate(mail.recipients):
            unknown = domain == "unknown"
            address = (
                f"nobody+{self._tag}@example.org"
                if unknown
                else _address(f"{self._tag}.r{index}", domain)
            )
            self._submitters.tried[address] = self._world.now() + mail.hold_for
            self._submitters.tried_at[address] = self._world.seconds()
            notify = f" NOTIFY={mail.notify}" if mail.notify else ""
            codes = (550, 503) if unknown else (250, 503)
            commands.append((f"RCPT {address}", f"RCPT TO:<{address}>{notify}", codes))
            if mail.pipelined and self._world.chance(0.2):
                commands.append(("VRFY", "VRFY somebody", (252,)))
        commands.append(("DATA", "DATA", (354, 503, 554)))
        if mail.pipelined:
            self._say(commands)
            self._steps.append(self._content)
        else:
            self._steps += [lambda c=c: self._say([c]) for c in commands[1:]]  # type: ignore[misc]
            self._steps.append(self._content)
            self._say(commands[:1])

    def _say(self, commands: Sequence[tuple[str, str, Sequence[int]]]) -> None:
        self._expected += [(asked, codes) for asked, _, codes in commands]
        self.transport.write("".join(f"{line}\r\n" for _, line, _ in commands).encode())

    def _content(self) -> None:
        self._expected.append(("content", (250, 452, 451)))
        self._under_way = len(self._accepted)
        self._submitters.under_way += self._under_way
        stuffed = self._body.replace(b"\r\n.", b"\r\n..")
        half = self._world.random.randrange(len(stuffed))
        self.transport.write(stuffed[:half])
        self.transport.write(stuffed[half:] + b".\r\n")


def _address(tag: str, domain: str) -> str:
    return f"user+{tag}@{domain}" if domain == "example.org" else f"{tag}@{domain}"


def _body(tag: str, sender: str | None, size_bytes: int) -> bytes:
    head = f"From: <{sender or 'mailer@good.example'}>\r\nSubject: {tag}\r\n\r\n"
    line = f".{tag} " + "x" * 60 + "\r\n"
    return (head + line * (size_bytes // len(line) + 1)).encode()
