"""Content on real sockets: what is stored, delivered and relayed is what was sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.acceptance.content import BLOCK_BYTES
from mailrelay.config.transports import RelayHostSection
from mailrelay.net.tls import TLSLevel
from mailrelay.queue.entry import LARGE_BYTES
from mailrelay.testing.loopback import Loopback, RawClient
from mailrelay.testing.scripted_server import Answers, ScriptedServer, polite
from tests.integration.world import mailbox, soon, until

EDGES = [
    edge + more
    for edge in (LARGE_BYTES, BLOCK_BYTES, LARGE_BYTES + BLOCK_BYTES)
    for more in (-1, 0, 1)
]
SEVERAL_MB = 5_000_003
LINES = [
    b"",
    b".",
    b"..",
    b".\t",
    b". QUIT",
    b"RSET",
    b"x" * 998,
    b"plain",
    "größe".encode(),
    bytes(range(1, 10)) + b"\x0b\x0c" + bytes(range(14, 256)),
]
TRACE = re.compile(
    rb"(?:(?:Return-Path|Delivered-To|Received): [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+"
)


def message(size: int) -> bytes:
    """Content of exactly ``size`` bytes, full of what the wire gives a meaning to."""
    random = Random(size)
    content = bytearray(b"Subject: test\r\n\r\n")
    while len(content) < size - 1000:
        content += random.choice(LINES) + b"\r\n"
    content += b"." * (size - len(content) - 2) + b"\r\n"
    return bytes(content)


def stuffed(content: bytes) -> bytes:
    """``content`` as DATA sends it, its end included."""
    lines = content.split(b"\r\n")[:-1]
    return (
        b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines) + b".\r\n"
    )


def chunked(content: bytes, random: Random) -> bytes:
    """``content`` as BDAT sends it, in chunks that end anywhere."""
    wire = bytearray()
    while content:
        size = random.choice((0, 1, 2, 77, random.randrange(100_000)))
        chunk, content = content[:size], content[size:]
        wire += b"BDAT %d%s\r\n" % (len(chunk), b"" if content else b" LAST") + chunk
    return bytes(wire)


def cut(wire: bytes, random: Random) -> Iterator[bytes]:
    """``wire`` in pieces of odd sizes, about a hundred; every CR is the end of some, at times."""
    most = max(20, len(wire) // 50)
    while wire:
        size = random.randrange(1, most)
        found = wire.find(b"\r", size)
        if found >= 0 and random.random() < 0.5:
            size = found + random.choice((1, 2, 3))
        yield wire[:size]
        wire = wire[size:]


class ContentTests(TestCase):
    """One local and one remote recipient for each message."""

    timeout = 120

    async def start(self, **answers: Answers) -> tuple[Loopback, ScriptedServer]:
        """A server that trusts us, and its relay host."""
        end = await ScriptedServer.start(self, reactor, polite(**answers))
        relay_host = RelayHostSection("127.0.0.1", end.port, tls=TLSLevel.NONE)
        server = await Loopback.start(
            self,
            reactor,
            roles=["mx"],
            trusted_networks=["127.0.0.0/8"],
            relay_host=relay_host,
        )
        return server, end

    async def begin(self, server: Loopback, *recipients: bytes) -> RawClient:
        """A session with its envelope given."""
        client = await server.connect()
        transport: Any = client.transport
        transport.setTcpNoDelay(True)
        await client.reply()
        lines = [b"EHLO client.test", b"MAIL FROM:<a@client.test> BODY=8BITMIME"]
        for line in [*lines, *(b"RCPT TO:<%s>" % one for one in recipients)]:
            self.assertEqual((await client.ask(line))[:3], b"250")
        return client

    async def send(self, server: Loopback, content: bytes, *, bdat: bool, to: Sequence[bytes]):
        """Have ``content`` accepted, its segments cut at odd places."""
        client = await self.begin(server, *to)
        random = Random(len(content))
        if bdat:
            wire = chunked(content, random)
        else:
            wire = stuffed(content)
            self.assertEqual((await client.ask(b"DATA"))[:3], b"354")
        for piece in cut(wire, random):
            client.send(piece)
            await soon(reactor, 0)
        replies = await client.replies(len(re.findall(rb"BDAT \d+", wire)) if bdat else 1)
        self.assertEqual({reply[:9] for reply in replies}, {b"250 2.0.0"})

    async def arrives(self, size: int, *, bdat: bool) -> None:
        """A message of ``size`` bytes is the same in the mailbox and at the next hop."""
        server, end = await self.start()
        content = message(size)
        self.assertEqual(len(content), size)
        await self.send(server, content, bdat=bdat, to=[b"user@example.org", b"far@example.net"])
        [kept] = await mailbox(server, 1)
        await until(reactor, lambda: end.contents)
        for came in (kept, *end.contents):
            found = TRACE.match(came)
            assert found, came[:500]
            self.assertTrue(came[found.end() :] == content, (size, bdat, came[:500]))

    async def test_data_at_the_edges(self) -> None:
        """DATA of the sizes where row becomes file and where blocks of the file meet."""
        for size in EDGES:
            await self.arrives(size, bdat=False)

    async def test_bdat_at_the_edges(self) -> None:
        """BDAT of the same sizes."""
        for size in EDGES:
            await self.arrives(size, bdat=True)

    async def test_megabytes(self) -> None:
        """Several MB, by DATA and by BDAT."""
        for bdat in (False, True):
            await self.arrives(SEVERAL_MB, bdat=bdat)

    async def test_row_or_file(self) -> None:
        """Below the edge no file is made; from there on one has all of it."""
        for size in (LARGE_BYTES - 1, LARGE_BYTES, BLOCK_BYTES, BLOCK_BYTES + 1):
            server, _ = await self.start(RCPT=b"451 4.0.0 not now")
            content = message(size)
            await self.send(server, content, bdat=size % 2 == 0, to=[b"far@example.net"])
            files = list((server.settings.data_dir / "spool").iterdir())
            self.assertEqual(len(files), 0 if size < LARGE_BYTES else 1)
            for file in files:
                self.assertTrue(file.read_bytes() == content, size)
