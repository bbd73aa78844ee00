"""Calls to URLs that somebody else chose: webhooks, hand-off, peers.

- A name is resolved when a connection is opened, and the connection goes to an address that was
  looked at: all of them must be global, or in a network that the operator allows.
- https is verified for the name in the URL.  No redirect is followed; a redirect is an answer.
- No environment variable is looked at: there is no proxy.
- A call ends at its deadline whatever the other side does, and takes a bounded answer.
- Connections are kept for the next call.  When one is lost before anything of an answer came,
  another is taken: the receiver may then see a call twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    ResponseDone,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from typing_extensions import override
from zope.interface import implementer

from mailrelay.net.destination import Destination, UnusableURL, is_permitted, parse_url
from mailrelay.net.resolver import LookupFailed, NoSuchDomain, Resolver
from mailrelay.net.tls import ClientTLS, TLSLevel

MOST_BODY_BYTES = 64 * 1024
MOST_HEADER_BYTES = 64 * 1024
"""Of an answer, interim ones included; beyond, the connection is cut."""

MOST_ADDRESSES = 4
"""Of one host, tried one after the other."""

# The body's end was told, or is that of the connection.
_ENDS = (ResponseDone, PotentialDataLoss)

MOST_LOST_CONNECTIONS = 3
"""Kept connections that one call may find closed."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


BLOCK_BYTES = 256 * 1024
"""Of a body that is streamed."""


class BodyIncomplete(Exception):
    """A body is not as long as it was said to be."""


class CallFailed(Exception):
    """There was no answer; the text, one line, says why."""


@frozen
class HTTPAnswer:
    """What came.  ``headers`` are by name in lower case, several joined by commas.

    ``is_whole`` is False when the body is longer than what is kept, or broke off.
    """

    status: int
    headers: Mapping[str, str]
    body_start: bytes
    is_whole: bool


@frozen
class ClientSettings:
    """Seconds, and networks that may be called though they are not global."""

    allowed_networks: Sequence[str] = ()
    connect_timeout: float = 10.0
    idle_after: float = 30.0  # how long an unused connection is kept
    idle_connections: int = 100  # of one host and port
    most_body_bytes: int = MOST_BODY_BYTES  # of an answer; the rest is not kept


@frozen
class StreamedBody:
    """A body of ``length`` bytes: ``head``, then what ``read(offset, size)`` gives, in blocks."""

    head: bytes
    length: int
    read: Callable[[int, int], Deferred[bytes]]


Body: TypeAlias = bytes | StreamedBody


class HTTPClient:
    """Makes calls.  ``reactor`` connects, ``clock`` times."""

    def __init__(
        self,
        reactor: Any,
        clock: IReactorTime,
        resolver: Resolver,
        tls: ClientTLS,
        settings: ClientSettings,
    ) -> None:
        self._clock = clock
        self._pool = _Pool(clock)
        self._pool.most_body_bytes = self._most_body_bytes = settings.most_body_bytes
        self._pool.retryAutomatically = False  # it repeats without asking
        self._pool.maxPersistentPerHost = settings.idle_connections
        self._pool.cachedConnectionTimeout = settings.idle_after  # type: ignore[assignment]
        self._endpoints = _Endpoints(_Outside(reactor, resolver, tls, settings))
        self._agent = Agent.usingEndpointFactory(reactor, self._endpoints, self._pool)

    async def post(
        self, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> HTTPAnswer:
        """The answer to a POST, within ``timeout`` seconds.  Raises: CallFailed."""
        return await self.call("POST", url, headers, body, timeout)

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> HTTPAnswer:
        """The answer to any request.  Raises: CallFailed."""
        try:
            destination = parse_url(url)
        except UnusableURL as error:
            raise CallFailed(str(error)) from error
        fields = _fields(headers, destination)
        calling = Deferred.fromCoroutine(self._call(method, destination, fields, body))
        deadline = self._clock.callLater(timeout, calling.cancel)
        try:
            return await calling
        except Exception as error:
            if not deadline.active():
                raise CallFailed(f"no answer within {timeout:g} seconds") from error
            raise CallFailed(_described(error)) from error
        finally:
            if deadline.active():
                deadline.cancel()

    async def _call(
        self, method: str, destination: Destination, fields: Headers, body: Body
    ) -> HTTPAnswer:
        for left in reversed(range(MOST_LOST_CONNECTIONS + 1)):
            attempt = self._request(method, destination, fields, body)
            try:
                response = await attempt.response
            except ResponseNeverReceived as error:
                canceled = any(reason.check(CancelledError) for reason in error.reasons)
                if canceled or not (left and attempt.endpoint.was_kept):
                    raise
            else:
                break
        answer = _Answer(attempt.endpoint, self._most_body_bytes)
        response.deliverBody(answer)
        body_start = await answer.done
        return HTTPAnswer(
            response.code, _lower(response.headers), bytes(body_start), answer.is_whole
        )

    def _request(
        self, method: str, destination: Destination, fields: Headers, body: Body
    ) -> _Attempt:
        authority, path = destination.authority, destination.path
        uri = f"{destination.scheme}://{authority}{path}".encode("ascii")
        self._endpoints.destination = destination
        producer = _Bytes(body) if isinstance(body, bytes) else _Blocks(body)
        response = self._agent.request(method.encode("ascii"), uri, fields, producer)
        return _Attempt(self._endpoints.made, response)

    def close(self) -> Deferred[None]:
        """Close the connections that are kept."""
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing


def _fields(headers: Mapping[str, str], destination: Destination) -> Headers:
    fields = Headers({b"Host": [destination.authority.encode("ascii")]})
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise CallFailed(f"the header field {name!r} cannot be sent")
        fields.addRawHeader(name.encode("ascii"), value.encode("latin-1"))
    return fields


def _lower(headers: Headers) -> Mapping[str, str]:
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in headers.getAllRawHeaders()
    }


def _described(error: BaseException) -> str:
    """One line for a person."""
    reasons = getattr(error, "reasons", None)
    if reasons and isinstance(reasons[0], Failure):
        error = reasons[0].value or error
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


# Connecting


@frozen
class _Outside:
    reactor: Any
    resolver: Resolver
    tls: ClientTLS
    settings: ClientSettings
    allowed: Sequence[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        networks = [ip_network(text) for text in self.settings.allowed_networks]
        object.__setattr__(self, "allowed", networks)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Makes an endpoint for each request, used or not: it tells which connection it had."""

    destination: Destination
    made: _Endpoint

    def __init__(self, outside: _Outside) -> None:
        self._outside = outside

    def endpointForURI(self, uri: URI) -> _Endpoint:
        self.made = _Endpoint(self._outside, self.destination)
        return self.made


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """Connects to a destination by an address that was looked at."""

    def __init__(self, outside: _Outside, destination: Destination) -> None:
        self._outside, self._destination = outside, destination
        self.connection: Any = None  # HTTP11ClientProtocol
        self.was_kept = True

    def connect(self, protocolFactory: IProtocolFactory) -> Any:
        self.was_kept = False
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> Any:
        trouble: Exception = CallFailed(f"{self._destination.host} has no address")
        for address in await self._addresses():
            try:
                bounding: Any = await self._endpoint(address).connect(_Bounding(factory))
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception as error:
                trouble = error
            else:
                return bounding.wrappedProtocol
        raise trouble

    async def _addresses(self) -> Sequence[str]:
        host = self._destination.host
        try:
            addresses = await self._outside.resolver.addresses(host, ipv4=True, ipv6=True)
        except (LookupFailed, NoSuchDomain) as error:
            raise CallFailed(str(error)) from error
        for address in addresses:
            if not is_permitted(address, self._outside.allowed):
                raise CallFailed(f"{host} is at {address}, which is not a public address")
        return addresses[:MOST_ADDRESSES]

    def _endpoint(self, address: str) -> IStreamClientEndpoint:
        make: Any = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        outside, there = self._outside, self._destination
        timeout = outside.settings.connect_timeout
        endpoint: IStreamClientEndpoint = make(outside.reactor, address, there.port, timeout)
        if there.scheme == "https":
            options = outside.tls(there.host, TLSLevel.VERIFY)
            endpoint = wrapClientTLS(options, endpoint)
        return endpoint


class _Bounded(ProtocolWrapper):
    """Cuts a connection that sends more than an answer may have."""

    left = MOST_HEADER_BYTES

    @override
    def dataReceived(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self.abortConnection()
        else:
            super().dataReceived(data)


class _Bounding(WrappingFactory):
    protocol = _Bounded
    noisy = False


class _Pool(HTTPConnectionPool):
    """Tells an endpoint which connection was taken for its request."""

    most_body_bytes = MOST_BODY_BYTES

    @override
    def getConnection(self, key: Any, endpoint: Any) -> Any:
        def taken(connection: Any) -> Any:
            endpoint.connection = connection
            connection.transport.left = MOST_HEADER_BYTES + self.most_body_bytes
            return connection

        return super().getConnection(key, endpoint).addCallback(taken)


# Request and answer


@frozen
class _Attempt:
    endpoint: _Endpoint
    response: Any  # Deferred[IResponse]


@implementer(IBodyProducer)
class _Bytes:
    """A body that is there."""

    def __init__(self, body: bytes) -> None:
        self._body, self.length = body, len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def stopProducing(self) -> None:
        """See IBodyProducer: it was written at once."""

    pauseProducing = resumeProducing = stopProducing


@implementer(IBodyProducer)
class _Blocks:
    """A body that is read as fast as the connection takes it."""

    def __init__(self, body: StreamedBody) -> None:
        self._body, self.length = body, body.length
        self._offset, self._left = 0, body.length
        self._is_paused = self._is_reading = self._is_over = False
        self._sent: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self._consumer = consumer
        self._write(self._body.head)
        self._advance()
        return self._sent

    def _advance(self) -> None:
        if self._left == 0 and not self._is_over:
            self._is_over = True
            self._sent.callback(None)
        if self._is_over or self._is_paused or self._is_reading:
            return
        self._is_reading = True
        self._body.read(self._offset, BLOCK_BYTES).addCallbacks(self._got, self._failed)

    def _got(self, block: bytes) -> None:
        self._is_reading = False
        if self._is_over:
            return
        if not block:
            self._failed(Failure(BodyIncomplete(f"{self._left} bytes are missing")))
            return
        self._offset += len(block)
        self._write(block)
        self._advance()

    def _write(self, data: bytes) -> None:
        self._left -= len(data)
        self._consumer.write(data)

    def _failed(self, failure: Failure) -> None:
        self._is_reading = False
        if not self._is_over:
            self._is_over = True
            self._sent.errback(failure)

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._is_paused = False
        self._advance()

    def stopProducing(self) -> None:
        """See IBodyProducer: the connection is gone, and whoever waits is told by it."""
        self._is_over = True


class _Answer(Protocol):
    """The start of a body; at the deadline, what there is of it."""

    def __init__(self, endpoint: _Endpoint, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.done: Deferred[bytearray] = Deferred(lambda _: self._cut())
        self.is_whole = False
        self._endpoint, self._body = endpoint, bytearray()

    @override
    def dataReceived(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._most_bytes:
            del self._body[self._most_bytes :]
            self._cut()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.is_whole = reason.check(*_ENDS) is not None
            self.done.callback(self._body)

    def _cut(self) -> None:
        if not self.done.called:
            self.done.callback(self._body)
            self._endpoint.connection.transport.abortConnection()
