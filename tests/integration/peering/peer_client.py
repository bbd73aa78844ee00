"""A peer that speaks by hand: raw bytes, signed by code that shares nothing with the server's."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override

from mailrelay.control.peers import PeerDetails
from mailrelay.directory.peers import PeerProtocol
from mailrelay.testing.loopback import Loopback
from tests.integration.world import start_world

SECRET, KEY_ID = bytes(range(32)), "their-key"
MESSAGE = "application/vnd.mailrelay.message"
LATER = time.time() + 3600  # what is delivered at once has no content any more
CONTENT = b"From: a@sender.test\r\nTo: b@remote.test\r\nSubject: hi\r\n\r\nhello\r\n"


@frozen
class Answered:
    """An answer, and whether its signature is right."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_signed: bool

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def signature(secret: bytes, lines: Sequence[str]) -> str:
    """As A.6.2 has it."""
    return hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


@define
class Signer:
    """Makes requests.  What is changed here goes wrong there."""

    port: int
    secret: bytes = SECRET
    key_id: str = KEY_ID
    skew: int = 0
    more: list[str] = field(factory=list)  # header lines beside

    def request(
        self, method: str, target: str, body: bytes = b"", key: str = "", type_: str = ""
    ) -> tuple[bytes, str]:
        """The bytes of a request, and its signature."""
        path, _, query = target.partition("?")
        at = str(int(time.time()) + self.skew)
        digest = hashlib.sha256(body).hexdigest()
        lines = ["mailrelay-hmac-v1", method, path, query, self.key_id, at, key, type_, digest]
        signed = signature(self.secret, lines)
        fields = [
            f"{method} {target} HTTP/1.1",
            "Host: relay.test",
            f"Mailrelay-Key: {self.key_id}",
            f"Mailrelay-Timestamp: {at}",
            f"Mailrelay-Signature: v1={signed}",
            f"Content-Length: {len(body)}",
            *([f"Idempotency-Key: {key}"] if key else []),
            *([f"Content-Type: {type_}"] if type_ else []),
            *self.more,
        ]
        return "\r\n".join([*fields, "", ""]).encode() + body, signed

    async def ask(
        self, method: str, target: str, body: bytes = b"", key: str = "", type_: str = ""
    ) -> Answered:
        """Ask, and read the answer."""
        raw, signed = self.request(method, target, body, key, type_)
        return await self.send(raw, signed)

    async def send(self, raw: bytes, signed: str = "") -> Answered:
        """Send bytes as they are."""
        endpoint = TCP4ClientEndpoint(the_reactor, "127.0.0.1", self.port, 10)
        client: _Client = await connectProtocol(endpoint, _Client())
        assert client.transport is not None
        client.transport.write(raw)
        await client.whole
        client.transport.loseConnection()
        await client.lost
        head, _, body = bytes(client.received).partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in rest)
        }
        status = int(first.split()[1])
        digest = hashlib.sha256(body).hexdigest()
        lines = ["mailrelay-hmac-v1-response", str(status), signed, digest]
        given = headers.get("mailrelay-response-signature")
        return Answered(status, headers, body, given == f"v1={signature(self.secret, lines)}")

    async def post(self, key: str, content: bytes = CONTENT, **meta: Any) -> Answered:
        """Hand a message over."""
        return await self.ask("POST", "/relay/v1/messages", body_of(content, **meta), key, MESSAGE)


def body_of(content: bytes = CONTENT, **meta: Any) -> bytes:
    """Meta, then content."""
    whole: dict[str, Any] = {
        "v": 1,
        "msg_id": "m1",
        "mail_from": "a@sender.test",
        "rcpt_to": ["b@remote.test"],
    }
    whole["not_before"] = LATER
    return json.dumps({**whole, **meta}).encode() + b"\n" + content


class _Client(Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.whole: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.received += data
        head, end, body = bytes(self.received).partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        length = lengths[0] if lengths else 0
        if end and len(body) >= length and not self.whole.called:
            self.whole.callback(None)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            self.whole.callback(None)
        self.lost.callback(None)


class PeerCase(TestCase):
    """A server with a peer that hands mail to it as the account ``user``."""

    timeout = 60
    server: Loopback

    async def signer(self, details: PeerDetails | None = None, **settings: Any) -> Signer:
        """Start them."""
        self.server = await start_world(self, the_reactor, roles=("http",), **settings)
        control = self.server.control()
        self.addCleanup(control.close)
        self.control = control
        details = details or PeerDetails(account="user")
        await control.peers.add(
            "sender", PeerProtocol.MAILRELAY, details, None, f"{KEY_ID}:{SECRET.hex()}"
        )
        await self.seen()
        return Signer(self.server.port("http"))

    async def seen(self) -> None:
        """The server has read the directory."""
        await self.server.server._known.load_directory()

    def soon(self) -> Deferred[None]:
        """A moment later."""
        waited: Deferred[None] = Deferred()
        the_reactor.callLater(0.02, waited.callback, None)
        return waited

    def messages(self) -> list[Any]:
        """What is in the store."""
        with self.control.database.engine.connect() as connection:
            return list(connection.exec_driver_sql("SELECT id FROM message WHERE door = 'relay'"))
