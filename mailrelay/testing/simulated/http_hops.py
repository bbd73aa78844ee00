"""Next hops that speak HTTP: an application that is handed mail, and peers of mailrelay/1.

All know what they took by its Idempotency-Key, so that whatever is cut, and whoever crashes, each
has one copy.  A peer tells later that it relayed what it took.  While the second one is away for
long, its mail goes to the first: what it had taken by then comes twice.  Both hear of what comes on
our suppression list, and off it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from attrs import define, field, frozen
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from mailrelay.testing.simulated.peers import Peers
from mailrelay.testing.simulated.world import World

APPLICATION, PEER, SECOND = "app.example", "peer.example", "second.example"
KEYED = (APPLICATION, PEER)
OF_PEERS = (PEER, SECOND)
PLACES = {
    APPLICATION: ("127.0.1.1", 8080),
    PEER: ("127.0.1.2", 8080),
    SECOND: ("127.0.1.3", 8080),
}
KEY_ID, SECRET = "our-key", bytes(range(32))

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

    @property
    def key(self) -> str:
        """What a message is known by."""
        return self.headers["idempotency-key"]


@frozen
class Answer:
    """A status, and JSON."""

    status: int
    body: bytes
    fields: tuple[str, ...] = ()


def _answer(status: int, **said: Any) -> Answer:
    return Answer(status, json.dumps(said).encode())


@define(eq=False)
class Hop:
    """What both have in common: faults, and answers that are given again."""

    domain: str
    peers: Peers
    answered: dict[str, tuple[bytes, Answer]] = field(factory=dict)

    @property
    def world(self) -> World:
        """Where it is."""
        return self.peers.world

    def factory(self) -> Factory:
        """What listens."""
        return _HopFactory(self)

    def ask(self, request: Request, answer: Callable[[Answer | None], None]) -> None:
        """Answer a request, in its time; None cuts the connection."""
        if request.method != "POST":
            self.other(request, answer)
            return
        fault = self._fault()
        if fault == "cut before it is kept":
            answer(None)
        elif fault == "503":
            answer(_answer(503, text="not now"))
        elif fault == "422" and request.key not in self.answered:
            answer(_answer(422, text="never"))
        else:
            taken = self._taken(request)
            if fault == "slow answer":
                wait = self.world.random.uniform(1.0, LONGEST_WAIT)
                self.world.clock.callLater(wait, answer, taken)
            else:
                answer(None if fault == "cut after it is kept" else taken)

    def _fault(self) -> str | None:
        world = self.world
        if world.seconds() > world.calm_after:
            return None
        for fault, probability in FAULTS.items():
            if world.chance(probability):
                world.count(f"HTTP {fault}")
                world.note(f"{self.domain} {fault}")
                return fault
        return None

    def _taken(self, request: Request) -> Answer:
        digest = hashlib.sha256(request.body).digest()
        known = self.answered.get(request.key)
        if known is None:
            known = self.answered[request.key] = digest, self.take(request)
        else:
            self.world.count("HTTP repeat")
        if known[0] != digest:
            self.world.violated(f"{self.domain} got something else as {request.key}")
        return known[1]

    def take(self, request: Request) -> Answer:
        """Keep a message that was not known."""
        raise NotImplementedError

    def other(self, request: Request, answer: Callable[[Answer | None], None]) -> None:
        """Answer what is no message."""
        answer(_answer(404))

    def signed(self, request: Request, answer: Answer) -> Answer:
        """As it is sent."""
        return answer


class Application(Hop):
    """Takes each recipient's message by itself."""

    def take(self, request: Request) -> Answer:
        """See Hop."""
        recipient = unquote(request.headers["x-mailrelay-rcpt-to"])
        self.peers.keep(self.domain, [recipient], request.body)
        return _answer(200, text="taken")


@define(eq=False)
class Peer(Hop):
    """Says of each recipient what becomes of it, and tells of those that it relayed."""

    events: list[Mapping[str, Any]] = field(factory=list)
    suppressed: dict[str, bool] = field(factory=dict)  # what it was told of addresses
    _waiting: list[Callable[[], None]] = field(factory=list)

    def take(self, request: Request) -> Answer:
        """See Hop."""
        line, _, content = request.body.partition(b"\n")
        meta = json.loads(line)
        id_ = f"q{len(self.answered)}"
        results = [self._result(recipient) for recipient in meta["rcpt_to"]]
        kept = [one["rcpt"] for one in results if one["state"] == "queued"]
        self.peers.keep(self.domain, kept, content)
        others = [one for one in kept if not one.endswith(f"@{self.domain}")]
        self.world.counts["fallback"] += len(others)
        for recipient in kept:
            wait = self.world.random.uniform(0.001, 40.0)
            self.world.clock.callLater(wait, self._relayed, meta["msg_id"], id_, recipient)
        return _answer(202, id=id_, receipt="accepted", results=results)

    def _result(self, recipient: str) -> Mapping[str, Any]:
        world = self.world
        if world.seconds() <= world.calm_after and world.chance(0.15):
            code = world.random.choice((450, 550))
            world.count(f"HTTP recipient {code}")
            return {"rcpt": recipient, "state": "rejected", "code": code, "text": "no"}
        return {"rcpt": recipient, "state": "queued"}

    def _relayed(self, msg_id: str, relay_id: str, recipient: str) -> None:
        event = {"msg_id": msg_id, "relay_id": relay_id, "rcpt": recipient, "type": "relayed"}
        seq = len(self.events) + 1
        told = {"seq": seq, "id": str(seq), "at": self.world.now(), "final": False, "attempt": 1}
        self.events.append(event | told)
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def other(self, request: Request, answer: Callable[[Answer | None], None]) -> None:
        """Events, once there are some or nobody waits any longer; changes of suppression."""
        if request.method in ("PUT", "DELETE") and "/suppressions/" in request.target:
            address = unquote(request.target.rpartition("/")[2])
            self.suppressed[address] = request.method == "PUT"
            self.world.count("suppression told")
            answer(_answer(200))
            return
        if request.method != "GET":
            answer(_answer(200))  # what was dropped there is dropped here
            return
        asked = dict(re.findall(r"(\w+)=(\d+)", request.target))
        after, limit = int(asked["after"]), int(asked["limit"])
        over: list[None] = []

        def tell() -> None:
            if not over:
                over.append(None)
                page = self.events[after : after + limit]
                more = len(self.events) > after + limit
                answer(_answer(200, events=page, next=after + len(page), more=more))

        if len(self.events) > after or not int(asked["wait"]):
            tell()
            return
        self._waiting.append(tell)
        self.world.clock.callLater(float(asked["wait"]), tell)

    def signed(self, request: Request, answer: Answer) -> Answer:
        """See Hop."""
        path, _, query = request.target.partition("?")
        fields = request.headers
        signature = _signature(
            "mailrelay-hmac-v1",
            request.method,
            path,
            query,
            KEY_ID,
            fields["mailrelay-timestamp"],
            fields.get("idempotency-key", ""),
            fields.get("content-type", ""),
            hashlib.sha256(request.body).hexdigest(),
        )
        if fields["mailrelay-signature"] != f"v1={signature}":
            self.world.violated(f"{self.domain} got a wrong signature for {request.target}")
        digest = hashlib.sha256(answer.body).hexdigest()
        given = _signature("mailrelay-hmac-v1-response", str(answer.status), signature, digest)
        return Answer(answer.status, answer.body, (f"Mailrelay-Response-Signature: v1={given}",))


def _signature(*lines: str) -> str:
    return hmac.new(SECRET, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


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
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if self._busy or self._gone or not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer, self._busy = rest[length:], True
        method, target, _ = first.split(" ")
        request = Request(method, target, headers, rest[:length])
        self._hop.ask(request, lambda answer: self._answer(request, answer))

    def _answer(self, request: Request, answer: Answer | None) -> None:
        if self._gone:
            return
        if answer is None:
            self._gone = True
            self.transport.abortConnection()
            return
        said = self._hop.signed(request, answer)
        lines = [f"HTTP/1.1 {said.status} Said", f"Content-Length: {len(said.body)}", *said.fields]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + said.body)
        self._busy = False
        self._advance()
