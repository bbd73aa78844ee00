"""SOCKS5 as a client: every answer of a proxy, in any pieces, leads to one clear end."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.socks import REFUSALS, ProxyFailed, SocksEndpoint, connect_request

GREETING = b"\x05\x01\x00"
NO_LOGIN = b"\x05\x00"
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class Collector(Protocol):
    """Keeps what it is given."""

    data = b""

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self.data += data


class Transport(StringTransport):
    """A transport whose protocol can be exchanged, and that knows when it was aborted."""

    protocol: Protocol
    is_aborted = False

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        self.is_aborted = True


class Proxy:
    """An endpoint whose other side is the test."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.away: Deferred[Any] | None = None  # what comes of it when there is no connection

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """See IStreamClientEndpoint."""
        if self.away is not None:
            return self.away
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return succeed(protocol)

    def say(self, data: bytes) -> None:
        """What the proxy answers, to whoever the transport's protocol is now."""
        self.transport.protocol.dataReceived(data)


class SocksTests(SynchronousTestCase):
    """One connection through a proxy."""

    def setUp(self) -> None:
        """A proxy that has been asked for nothing."""
        self.clock, self.proxy = Clock(), Proxy()

    def connect(self, ip: str = "192.0.2.7") -> Deferred[Any]:
        """The protocol behind the proxy, some time."""
        endpoint = SocksEndpoint(self.clock, self.proxy, "proxy.test", ip, 25, 30.0)  # type: ignore[arg-type]
        connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(Collector))
        return connecting

    def assert_failed(self, connecting: Deferred[Any], reason: str) -> None:
        """It failed so, and nothing is left."""
        error = self.failureResultOf(connecting, ProxyFailed).value
        self.assertEqual(str(error), f"SOCKS proxy proxy.test: {reason}")
        self.assertTrue(self.proxy.transport.is_aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.proxy.say(GRANTED)  # too late, and nobody minds
        self.proxy.transport.protocol.connectionLost(Failure(ConnectionDone()))

    def test_request(self) -> None:
        """An address of either family as bytes, and the port."""
        four = connect_request("192.0.2.7", 25)
        self.assertEqual(four, b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x19")
        six = connect_request("2001:db8::1", 587)
        self.assertEqual(six[:4] + six[-3:], b"\x05\x01\x00\x04\x01\x02\x4b")
        self.assertEqual(len(six), 4 + 16 + 2)

    def test_connected(self) -> None:
        """One question after the other; what follows the answer is the protocol's."""
        connecting = self.connect()
        self.assertEqual(self.proxy.transport.value(), GREETING)
        self.proxy.say(NO_LOGIN)
        self.assertEqual(self.proxy.transport.value(), GREETING + connect_request("192.0.2.7", 25))
        self.assertNoResult(connecting)
        self.proxy.say(GRANTED + b"220 hello\r\n")
        protocol = self.successResultOf(connecting)
        self.assertIs(self.proxy.transport.protocol, protocol)
        self.assertEqual(protocol.data, b"220 hello\r\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_pieces_and_addresses(self) -> None:
        """The bound address may be of any kind, and everything may come byte by byte."""
        for address in (
            b"\x01" + b"1234",
            b"\x04" + b"1" * 16,
            b"\x03\x04name",
            b"\x03\x00",
        ):
            self.setUp()
            connecting = self.connect()
            for byte in NO_LOGIN + b"\x05\x00\x00" + address + b"\x00\x50":
                self.assertNoResult(connecting)
                self.proxy.say(bytes([byte]))
            protocol = self.successResultOf(connecting)
            self.proxy.say(b"220")
            self.assertEqual(protocol.data, b"220")

    @settings(deadline=None)
    @given(st.binary(max_size=24), st.booleans())
    def test_whatever_it_says(self, said: bytes, begins_well: bool) -> None:
        """The same in one piece and byte by byte: the rest of it, ProxyFailed, or nothing yet."""
        said = NO_LOGIN + b"\x05\x00\x00" + said if begins_well else said
        self.assertEqual(self.outcome([said]), self.outcome([bytes([byte]) for byte in said]))

    def outcome(self, pieces: list[bytes]) -> object:
        """What comes of a proxy that says this."""
        self.setUp()
        ends: list[Any] = []
        self.connect().addBoth(ends.append)
        for piece in pieces:
            if not self.proxy.transport.is_aborted:
                self.proxy.say(piece)
        if not ends:
            return None
        [end] = ends
        if isinstance(end, Failure):
            end.trap(ProxyFailed)
            return str(end.value)
        return end.data

    def test_refusals(self) -> None:
        """Each code has its reason, whether an address follows or not; also codes without one."""
        reasons = {**REFUSALS, 9: "refused with code 9, which has no meaning"}
        for code, reason in reasons.items():
            for rest in (b"", b"\x00", b"\x00\x01\x00\x00\x00\x00\x00\x00"):
                self.setUp()
                connecting = self.connect()
                self.proxy.say(NO_LOGIN)
                self.proxy.say(bytes([5, code]) + rest)
                self.assert_failed(connecting, reason)
        self.assertEqual(sorted(REFUSALS), list(range(1, 9)))

    def test_login_wanted(self) -> None:
        """A proxy that takes nobody without login is told nothing more."""
        for method in (2, 255):
            self.setUp()
            connecting = self.connect()
            self.proxy.say(bytes([5, method]))
            self.assert_failed(connecting, "it wants a login: let this server use it without")
            self.assertEqual(self.proxy.transport.value(), GREETING)

    def test_no_socks(self) -> None:
        """What is no SOCKS5 is not read as if it were."""
        for said in (b"\x04\x5a", b"HTTP/1.1 400 no\r\n", NO_LOGIN + b"\x04\x00", NO_LOGIN + b"2"):
            self.setUp()
            connecting = self.connect()
            self.proxy.say(said)
            self.assert_failed(connecting, "it does not speak SOCKS5")
        self.setUp()
        connecting = self.connect()
        self.proxy.say(NO_LOGIN + b"\x05\x00\x00\x02\x00")  # an unknown kind of address
        self.assert_failed(connecting, "it does not speak SOCKS5")

    def test_silence(self) -> None:
        """The time is for all answers together: dripping does not prolong it."""
        for said in (b"", b"\x05", NO_LOGIN, NO_LOGIN + GRANTED[:6]):
            self.setUp()
            connecting = self.connect()
            self.clock.advance(20)
            self.proxy.say(said)
            self.clock.advance(9.9)
            self.assertNoResult(connecting)
            self.clock.advance(0.2)
            self.assert_failed(connecting, "no answer in time")

    def test_hangs_up(self) -> None:
        """The proxy leaves in the middle."""
        connecting = self.connect()
        self.proxy.transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assert_failed(connecting, "connection lost: Connection was closed cleanly.")

    def test_proxy_away(self) -> None:
        """A proxy that cannot be connected to is named."""
        self.proxy.away = fail(ConnectionRefusedError())
        error = self.failureResultOf(self.connect(), ProxyFailed).value
        self.assertEqual(
            str(error),
            "SOCKS proxy proxy.test: cannot be connected to: Connection was refused by other side.",
        )

    def test_canceled(self) -> None:
        """Who waits no longer leaves nothing behind."""
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(self.proxy.transport.is_aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_canceled_before_the_proxy_is_there(self) -> None:
        """The connection to the proxy is given up, too."""
        waiting: Deferred[Any] = Deferred()
        self.proxy.away = waiting
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(waiting.called)
