"""Clients that send much and read nothing, on real sockets: in order, bounded, ended at last."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from mailrelay.inbound.protocol import CLOSE_AFTER, WAITING_BYTES
from mailrelay.inbound.replies import CHUNK_OK
from mailrelay.policy.limits import TOO_MANY_ERRORS, Limits
from mailrelay.testing.clocks import LeapingClock
from mailrelay.testing.loopback import Loopback, RawClient
from tests.integration.world import mailbox, soon, until

LIMITS = Limits()
PATIENT = Limits(errors=10**9, junk_commands=10**9)
DELIVERY = 64 * 1024
"""What Twisted takes from a socket at a time."""
HELPS = b"HELP\r\n" * 10_000
FAR_TOO_MUCH = 30 * 1024 * 1024
CODES = {
    b"NOOP": b"250",
    b"HELP": b"214",
    b"VRFY x": b"252",
    b"EXPN x": b"502",
    b"MAIL": b"501",
    b"DATA": b"503",
    b"NONSENSE": b"500",
    b"HELO client.test": b"250",
}


class FloodCase(TestCase):
    """A server whose time is the test's."""

    timeout = 120

    async def start(self, limits: Limits) -> Loopback:
        """Start it."""
        self.clock = LeapingClock.start(self, reactor)
        return await Loopback.start(self, reactor, clock=self.clock, limits=limits)

    async def greeted(self, server: Loopback) -> RawClient:
        """A session in clear."""
        client = await server.connect()
        self.assertEqual((await client.reply())[:3], b"220")
        self.assertEqual((await client.ask(b"EHLO client.test"))[:3], b"250")
        return client

    async def greeted_in_tls(self, server: Loopback) -> RawClient:
        """A session within TLS from its first byte."""
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port("submissions"), 10)
        options: Any = CertificateOptions(verify=False)
        client: RawClient = await connectProtocol(wrapClientTLS(options, plain), RawClient())
        self.addCleanup(client.close)
        self.assertEqual((await client.reply())[:3], b"220")
        return client


class PipeliningTests(FloodCase):
    """Many commands in one segment."""

    async def test_two_thousand_commands(self) -> None:
        """Each is answered, in order."""
        server = await self.start(PATIENT)
        client = await self.greeted(server)
        commands = Random(1).choices(list(CODES), k=2000)
        client.send(b"".join(command + b"\r\n" for command in commands))
        codes = [reply[:3] for reply in await client.replies(2000)]
        self.assertEqual(codes, [CODES[command] for command in commands])

    async def test_two_thousand_recipients(self) -> None:
        """So is a whole transaction: what is over the limit is refused, the others are kept."""
        server = await self.start(Limits(recipients=600, errors=10**9))
        client = await self.greeted(server)
        rcpt = b"".join(b"RCPT TO:<user+%d@example.org>\r\n" % n for n in range(2000))
        client.send(b"MAIL FROM:<a@client.test>\r\n" + rcpt + b"DATA\r\n")
        codes = [reply[:9] for reply in await client.replies(2002)]
        wanted = [b"250 2.1.0", *[b"250 2.1.5"] * 600, *[b"452 4.5.3"] * 1400]
        self.assertEqual(codes[:-1], wanted)
        self.assertEqual(codes[-1][:3], b"354")
        self.assertEqual((await client.ask(b"a: b\r\n\r\nx\r\n."))[:9], b"250 2.0.0")
        self.assertEqual(len(await mailbox(server, 600)), 600)


class DeafClientTests(FloodCase):
    """A client that never reads."""

    async def flood(self, server: Loopback, client: RawClient) -> Any:
        """Send commands until the server, which is given every chance, reads no more of them."""
        client_side: Any = client.transport
        client_side.pauseProducing()
        counters = server.server._counters
        sent = seen = quiet = 0
        while quiet < 100:
            client.send(HELPS)
            sent += len(HELPS)
            self.assertLess(sent, FAR_TOO_MUCH)
            await soon(reactor, 0)
            quiet = quiet + 1 if counters.commands == seen else 0
            seen = counters.commands
        [session] = server.server._sessions
        return session

    async def held_and_ended(self, server: Loopback, client: RawClient, session: Any) -> None:
        """What waits is bounded, others are served, and the time of the session is over once."""
        self.assertTrue(session._paused)
        self.assertLessEqual(session._reader.waiting_bytes, WAITING_BYTES + 4 * DELIVERY)
        self.assertEqual((await (await self.greeted(server)).ask(b"NOOP"))[:3], b"250")
        self.clock.advance(LIMITS.idle_after + 1)
        self.clock.advance(CLOSE_AFTER + 1)
        await until(reactor, lambda: session not in server.server._sessions)

    async def test_in_clear(self) -> None:
        """In clear, where output is bounded too."""
        server = await self.start(PATIENT)
        client = await self.greeted(server)
        session = await self.flood(server, client)
        output = session.transport
        self.assertLess(len(output.dataBuffer) + output._tempDataLen, 4 * DELIVERY)
        await self.held_and_ended(server, client, session)

    async def test_in_tls(self) -> None:
        """Within TLS."""
        server = await self.start(PATIENT)
        client = await self.greeted_in_tls(server)
        session = await self.flood(server, client)
        await self.held_and_ended(server, client, session)

    async def test_that_reads_again(self) -> None:
        """Who reads after all gets every answer."""
        server = await self.start(PATIENT)
        client = await self.greeted(server)
        await self.flood(server, client)
        client.send(b"QUIT\r\n")
        client_side: Any = client.transport
        client_side.resumeProducing()
        await client.closed
        heard = bytes(client._received)
        self.assertEqual(heard.count(b"214 2.0.0 RFC 5321\r\n") % HELPS.count(b"H"), 0)
        self.assertTrue(heard.endswith(b"\r\n221 2.0.0 bye\r\n"))


class EmptyChunksTests(FloodCase):
    """``BDAT 0``, 100,000 times."""

    async def flood(self, limits: Limits) -> tuple[Loopback, RawClient]:
        """A session that got all of them in a transaction."""
        server = await self.start(limits)
        client = await self.greeted(server)
        for line in (b"MAIL FROM:<a@client.test>", b"RCPT TO:<user@example.org>"):
            self.assertEqual((await client.ask(line))[:3], b"250")
        client.send(b"BDAT 0\r\n" * 100_000)
        return server, client

    async def test_closed(self) -> None:
        """It ends after ``junk_commands``."""
        _, client = await self.flood(LIMITS)
        await client.closed
        heard = CHUNK_OK.to_wire() * LIMITS.junk_commands + TOO_MANY_ERRORS.to_wire()
        self.assertTrue(heard.startswith(bytes(client._received)))

    async def test_answered(self) -> None:
        """Where they are allowed all are answered, and leave no trace in the message."""
        server, client = await self.flood(PATIENT)
        wanted = CHUNK_OK.to_wire() * 100_000
        received = client._received
        await until(reactor, partial(_as_long, received, len(wanted)))
        self.assertTrue(received == wanted)
        session: Any = next(iter(server.server._sessions))
        self.assertEqual(session._transaction._content._chunks, [])
        received.clear()
        self.assertEqual((await client.ask(b"BDAT 9 LAST\r\na: b\r\n\r\nx"))[:9], b"250 2.0.0")
        [content] = await mailbox(server, 1)
        self.assertTrue(content.endswith(b"a: b\r\n\r\nx"))


def _as_long(received: bytearray, size: int) -> bool:
    return len(received) >= size
