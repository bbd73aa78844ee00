"""A SOCKS5 client (RFC 1928): a connection to an address through a proxy that asks for no login.

Names are resolved by us and addresses given to the proxy, so that what DNS says of a host is the
same whichever way leads to it.

Invariants:

- Whoever waits for the connection learns why there is none, at the latest when the time is over.
- The protocol gets every byte that follows the proxy's answer, and none before it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

_VERSION, _NO_LOGIN, _CONNECT, _GRANTED = 5, 0, 1, 0
_IPV4, _NAME, _IPV6 = 1, 3, 4
_GREETING = bytes([_VERSION, 1, _NO_LOGIN])

REFUSALS = {  # RFC 1928 section 6
    1: "general failure of the proxy",
    2: "its rules do not allow the connection: change them",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused by the host",
    6: "TTL expired",
    7: "it does not know CONNECT: this is no proxy for SMTP",
    8: "it does not take this kind of address: name only families that it has in remote_ips",
}


class ProxyFailed(ConnectError):
    """No connection through the proxy; the text says which proxy, and why."""

    def __init__(self, proxy: str, reason: str) -> None:
        super().__init__(string=reason)
        self.proxy, self.reason = proxy, reason

    @override
    def __str__(self) -> str:
        return f"SOCKS proxy {self.proxy}: {self.reason}"


@implementer(IStreamClientEndpoint)
class SocksEndpoint:
    """To port ``port`` of the address ``ip``, through the proxy that ``inner`` connects to.

    ``timeout`` is in seconds, for the proxy's answers once it is connected.  Failures are
    ProxyFailed, also those of ``inner``; ``name`` is what they call the proxy.
    """

    def __init__(
        self,
        clock: IReactorTime,
        inner: IStreamClientEndpoint,
        name: str,
        ip: str,
        port: int,
        timeout: float,
    ) -> None:
        self._clock, self._inner, self._name = clock, inner, name
        self._request, self._timeout = connect_request(ip, port), timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See IStreamClientEndpoint."""
        negotiation = _Negotiation(
            self._clock, self._name, self._request, protocolFactory, self._timeout
        )
        connecting = self._inner.connect(_One(negotiation))
        finished: Deferred[Any] = Deferred(lambda _: negotiation.give_up(connecting))
        negotiation.finished = finished

        def not_connected(failure: Failure) -> None:
            negotiation.failed(f"cannot be connected to: {failure.getErrorMessage()}")

        connecting.addErrback(not_connected)
        return finished


def connect_request(ip: str, port: int) -> bytes:
    """CONNECT to an address (RFC 1928 section 4)."""
    address = ip_address(ip)
    kind = _IPV4 if address.version == 4 else _IPV6
    return bytes([_VERSION, _CONNECT, 0, kind]) + address.packed + port.to_bytes(2, "big")


class _Negotiation(Protocol):
    """What is said to the proxy; then the connection is given to the factory's protocol."""

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        request: bytes,
        factory: IProtocolFactory,
        timeout: float,
    ) -> None:
        self._clock, self._name, self._request = clock, name, request
        self._factory, self._timeout = factory, timeout
        self.finished: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._received = b""
        self._is_accepted = False  # without login; the answer to CONNECT comes next

    @override
    def connectionMade(self) -> None:
        self._timer = self._clock.callLater(self._timeout, self.failed, "no answer in time")
        self.transport.write(_GREETING)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._received += data  # at most what came with the answer: the transport's next block
        if not self._is_accepted and not self._read_method():
            return
        size = self._answer_size()
        if size is not None and len(self._received) >= size:
            self._connected(self._received[size:])

    def _read_method(self) -> bool:
        """Whether the proxy wants no login and may be asked to connect."""
        if len(self._received) < 2:
            return False
        version, method = self._received[:2]
        if version != _VERSION:
            self.failed("it does not speak SOCKS5")
        elif method != _NO_LOGIN:
            self.failed("it wants a login: let this server use it without")
        else:
            self._received = self._received[2:]
            self._is_accepted = True
            self.transport.write(self._request)
        return self._is_accepted

    def _answer_size(self) -> int | None:
        """How many bytes the answer to CONNECT has; None before that can be told, or on refusal."""
        if len(self._received) < 5:
            if self._received[:1] not in (b"", bytes([_VERSION])):
                self.failed("it does not speak SOCKS5")
            elif len(self._received) > 1 and self._received[1] != _GRANTED:
                self._refused(self._received[1])
            return None
        version, code, _, kind, length = self._received[:5]
        sizes = {_IPV4: 4, _IPV6: 16, _NAME: 1 + length}
        if version != _VERSION or (code == _GRANTED and kind not in sizes):
            self.failed("it does not speak SOCKS5")
        elif code != _GRANTED:
            self._refused(code)
        else:
            return 4 + sizes[kind] + 2
        return None

    def _refused(self, code: int) -> None:
        self.failed(REFUSALS.get(code, f"refused with code {code}, which has no meaning"))

    def _connected(self, rest: bytes) -> None:
        finished = self._end()
        if finished is None:
            return
        protocol = self._factory.buildProtocol(self.transport.getPeer())
        if protocol is None:
            self.transport.abortConnection()
            finished.errback(Failure(CancelledError()))
            return
        # From here on the transport, and what TLS does to it, is the protocol's alone.
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        finished.callback(protocol)
        if rest:
            protocol.dataReceived(rest)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.failed(f"connection lost: {reason.getErrorMessage()}")

    def failed(self, reason: str) -> None:
        """Tell who waits that there is no connection, and why."""
        finished = self._end()
        if finished is not None:
            self._leave()
            finished.errback(Failure(ProxyFailed(self._name, reason)))

    def give_up(self, connecting: Deferred[Any]) -> None:
        """Nobody waits any more."""
        self._end()
        self._leave()
        connecting.cancel()

    def _end(self) -> Deferred[Any] | None:
        """Who waits, once; no timer runs after it."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        finished, self.finished = self.finished, None
        return finished

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()


class _One(Factory):
    noisy = False

    def __init__(self, negotiation: _Negotiation) -> None:
        self._negotiation = negotiation

    @override
    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._negotiation
