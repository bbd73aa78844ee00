"""Next hops that speak HTTP: what they have in common, and an application that is handed mail.

All know what they took by its key, so that whatever is cut, and whoever crashes, each has one copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from attrs import define, field, frozen
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from mailrelay.testing.simulated.peers import Peers
from mailrelay.testing.simulated.world import World

APPLICATION, PEER, SECOND = "app.example", "peer.example", "second.example"
PUSHING, SITE = "pushing.example", "site.example"
KEYED = (APPLICATION, PEER, PUSHING, SITE)
OF_PEERS = (PEER, SECOND, PUSHING)
PLACES = {
    APPLICATION: ("127.0.1.1", 8080),
    PEER: ("127.0.1.2", 8080),
    SECOND: ("127.0.1.3", 8080),
    PUSHING: ("127.0.1.4", 8080),
    SITE: ("127.0.1.5", 8080),
}

FAULTS = {
    "cut before it is kept": 0.12,
    "cut after it is kept": 0.15,
    "503": 0.12,
    "422": 0.05,
    "slow answer": 0.12,
}
"""How likely each is for a message."""

LONGEST_WAIT = 75.0
"""Seconds that a slow one takes, at most: longer than it is waited for."""


@frozen
class Request:
    """One, whole."""

    method: str
    target: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)


@frozen
class Answer:
    """A status, and what is said; names of fields in lower case."""

    status: int
    body: bytes
    fields: Mapping[str, str] = field(factory=dict)


def answer_of(code: int, /, **said: Any) -> Answer:
    """With JSON."""
    return Answer(code, json.dumps(said).encode())


Answering = Callable[[Answer | None], None]
"""Told the answer; None cuts the connection."""


@define(eq=False)
class Hop:
    """Faults, and answers that are given again."""

    domain: str
    peers: Peers
    answered: dict[str, tuple[bytes, Answer]] = field(factory=dict)

    faults: ClassVar[Mapping[str, float]] = FAULTS
    instead: ClassVar[Mapping[str, Answer | None]] = {
        "cut before it is kept": None,
        "503": answer_of(503, text="not now"),
    }
    """What is answered in place of keeping it."""
    never: ClassVar[Mapping[str, Answer]] = {"422": answer_of(422, text="never")}
    """The same, of what is not known yet."""

    @property
    def world(self) -> World:
        """Where it is."""
        return self.peers.world

    def factory(self) -> Factory:
        """What listens."""
        return _HopFactory(self)

    def ask(self, request: Request, answer: Answering) -> None:
        """Answer a request, in its time."""
        if not self.is_message(request):
            self.other(request, answer)
            return
        fault = self.fault()
        if fault in self.instead:
            answer(self.instead[fault])
        elif fault in self.never and self.key(request) not in self.answered:
            answer(self.never[fault])
        else:
            taken = self._taken(request)
            if fault == "slow answer":
                wait = self.world.random.uniform(1.0, LONGEST_WAIT)
                self.world.clock.callLater(wait, answer, taken)
            else:
                answer(None if fault == "cut after it is kept" else taken)

    def is_message(self, request: Request) -> bool:
        """Whether a message is handed over."""
        return request.method == "POST"

    def key(self, request: Request) -> str:
        """What a message is known by."""
        return request.headers["idempotency-key"]

    def fault(self) -> str:
        """What goes wrong with a request; "" for nothing."""
        world = self.world
        if world.seconds() > world.calm_after:
            return ""
        for fault, probability in self.faults.items():
            if world.chance(probability):
                world.count(f"HTTP {fault}")
                world.note(f"{self.domain} {fault}")
                return fault
        return ""

    def _taken(self, request: Request) -> Answer:
        digest, key = hashlib.sha256(request.body).digest(), self.key(request)
        known = self.answered.get(key)
        if known is None:
            known = self.answered[key] = digest, self.take(request)
        else:
            self.world.count("HTTP repeat")
        if known[0] != digest:
            self.world.violated(f"{self.domain} got something else as {key}")
        return known[1]

    def take(self, request: Request) -> Answer:
        """Keep a message that was not known."""
        raise NotImplementedError

    def other(self, request: Request, answer: Answering) -> None:
        """Answer what is no message."""
        answer(answer_of(404))

    def signed(self, request: Request, answer: Answer) -> Answer:
        """As it is sent."""
        return answer


class Application(Hop):
    """Takes each recipient's message by itself."""

    def take(self, request: Request) -> Answer:
        """See Hop."""
        recipient = unquote(request.headers["x-mailrelay-rcpt-to"])
        self.peers.keep(self.domain, [recipient], request.body)
        return answer_of(200, text="taken")


def read_head(data: bytes) -> tuple[str, Mapping[str, str], bytes] | None:
    """The first line, the fields and what follows, once the body is whole."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
    if not end or len(body) < int(fields.get("content-length", "0")):
        return None
    return first, fields, body


def written(first: str, fields: Mapping[str, str], body: bytes) -> bytes:
    """A request or an answer."""
    lines = [first, f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _HopFactory(Factory):
    noisy = False

    def __init__(self, hop: Hop) -> None:
        self._hop = hop

    def buildProtocol(self, addr: object) -> Protocol:
        return _Conversation(self._hop)


class _Conversation(Protocol):
    """One connection, one request after the other."""

    transport: Any

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._buffer = b""
        self._busy = self._gone = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self._gone = True

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        read = None if self._busy or self._gone else read_head(self._buffer)
        if read is None:
            return
        first, fields, body = read
        length = int(fields.get("content-length", "0"))
        self._buffer, self._busy = body[length:], True
        method, target, _ = first.split(" ")
        request = Request(method, target, fields, body[:length])
        self._hop.ask(request, lambda answer: self._answer(request, answer))

    def _answer(self, request: Request, answer: Answer | None) -> None:
        if self._gone:
            return
        if answer is None:
            self._gone = True
            self.transport.abortConnection()
            return
        said = self._hop.signed(request, answer)
        self.transport.write(written(f"HTTP/1.1 {said.status} Said", said.fields, said.body))
        self._busy = False
        self._advance()
