"""The PROXY protocol, versions 1 and 2, in front of a listener that asks for it.

Source: HAProxy's proxy-protocol.txt.  Whoever can connect to such a listener can claim any
address, so it belongs on an address that only the proxy reaches.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.inbound.context import LiveSession

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_MAX_V1_BYTES = 107
_MAX_V2_BYTES = 16 + 2048


class MalformedHeader(Exception):
    """The connection does not begin with a PROXY header."""


@frozen
class ProxyHeader:
    """``source`` is (ip, port), None for a connection of the proxy itself."""

    source: tuple[str, int] | None
    size_bytes: int


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header at the front of ``data``; None when more bytes are needed.

    Raises: MalformedHeader.
    """
    if _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        return _version_2(data)
    if b"PROXY ".startswith(data[:6]):
        return _version_1(data)
    raise MalformedHeader("no PROXY header")


def _version_1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_MAX_V1_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _MAX_V1_BYTES:
            raise MalformedHeader("PROXY line is too long")
        return None
    words = line.decode("latin-1").split(" ")
    if words[1:2] == ["UNKNOWN"]:
        return ProxyHeader(None, len(line) + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise MalformedHeader("malformed PROXY line")
    version = int(words[1].removeprefix("TCP"))
    return ProxyHeader(_checked(words[2], words[4], version), len(line) + 2)


def _checked(ip: str, port: str, version: int) -> tuple[str, int]:
    try:
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
            raise ValueError(port)
        address = ip_address(ip)
        if address.version != version or "%" in ip:  # a scope could be any text
            raise ValueError(ip)
        return str(address), int(port)
    except ValueError as error:
        raise MalformedHeader("malformed address in the PROXY line") from error


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version_command, family, length = struct.unpack("!BBH", data[12:16])
    size = 16 + length
    if version_command >> 4 != 2 or size > _MAX_V2_BYTES:
        raise MalformedHeader("unknown PROXY version, or header too long")
    if len(data) < size:
        return None
    addresses = data[16:size]
    if version_command & 0xF > 1:
        raise MalformedHeader("unknown PROXY command")
    if version_command & 0xF == 0:  # LOCAL
        return ProxyHeader(None, size)
    width = {0x11: 4, 0x21: 16}.get(family)
    if width is None:
        return ProxyHeader(None, size)
    if len(addresses) < 2 * width + 4:
        raise MalformedHeader("PROXY header is too short for its addresses")
    (port,) = struct.unpack("!H", addresses[2 * width : 2 * width + 2])
    return ProxyHeader((str(ip_address(addresses[:width])), port), size)


class ProxyFactory(WrappingFactory):
    """Reads the header, then lets the wrapped factory's protocol see the client itself.

    ``sessions`` has a connection until its header is there: a stop ends it, too.
    """

    noisy = False

    def __init__(
        self,
        wrapped: IProtocolFactory,
        clock: IReactorTime,
        header_after: float,
        sessions: set[LiveSession],
    ) -> None:
        super().__init__(wrapped)
        self.clock, self.header_after, self.sessions = clock, header_after, sessions

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        wrapped: Any = self.wrappedFactory
        inner = wrapped.buildProtocol(addr)
        return _ProxyProtocol(self, inner) if inner is not None else None


class _ProxyProtocol(ProtocolWrapper):
    """Until the header is here, the wrapped protocol does not know of the connection."""

    factory: Any  # ProxyFactory
    transport: Any
    wrappedProtocol: Any

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._buffer: bytes | None = b""
        self._source: tuple[str, int] | None = None
        self._deadline: Any = None

    @override
    def makeConnection(self, transport: Any) -> None:
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self.factory.sessions.add(self)
        self._deadline = self.factory.clock.callLater(
            self.factory.header_after, transport.abortConnection
        )

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._buffer is None:
            self.wrappedProtocol.dataReceived(data)
            return
        self._buffer += data
        try:
            header = parse_proxy_header(self._buffer)
        except MalformedHeader:
            self.transport.abortConnection()
            return
        if header is None:
            return
        rest, self._buffer = self._buffer[header.size_bytes :], None
        self._source = header.source
        self._deadline.cancel()
        self.factory.sessions.discard(self)
        self.wrappedProtocol.makeConnection(self)
        if rest:
            self.wrappedProtocol.dataReceived(rest)

    def leave(self) -> None:
        """See LiveSession."""
        self.transport.abortConnection()

    def abort(self) -> None:
        """See LiveSession."""
        self.transport.abortConnection()

    @override
    def getPeer(self) -> Any:
        if self._source is None:
            return self.transport.getPeer()
        ip, port = self._source
        return IPv6Address("TCP", ip, port) if ":" in ip else IPv4Address("TCP", ip, port)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.unregisterProtocol(self)
        self.factory.sessions.discard(self)
        if self._deadline.active():
            self._deadline.cancel()
        if self._buffer is None:
            self.wrappedProtocol.connectionLost(reason)
