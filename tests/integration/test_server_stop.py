"""A server that stops while clients talk to it, on real sockets."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import ListenerSection
from mailrelay.control.queue import EntryFilter
from mailrelay.policy.limits import SHUTTING_DOWN
from mailrelay.testing.clocks import LeapingClock
from mailrelay.testing.loopback import Loopback, RawClient
from tests.integration.processes import PATIENCE, ServerProcess, Sink, configuration
from tests.integration.world import soon, until

GRACE = 20.0
STOPPING = SHUTTING_DOWN.to_wire()
ENVELOPE = (b"EHLO client.test", b"MAIL FROM:<a@client.test>", b"RCPT TO:<user@example.org>")


class StopTests(TestCase):
    """``Server.stopService``."""

    timeout = 60

    async def start(self, **settings: Any) -> Loopback:
        """Start it."""
        self.clock = LeapingClock.start(self, reactor)
        return await Loopback.start(self, reactor, clock=self.clock, stop_grace=GRACE, **settings)

    async def begin(self, server: Loopback) -> RawClient:
        """A session whose envelope is given."""
        client = await server.connect()
        await client.reply()
        for line in ENVELOPE:
            self.assertEqual((await client.ask(line))[:3], b"250")
        return client

    async def ended(self, client: RawClient) -> None:
        """The client hears why, and that is all."""
        self.assertEqual([await client.reply(), await client.reply()], [STOPPING, b""])

    async def messages(self, server: Loopback) -> int:
        """How many entries there are, of whatever state."""
        control = server.control()
        try:
            waiting = await control.queue.find(EntryFilter())
            return len(waiting) + len(await control.queue.find(EntryFilter(retired=True)))
        finally:
            control.close()

    async def test_idle_session(self) -> None:
        """Sessions without a transaction end at once, and nobody else is let in."""
        server = await self.start()
        port = server.port("mx")
        greeted, introduced = await server.connect(), await server.connect()
        for client in (greeted, introduced):
            await client.reply()
        await introduced.ask(b"EHLO client.test")
        stopping = server.server.stopService()
        await soon(reactor)
        with socket.socket() as late:
            self.assertNotEqual(late.connect_ex(("127.0.0.1", port)), 0)
        for client in (greeted, introduced):
            await self.ended(client)
        await stopping
        self.assertLess(self.clock.seconds(), GRACE)

    async def test_transaction_under_way(self) -> None:
        """It may end, by content or without; what is answered 250 is stored."""
        server = await self.start()
        clients = [await self.begin(server) for _ in range(4)]
        data, chunks, reset, more = clients
        self.assertEqual((await more.ask(b"DATA"))[:3], b"354")
        self.assertEqual((await chunks.ask(b"BDAT 6\r\na: b"))[:3], b"250")
        stopping = server.server.stopService()
        self.assertEqual((await data.ask(b"DATA"))[:3], b"354")
        self.assertEqual((await data.ask(b"a: b\r\n\r\n."))[:9], b"250 2.0.0")
        self.assertEqual((await chunks.ask(b"BDAT 2 LAST\r\n"))[:9], b"250 2.0.0")
        self.assertEqual((await reset.ask(b"RSET"))[:3], b"250")
        more.send(b"a: b\r\n\r\n.\r\nMAIL FROM:<a@client.test>\r\n")
        self.assertEqual((await more.reply())[:9], b"250 2.0.0")
        for client in clients:
            await self.ended(client)
        await stopping
        self.assertEqual(await self.messages(server), 3)

    async def test_transaction_that_does_not_end(self) -> None:
        """It is cut off when the grace period is over, and is no message."""
        server = await self.start()
        client = await self.begin(server)
        await client.ask(b"DATA")
        client.send(b"a: b\r\n\r\n")
        stopping = server.server.stopService()
        self.clock.advance(GRACE - 5)
        client.send(b"hello\r\n")
        await until(reactor, lambda: not client.is_closed)
        self.clock.advance(6)
        await client.closed
        await stopping
        self.assertEqual(await self.messages(server), 0)

    async def test_unfinished_beginnings(self) -> None:
        """Whoever never ends a handshake, or a PROXY header, does not hold up the stop."""
        place = "tcp:0:interface=127.0.0.1"
        listeners = [
            ListenerSection("mx", place, proxy_protocol=True),
            ListenerSection("submissions", place),
        ]
        server = await self.start(listener=listeners)
        clients = [await server.connect(role) for role in ("mx", "submissions")]
        clients[0].send(b"PROXY ")
        await until(reactor, lambda: len(server.server._sessions) == 2)
        stopping: Deferred[Any] = server.server.stopService()
        await clients[0].closed
        self.assertFalse(clients[1].is_closed)
        self.clock.advance(GRACE + 1)
        await clients[1].closed
        await stopping


class SigtermTests(TestCase):
    """The same, to a process."""

    timeout = 120

    @contextlib.contextmanager
    def connected(self, port: int) -> Iterator[tuple[socket.socket, BinaryIO]]:
        """A greeted client."""
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            heard = client.makefile("rb")
            self.assertEqual(heard.readline()[:3], b"220")
            yield client, heard

    def refused(self, port: int) -> None:
        """Wait until nobody is let in; who comes a moment before that is not greeted either."""
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            while time.monotonic() < until:
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                    self.assertEqual(client.recv(100), b"")
            self.fail("connections are accepted")

    def test_sigterm(self) -> None:
        """Idle sessions end, a transaction under way is finished, and its message is there."""
        folder = Path(self.mktemp()).absolute()
        (folder / "data").mkdir(parents=True)
        sink = Sink(defers=0.0, cuts=0.0)
        self.addCleanup(sink.close)
        server = ServerProcess(folder, configuration(folder / "data", sink.port))
        self.addCleanup(server.kill)
        server.start()
        process: Any = server.process
        with self.connected(server.port) as (_, idle), self.connected(server.port) as (busy, heard):
            lines = (*ENVELOPE[1:2], b"RCPT TO:<b@example.net>", b"DATA")
            busy.sendall(b"".join(line + b"\r\n" for line in (b"HELO client.test", *lines)))
            self.assertEqual([heard.readline()[:3] for _ in range(4)], [*[b"250"] * 3, b"354"])
            process.send_signal(signal.SIGTERM)
            self.assertEqual([idle.readline(), idle.readline()], [STOPPING, b""])
            self.refused(server.port)
            busy.sendall(b"X-Number: 1\r\n\r\nhello\r\n.\r\n")
            self.assertTrue(re.match(rb"250 2\.0\.0 queued", heard.readline()))
            self.assertEqual([heard.readline(), heard.readline()], [STOPPING, b""])
        self.assertEqual(process.wait(PATIENCE), -signal.SIGTERM)  # twistd's way, after all is done
        server.start()
        self.addCleanup(server.stop)
        until = time.monotonic() + PATIENCE
        while "1" not in sink.copies:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
