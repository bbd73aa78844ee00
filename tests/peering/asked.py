"""A peer that answers as it is told, and a store in memory, for tests of what is handed over."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, fail, succeed

from mailrelay.control.peer_requests import Answered, KnownOfMessage, PeerRequest
from mailrelay.directory.peers import Peer, PeerKey, PeerProtocol
from mailrelay.net.http import Body, CallFailed, HTTPAnswer
from mailrelay.net.threads import AtOnce
from mailrelay.peering.client import PeerClient
from mailrelay.peering.signature import PREFIX, Signed, response_signature
from mailrelay.peering.standing import Standing
from mailrelay.peering.submission import Contents, Digests, MessageSubmitter
from mailrelay.peering.transport import PeerTransport
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Content, Entry, Message
from mailrelay.queue.store import StoreUnavailable
from mailrelay.queue.transport import Job
from mailrelay.routing.ways import ToPeer
from mailrelay.smtp.address import Address

SECRET = bytes.fromhex("00112233445566778899aabbccddeeff" * 2)
HUB = Peer(7, "hub", url="https://hub.test", keys=[PeerKey("k1", SECRET, True, 0.0)])
NOW = 1_767_225_600.0
BODY = b"Subject: hi\r\n\r\nhello\r\n"
MESSAGE = Message(11, 1, Address.parse("me@example.org"), NOW, len(BODY), "submission")


@frozen
class Said:
    """What came to the peer."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def meta(self) -> dict[str, Any]:
        """Of a message."""
        meta: dict[str, Any] = json.loads(self.body.partition(b"\n")[0])
        return meta


Answering = Callable[[Said], tuple[int, bytes]]


@define
class FakePeer:
    """The other side: believes what is signed, and signs what it answers."""

    answering: Answering
    said: list[Said] = field(factory=list)
    signs: bool = True
    headers: dict[str, str] = field(factory=dict)

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> HTTPAnswer:
        """See Caller."""
        data = body if isinstance(body, bytes) else await read_whole(body)
        path, _, query = url.removeprefix("https://hub.test").partition("?")
        said = Said(method, path, query, headers, data)
        signature = signature_of(said)
        assert headers["Mailrelay-Signature"] == PREFIX + signature, "the signature is wrong"
        self.said.append(said)
        status, answer = self.answering(said)
        if not status:
            raise CallFailed("nobody is there")
        given = dict(self.headers)
        if self.signs:
            signed = response_signature(SECRET, status, signature, answer)
            given["mailrelay-response-signature"] = PREFIX + signed
        return HTTPAnswer(status, given, answer, True)


async def read_whole(body: Any) -> bytes:
    """All bytes of a body that is streamed."""
    data = body.head
    while len(data) < body.length:
        data += await body.read(len(data) - len(body.head), 100_000)
    return bytes(data)


def signature_of(said: Said) -> str:
    """What the request must be signed with."""
    headers = said.headers
    return Signed(
        said.method,
        said.path,
        said.query,
        headers["Mailrelay-Key"],
        int(headers["Mailrelay-Timestamp"]),
        headers.get("Idempotency-Key", ""),
        headers.get("Content-Type", ""),
        hashlib.sha256(said.body).digest(),
    ).signature(SECRET)


def taking(said: Said, **states: tuple[str, int, str]) -> tuple[int, bytes]:
    """All recipients are taken, but for those whose localpart has another state."""
    results = []
    for rcpt in said.meta["rcpt_to"]:
        state, code, text = states.get(rcpt.partition("@")[0], ("queued", 0, ""))
        results.append({"rcpt": rcpt, "state": state, "code": code, "text": text})
    return 202, json.dumps({"id": "q1", "receipt": "accepted", "results": results}).encode()


@define
class RememberedRequests:
    """PeerRequests in memory."""

    known: dict[str, PeerRequest] = field(factory=dict)
    hops: tuple[str, ...] = ()
    dropped: list[str] = field(factory=list)
    alarms: list[str] = field(factory=list)
    is_unavailable: bool = False
    read: list[int] = field(factory=list)

    def of_message(self, peer_id: int, message_id: int) -> Deferred[KnownOfMessage]:
        """See PeerRequests."""
        self.read.append(message_id)
        return succeed(KnownOfMessage(list(self.known.values()), self.hops))

    def new_key(self, server_id: str, now: float) -> str:
        """See PeerRequests."""
        return f"{server_id}.{len(self.known)}"

    def add(self, request: PeerRequest) -> Deferred[None]:
        """See PeerRequests."""
        assert request.key not in self.known
        self.known[request.key] = request
        return succeed(None)

    def answered(self, answered: Answered) -> Deferred[Sequence[str]]:
        """See PeerRequests."""
        self.known[answered.key] = evolve(
            self.known[answered.key],
            answered_at=answered.at,
            relay_id=answered.relay_id,
            results=answered.results,
        )
        return succeed(self.dropped)

    def alarm(self, peer_id: int, text: str, at: float) -> Deferred[None]:
        """See PeerRequests."""
        return self._noted(text)

    def well(self, peer_id: int, at: float) -> Deferred[None]:
        """See PeerRequests."""
        return self._noted("")

    def _noted(self, text: str) -> Deferred[None]:
        if self.is_unavailable:
            return fail(StoreUnavailable("no room"))
        self.alarms.append(text)
        return succeed(None)


@define
class Handing:
    """The transport to HUB, and all that it stands on."""

    peer: FakePeer
    requests: RememberedRequests = field(factory=RememberedRequests)
    content: Content = Content(b"Received: here\r\n", BODY, None, len(BODY))
    spool: bytes = b""
    hub: Peer = HUB
    seconds: float = 0.0
    attempts: Counter[int] = field(factory=Counter)
    standing: Standing = field(init=False)
    transport: PeerTransport = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Compose it."""
        self.standing = Standing(lambda: self.seconds, lambda: NOW)

        async def caller(peer: Peer) -> FakePeer:
            return self.peer

        def read_spool(name: str, offset: int, size: int) -> Deferred[bytes]:
            return succeed(self.spool[offset : offset + size])

        submitter = MessageSubmitter(
            "us.test",
            PeerClient(caller, lambda: NOW),
            self.requests,
            Contents(lambda id_: succeed(self.content), read_spool),
            Digests(AtOnce()),
            lambda: NOW,
        )
        self.transport = PeerTransport(
            lambda: {"hub": self.hub},
            {PeerProtocol.MAILRELAY: submitter},
            self.standing,
            self.requests,
            lambda: NOW,
        )

    def begun(self, *entries: Entry) -> list[Entry]:
        """``entries`` as they are claimed: with the attempts that were made before this one."""
        claimed = [evolve(one, attempts=self.attempts[one.id]) for one in entries]
        self.attempts.update(one.id for one in entries)
        return claimed


def entry_to(id_: int, localpart: str, **given: Any) -> Entry:
    """An entry of MESSAGE."""
    recipient = Address.parse(f"{localpart}@remote.test")
    return evolve(Entry(id_, MESSAGE, recipient, NOW, next_attempt_at=NOW), **given)


def job_of(*entries: Entry) -> Job:
    """Entries that go to HUB together."""
    return Job(Destination("peer:hub", ToPeer("hub")), entries[0].message, entries)
