"""A site without a socket: bytes in, bytes out, and the time that a test says it is."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailrelay.web.connection import HTTPConnection
from mailrelay.web.request import Request, Response, Route
from mailrelay.web.settings import HTTPSettings
from mailrelay.web.site import HTTPContext, Site

NO_LIMITS = HTTPSettings(requests_per_minute=0, requests_per_hour=0)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, path: str = "/", *, more: str = "") -> bytes:
    """A request with a body of declared length."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@frozen
class Reply:
    """A response that came whole."""

    status: int
    headers: dict[str, str]
    body: bytes


def replies(data: bytes) -> list[Reply]:
    """The responses in ``data``; an interim one has no body."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", 0))
        found.append(Reply(int(first.split()[1]), headers, data[:size]))
        data = data[size:]
    return found


@define
class Wire:
    """A connection to a site of ``routes``."""

    routes: Sequence[Route]
    settings: HTTPSettings = NO_LIMITS
    behind_proxy: bool = False
    clock: Clock = field(factory=Clock)
    told: list[tuple[str, int]] = field(factory=list)
    site: Site = field(init=False)
    transport: StringTransport = field(init=False)
    connection: HTTPConnection = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect."""
        context = HTTPContext(
            self.clock, lambda: 0.0, self.settings, set(), lambda *told: self.told.append(told)
        )
        self.site = Site(context, self.routes, behind_proxy=self.behind_proxy)
        self.transport, self.connection = self.connect()

    def connect(self, ip: str = "192.0.2.1") -> tuple[StringTransport, HTTPConnection]:
        """One more connection."""
        transport = StringTransport(peerAddress=IPv4Address("TCP", ip, 4000))
        connection = self.site.buildProtocol(None)
        connection.makeConnection(transport)
        return transport, connection

    def say(self, data: bytes) -> list[Reply]:
        """What is answered to ``data``."""
        self.transport.clear()
        self.connection.dataReceived(data)
        return self.heard()

    def heard(self) -> list[Reply]:
        """What was answered since ``say``."""
        return replies(self.transport.value())

    def drip(self, data: bytes, seconds: float) -> None:
        """A byte at a time, until it is closed."""
        for byte in data:
            if self.is_closing:
                break
            self.connection.dataReceived(bytes([byte]))
            self.clock.advance(seconds)

    @property
    def is_closing(self) -> bool:
        """Whether the server wants no more."""
        return bool(self.transport.disconnecting)

    def lose(self) -> None:
        """The client is gone."""
        self.connection.connectionLost(Failure(ConnectionDone()))


@define
class Handler:
    """A handler that waits to be told its answer, and keeps the requests."""

    requests: list[Request] = field(factory=list)
    waiting: list[Deferred[Response]] = field(factory=list)

    async def __call__(self, request: Request) -> Response:
        """See Handler of mailrelay.web.request."""
        self.requests.append(request)
        answer: Deferred[Response] = Deferred()
        self.waiting.append(answer)
        return await answer


async def hello(request: Request) -> Response:
    """Does not look at the body."""
    return Response.text(200, "hello")


async def echo(request: Request) -> Response:
    """The body, up to 1,000 bytes."""
    return Response(200, await request.body.read(1000))


HELLO = Route(("GET", "HEAD"), "/", hello)
ECHO = Route(("POST",), "/", echo)
