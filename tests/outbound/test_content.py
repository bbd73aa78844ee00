"""Content on the wire: byte exact, bounded in memory, never cut short unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.content import BLOCK_BYTES, Outgoing
from mailrelay.testing.certificates import Authority
from mailrelay.testing.scripted_server import Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, short
from tests.outbound.wire import Wire, small

PIECES = [b".", b"..", b"x", b"\r\n"]


def contents() -> Iterator[bytes]:
    """Every content of up to four pieces, each ending in CRLF as accepted content does."""
    for count in range(5):
        for pieces in product(PIECES, repeat=count):
            yield b"".join(pieces) + b"\r\n"


def in_blocks(data: bytes, size: int) -> Callable[[int, int], Deferred[bytes]]:
    """A reader that gives ``size`` bytes at a time, whatever is asked for."""
    return lambda offset, _: succeed(data[offset : offset + size])


def understood(wire: bytes) -> bytes:
    """What a server makes of DATA's bytes (RFC 5321 section 4.5.2), which must have one end."""
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""] and b"." not in lines[:-2], wire
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])


class WireTests(SynchronousTestCase):
    """What leaves, for each way in which dots and chunks can meet."""

    def sent(self, outgoing: Outgoing, *extensions: bytes) -> bytes:
        """All that leaves after the leave to send."""
        wire = Wire().opened(b"PIPELINING", *extensions)
        wire.begin(outgoing)
        data = wire.said(b"250 ok", b"250 ok")
        if not extensions:
            data = wire.said(b"354 go")
        while block := wire.transport.drain():
            data += block
        self.assertEqual(wire.outcomes, [])
        wire.said(b"250 taken")
        self.assertEqual(wire.outcomes, ["delivered 250 None"])
        return data

    def test_every_edge(self) -> None:
        """Dots, doubled dots and CRLF in any order, in memory and in chunks of one to three."""
        for data in contents():
            for outgoing in (
                small(data),
                *(Outgoing(b"", len(data), in_blocks(data, size)) for size in (1, 2, 3)),
                Outgoing(data[:2], len(data), in_blocks(data[2:], 1)),
            ):
                self.assertEqual(understood(self.sent(outgoing)), data)

    def test_chunks_are_raw(self) -> None:
        """After BDAT the bytes leave as they are, as many as were announced."""
        for data in contents():
            outgoing = Outgoing(data[:1], len(data), in_blocks(data[1:], 2))
            said = b"BDAT %d LAST\r\n" % len(data)
            self.assertEqual(self.sent(outgoing, b"CHUNKING"), said + data)

    def test_content_without_a_last_newline(self) -> None:
        """A missing last CRLF is added before the dot: the end is unmistakable."""
        self.assertEqual(self.sent(small(b"no newline")), b"no newline\r\n.\r\n")

    def test_empty_content(self) -> None:
        """Nothing at all is a lone dot."""
        self.assertEqual(self.sent(small(b"")), b".\r\n")

    def broken(self, outgoing: Outgoing, *extensions: bytes) -> tuple[bytes, list[str]]:
        """What leaves, and what comes of it, where the content is not what it should be."""
        wire = Wire().opened(b"PIPELINING", *extensions)
        wire.begin(outgoing)
        data = wire.said(b"250 ok", b"250 ok", *([] if extensions else [b"354 go"]))
        while block := wire.transport.drain():
            data += block
        self.assertTrue(wire.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        return data, wire.outcomes

    def test_content_that_is_too_short(self) -> None:
        """A truncated spool file is never passed off as a whole message."""
        for extension in ([], [b"CHUNKING"]):
            short_one = Outgoing(b"", 100, in_blocks(b"half\r\n", 50))
            data, outcomes = self.broken(short_one, *extension)
            self.assertFalse(data.endswith(b".\r\n"))
            self.assertEqual(outcomes, ["deferral 451 4.3.0"])

    def test_content_that_is_too_long(self) -> None:
        """What is beyond the announced size would be read as commands: it does not leave."""
        data, outcomes = self.broken(
            Outgoing(b"", 6, in_blocks(b"hello\r\nQUIT\r\n", 4)), b"CHUNKING"
        )
        self.assertEqual(data, b"BDAT 6 LAST\r\nhell")
        self.assertEqual(outcomes, ["deferral 451 4.3.0"])

    def test_content_that_cannot_be_read(self) -> None:
        """A failing disk is our trouble: a deferral, in the log, and the connection is cut."""
        data, outcomes = self.broken(Outgoing(b"", 6, lambda *_: fail(OSError("disk"))))
        self.assertEqual((data, outcomes), (b"", ["deferral 451 4.3.0"]))

    def test_a_block_is_read_when_the_last_was_taken(self) -> None:
        """No more than one block is read ahead of the peer, and none while one is being read."""
        asked: list[int] = []
        reading: list[Deferred[bytes]] = []

        def read(offset: int, size: int) -> Deferred[bytes]:
            asked.append(offset)
            reading.append(Deferred())
            return reading[-1]

        wire = Wire().opened(b"PIPELINING")
        wire.begin(Outgoing(b"", 10**9, read))
        wire.said(b"250 ok", b"250 ok", b"354 go")
        wire.transport.drain()
        wire.transport.drain()
        self.assertEqual(asked, [0])
        reading[0].callback(b"x" * 10)
        self.assertEqual(asked, [0])
        wire.transport.drain()
        self.assertEqual(asked, [0, 10])
        wire.lost()
        reading[1].callback(b"y" * 10)
        self.assertEqual(asked, [0, 10])
        self.assertEqual(wire.transport.value(), b"")


class LargeTests(OutboundTestCase):
    """Content far larger than what may be in memory."""

    size = 48 * 1024 * 1024

    async def stalled(self, tls: TLSLevel, manners: Manners) -> None:
        """Send to a peer that does not read for a while; little is read ahead of it."""
        ahead: list[int] = []

        async def data(peer: Peer) -> None:
            peer.say(b"354 go on")
            peer.transport.pauseProducing()
            await peer.sleep(0.2)
            ahead.append(self.offset)
            peer.transport.resumeProducing()
            ahead.append(await peer.swallow_content())
            peer.say(b"250 2.0.0 taken")

        server = await ScriptedServer.start(self, reactor, polite(manners, DATA=data))
        transport = self.transport()
        self.spool = bytes(self.size - 2) + b"\r\n"
        result = await self.attempt(server.port, transport=transport, tls=tls)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(ahead[1], self.size + len(b".\r\n"))
        # The kernel's buffers on loopback take a few MiB.
        self.assertLess(ahead[0], 16 * 1024 * 1024)

    def _read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        self.offset = offset
        self.assertLessEqual(size, BLOCK_BYTES)
        return super()._read(name, offset, size)

    async def test_in_clear(self) -> None:
        """What is read ahead is bounded by what the peer takes."""
        await self.stalled(TLSLevel.NONE, Manners())

    async def test_in_tls(self) -> None:
        """Encryption buffers no more than a socket does."""
        await self.stalled(TLSLevel.ENCRYPT, Manners(tls=Authority().options(["peer.test"])))
