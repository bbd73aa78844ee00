"""PROXY headers, versions 1 and 2, and the wrapper that reads them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from mailrelay.inbound.proxy import (
    MalformedHeader,
    ProxyFactory,
    ProxyHeader,
    parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(ip: str, port: int, command: int = 0x21, extra: bytes = b"") -> bytes:
    """A version 2 header."""
    address = ip_address(ip)
    family = 0x11 if address.version == 4 else 0x21
    data = address.packed * 2 + struct.pack("!HH", port, 25) + extra
    return SIGNATURE + struct.pack("!BBH", command, family, len(data)) + data


class ParseTests(SynchronousTestCase):
    """parse_proxy_header."""

    @given(st.ip_addresses(), st.integers(0, 65535), st.binary(max_size=20))
    def test_both_versions(self, ip: object, port: int, rest: bytes) -> None:
        """The client's address is found, and where the header ends; a part is not enough."""
        family = "TCP6" if ":" in str(ip) else "TCP4"
        text = f"PROXY {family} {ip} {ip} {port} 25\r\n".encode()
        for header in (text, version_2(str(ip), port), version_2(str(ip), port, extra=b"tlv")):
            expected = ProxyHeader((str(ip), port), len(header))
            self.assertEqual(parse_proxy_header(header + rest), expected)
            for size in range(len(header)):
                self.assertIsNone(parse_proxy_header(header[:size]))

    def test_no_client(self) -> None:
        """The proxy's own connections, and families that we do not know, name nobody."""
        local = SIGNATURE + b"\x20\0\0\0"
        unix = SIGNATURE + b"\x21\x31\0\1x"
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN a b c d\r\n", local, unix):
            self.assertEqual(parse_proxy_header(header), ProxyHeader(None, len(header)))

    def test_malformed(self) -> None:
        """Anything else is refused, as soon as it can be told."""
        for data in (
            b"EHLO client\r\n",
            b"PROXY\r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.1 1\r\n",
            b"PROXY TCP4 192.0.2.1  192.0.2.1 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
            b"PROXY TCP6 fe80::1%\x1b[2J ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.1 65536 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.1 -1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.1 \xb2 2\r\n".encode("latin-1"),
            b"PROXY " + b"x" * 101,
            SIGNATURE + b"\x11\x11\0\x0c" + b"x" * 12,
            SIGNATURE + b"\x21\x11\xff\xff",
            SIGNATURE + b"\x21\x11\0\x04abcd",
            version_2("192.0.2.1", 1, command=0x22),
        ):
            with self.subTest(data):
                self.assertRaises(MalformedHeader, parse_proxy_header, data)


class Inner(Protocol):
    """What stands behind the proxy: notes what it sees."""

    def __init__(self) -> None:
        self.seen = b""
        self.peer: object = None
        self.lost = False

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.peer = self.transport.getPeer()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.seen += data

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class WrapperTests(SynchronousTestCase):
    """ProxyFactory."""

    def setUp(self) -> None:
        """A connection of the proxy."""
        self.clock, self.inner = Clock(), Inner()
        factory = ProxyFactory(Factory.forProtocol(lambda: self.inner), self.clock, 10.0, set())
        self.protocol = factory.buildProtocol(None)
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.1", 1))
        self.protocol.makeConnection(self.transport)

    def test_client_is_seen(self) -> None:
        """The wrapped protocol sees the client and what it sent, byte by byte or at once."""
        data = b"PROXY TCP6 2001:db8::7 ::1 99 25\r\nEHLO x\r\n"
        for position in range(len(data)):
            self.protocol.dataReceived(data[position : position + 1])
        self.assertEqual(self.inner.seen, b"EHLO x\r\n")
        self.assertEqual(self.inner.peer, IPv6Address("TCP", "2001:db8::7", 99))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """Bytes behind the header in the same delivery are not lost."""
        self.protocol.dataReceived(version_2("192.0.2.9", 7) + b"NOOP\r\n")
        self.assertEqual(self.inner.seen, b"NOOP\r\n")
        self.assertEqual(self.inner.peer, IPv4Address("TCP", "192.0.2.9", 7))
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.inner.lost)

    def test_own_connection(self) -> None:
        """The proxy's own connection keeps the proxy's address."""
        self.protocol.dataReceived(b"PROXY UNKNOWN\r\n")
        self.assertEqual(self.inner.peer, IPv4Address("TCP", "10.0.0.1", 1))

    def test_malformed(self) -> None:
        """Without a header the connection is cut, and the wrapped protocol never made."""
        self.protocol.dataReceived(b"EHLO x\r\n")
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.inner.peer, self.inner.lost), (None, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_comes(self) -> None:
        """A header that does not come in time is waited for no longer."""
        self.protocol.dataReceived(b"PROXY ")
        self.clock.advance(10.0)
        self.assertTrue(self.transport.disconnected)

    def test_refused_connection(self) -> None:
        """Where the wrapped factory refuses, so does this one."""
        refusing = Factory()
        refusing.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        self.assertIsNone(ProxyFactory(refusing, self.clock, 1.0, set()).buildProtocol(None))
