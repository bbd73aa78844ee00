"""What a client may take of the server's time and connections, on real sockets."""

from __future__ import annotations

from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from mailrelay.inbound.protocol import CLOSE_AFTER
from mailrelay.policy.limits import IDLE, TOO_MANY_CONNECTIONS, TOO_SLOW, Limits
from mailrelay.testing.clocks import LeapingClock
from mailrelay.testing.loopback import Loopback, RawClient
from tests.integration.world import soon, until

LIMITS = Limits()
ENVELOPE = (b"EHLO client.test", b"MAIL FROM:<a@client.test>", b"RCPT TO:<user@example.org>")


def has(holder: Any, name: str, least: int) -> bool:
    """Whether an attribute has come to this number."""
    return bool(getattr(holder, name) >= least)


def only_session(server: Loopback) -> Any:
    """The server's side of the one connection there is."""
    [session] = server.server._sessions
    return session


class LimitsCase(TestCase):
    """A server whose time is the test's."""

    timeout = 60

    async def start(self, **settings: Any) -> Loopback:
        """Start it with the documented limits, or those given."""
        self.clock = LeapingClock.start(self, reactor)
        settings = {"limits": LIMITS, **settings}
        return await Loopback.start(self, reactor, clock=self.clock, **settings)

    async def begin(self, server: Loopback) -> RawClient:
        """A session whose envelope is given."""
        client = await server.connect()
        await client.reply()
        for line in ENVELOPE:
            self.assertEqual((await client.ask(line))[:3], b"250")
        return client

    async def ended(self, client: RawClient, answer: bytes) -> None:
        """The client hears this, and nothing more."""
        self.assertEqual(await client.reply(), answer)
        self.assertEqual(await client.reply(), b"")


class IdleTests(LimitsCase):
    """``idle_after``."""

    async def test_idle(self) -> None:
        """A client may be silent almost as long, each time anew; then it hears why it must go."""
        server = await self.start()
        client = await server.connect()
        await client.reply()
        for _ in range(3):
            self.clock.advance(LIMITS.idle_after - 30)
            self.assertEqual((await client.ask(b"NOOP"))[:3], b"250")
        client.send(b"NOO")  # not a command: no reason to wait on
        self.clock.advance(LIMITS.idle_after + 1)
        await self.ended(client, IDLE.to_wire())

    async def test_drip_of_a_command(self) -> None:
        """A command that comes byte by byte is waited for no longer than one that does not come."""
        server = await self.start()
        client = await server.connect()
        await client.reply()
        session = only_session(server)
        for sent in range(1, 7):
            client.send(b"x")
            await until(reactor, partial(has, session._reader, "waiting_bytes", sent))
            self.clock.advance(LIMITS.idle_after / 6 + 1)
        await self.ended(client, IDLE.to_wire())


class ContentWindowTests(LimitsCase):
    """``content_window`` and ``content_window_bytes``."""

    async def test_drip_of_data(self) -> None:
        """A little less than the least is not enough, however often a byte comes."""
        server = await self.start()
        client = await self.begin(server)
        await client.ask(b"DATA")
        session = only_session(server)
        piece = b"x" * (LIMITS.content_window_bytes // 6 - 20) + b"\r\n"
        for sent in range(1, 7):
            client.send(piece)
            await until(reactor, partial(has, session, "_window_bytes", sent * len(piece) - 2))
            self.clock.advance(LIMITS.content_window / 6 + 1)
        await self.ended(client, TOO_SLOW.to_wire())

    async def test_slow_enough_data(self) -> None:
        """The least, in every window, is accepted for as long as it takes."""
        server = await self.start()
        client = await self.begin(server)
        await client.ask(b"DATA")
        session = only_session(server)
        line = b"x" * 998 + b"\r\n"
        for _ in range(10):
            client.send(line * (LIMITS.content_window_bytes // 1000) + b"xx")
            await until(reactor, lambda: session._window_bytes >= LIMITS.content_window_bytes)
            self.clock.advance(LIMITS.content_window + 1)
        self.assertEqual((await client.ask(b"\r\n."))[:9], b"250 2.0.0")

    async def test_drip_of_chunks(self) -> None:
        """Chunks of one byte are a drip too: an answer to each wins no time."""
        server = await self.start()
        client = await self.begin(server)
        for _ in range(4):
            self.assertEqual(await client.ask(b"BDAT 2\r\n"), b"250 2.0.0 chunk received\r\n")
            self.clock.advance(LIMITS.content_window / 4 + 1)
        await self.ended(client, TOO_SLOW.to_wire())

    async def test_reset_ends_the_window(self) -> None:
        """After RSET in the middle of chunks it is the idle time that counts."""
        server = await self.start()
        client = await self.begin(server)
        await client.ask(b"BDAT 2\r\n")
        self.assertEqual((await client.ask(b"RSET"))[:3], b"250")
        self.clock.advance(LIMITS.content_window + 1)
        self.assertEqual((await client.ask(b"NOOP"))[:3], b"250")


class HandshakeTests(LimitsCase):
    """A TLS handshake that does not end."""

    def client_hello(self) -> bytes:
        """The first message of a handshake."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_connect_state()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        return connection.bio_read(10_000)

    async def drip(self, server: Loopback, client: RawClient, hello: bytes) -> None:
        """Send ``hello`` slowly; the connection must be gone before it is sent."""
        for at in range(len(hello)):
            client.send(hello[at : at + 1])
            self.clock.advance(LIMITS.idle_after / 20)
            if not server.server._sessions:
                break
            await soon(reactor)
        self.assertLess(at, 25)
        await client.closed
        self.assertEqual(server.server._connections.total, 0)

    async def test_submissions(self) -> None:
        """On the submissions port: nothing, or a drip, or all but the last byte."""
        server = await self.start()
        hello = self.client_hello()
        for start in (b"", hello[:1], hello[:-1]):
            client = await server.connect("submissions")
            await until(reactor, lambda: server.server._sessions)
            client.send(start)
            self.clock.advance(LIMITS.idle_after + 1)
            self.clock.advance(CLOSE_AFTER + 1)
            await client.closed
            await until(reactor, lambda: not server.server._sessions)
        client = await server.connect("submissions")
        await until(reactor, lambda: server.server._sessions)
        await self.drip(server, client, hello)

    async def test_after_starttls(self) -> None:
        """After STARTTLS."""
        server = await self.start()
        client = await server.connect()
        await client.reply()
        await client.ask(b"EHLO client.test")
        self.assertEqual((await client.ask(b"STARTTLS"))[:3], b"220")
        await self.drip(server, client, self.client_hello())


class ConnectionsTests(LimitsCase):
    """``connections`` and ``connections_per_address``."""

    async def test_per_address(self) -> None:
        """One more of an address is refused at any port; others and later ones are not."""
        server = await self.start(limits=Limits(connections_per_address=2))
        first = await server.connect()
        second = await server.connect("submission")
        for client in (first, second):
            self.assertEqual((await client.reply())[:3], b"220")
        await self.ended(await server.connect(), TOO_MANY_CONNECTIONS.to_wire())
        other = await server.connect(source="127.0.0.2")
        self.assertEqual((await other.reply())[:3], b"220")
        await first.close()
        await until(reactor, lambda: server.server._connections.total == 2)
        self.assertEqual((await (await server.connect()).reply())[:3], b"220")

    async def test_within_tls(self) -> None:
        """On the submissions port the refusal is told within TLS."""
        server = await self.start(limits=Limits(connections_per_address=0))
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port("submissions"), 10)
        options: Any = CertificateOptions(verify=False)
        endpoint = wrapClientTLS(options, plain)
        client: RawClient = await connectProtocol(endpoint, RawClient())
        await self.ended(client, TOO_MANY_CONNECTIONS.to_wire())

    async def test_in_all(self) -> None:
        """One more in all is refused, wherever it comes from; a session that ends makes room."""
        server = await self.start(limits=Limits(connections=3))
        clients = [await server.connect(source=f"127.1.0.{n}") for n in range(1, 4)]
        for client in clients:
            self.assertEqual((await client.reply())[:3], b"220")
        await self.ended(await server.connect(source="127.2.0.1"), TOO_MANY_CONNECTIONS.to_wire())
        self.assertEqual((await clients[0].ask(b"QUIT"))[:3], b"221")
        await until(reactor, lambda: server.server._connections.total == 2)
        self.assertEqual((await (await server.connect()).reply())[:3], b"220")

    async def test_refused_and_deaf(self) -> None:
        """Who is refused and does not go is cut off; until then the connection counts."""
        server = await self.start(limits=Limits(connections=0))
        client = await server.connect("submissions")  # no TLS: cannot be told
        await until(reactor, lambda: server.server._connections.total == 1)
        self.clock.advance(CLOSE_AFTER + 1)
        await client.closed
        self.assertEqual(server.server._connections.total, 0)
