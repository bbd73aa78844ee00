"""A message's whole way on each database: in by SMTP, through the queue, into a mailbox."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter
from mailrelay.testing.loopback import Loopback
from tests.storage.databases import Base, empty_postgres

LARGE = b"".join(b"%06d %s\r\n" % (n, b"." * (n % 70)) for n in range(20_000))


class EndToEndContract(Base):
    """The main job, on any database."""

    timeout = 120

    def make_url(self) -> str:
        """Where the server keeps its data."""
        raise NotImplementedError

    async def arrived(self, *bodies: bytes) -> list[bytes]:
        """What is in the mailbox when each of ``bodies`` was sent and acknowledged."""
        server = await Loopback.start(self, reactor, url=self.make_url())
        client = await server.connect()
        await client.reply()
        await client.ask(b"EHLO client.test")
        for body in bodies:
            await client.ask(b"MAIL FROM:<a@client.test>")
            await client.ask(b"RCPT TO:<user@example.org>")
            await client.ask(b"DATA")
            stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
            client.send(stuffed + b".\r\n")
            self.assertEqual((await client.reply())[:9], b"250 2.0.0")
        control = server.control()
        self.addCleanup(control.close)
        found: list[Any] = []
        while len(found) < len(bodies):
            await _soon()
            found = list(await control.queue.find(EntryFilter(retired=True)))
        history = await control.queue.history(found[0].entry.id)
        kinds = [event.kind.value for event in history.events]
        self.assertEqual(kinds, ["accepted", "delivered"])
        stored = await control.messages.find(MessageFilter())
        return [await control.messages.content(message.id) or b"" for _, message in stored]

    async def test_small_and_large(self) -> None:
        """A small body and one that is spooled arrive byte for byte."""
        bodies = [b"Subject: small\r\n\r\n.dot\r\n", b"Subject: large\r\n\r\n" + LARGE]
        contents = await self.arrived(*bodies)
        self.assertEqual(len(contents), 2)
        for content in contents:
            self.assertTrue(content.startswith(b"Return-Path: <a@client.test>\r\n"))
        ends = sorted(content[content.index(b"Subject:") :] for content in contents)
        self.assertEqual(ends, sorted(bodies))


class SQLiteTests(EndToEndContract, TestCase):
    """On SQLite."""

    def make_url(self) -> str:
        """See EndToEndContract."""
        return "sqlite:///mailrelay.db"


class PostgresTests(EndToEndContract, TestCase):
    """On PostgreSQL."""

    def make_url(self) -> str:
        """See EndToEndContract."""
        self.assertIn("MAILRELAY_TEST_POSTGRES", os.environ)
        return empty_postgres(self)


def _soon() -> Deferred[None]:
    waited: Deferred[None] = Deferred()
    reactor.callLater(0.02, waited.callback, None)
    return waited
