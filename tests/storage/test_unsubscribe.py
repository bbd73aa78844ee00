"""What unsubscribing leaves in the store, on every database."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from sqlalchemy import delete, insert, select
from twisted.trial.unittest import TestCase

from mailrelay.control.unsubscribe import (
    PURPOSE,
    Subscription,
    UnsubscribeLinks,
    UnsubscribeRecords,
    Unsubscribing,
)
from mailrelay.observe.events import NewEvent
from mailrelay.policy.links import Links
from mailrelay.policy.suppression import Suppression
from mailrelay.smtp.address import Address
from mailrelay.storage import suppression, tables
from mailrelay.storage.unsubscribe import DatabaseUnsubscribes
from tests.storage.calling import Calling
from tests.storage.databases import OnPostgres, OnSQLite

JOE = Address.parse("Joe.X+shop@example.net")
BASE = "joex@example.net"


class UnsubscribeContract(Calling):
    """UnsubscribeRecords, under the control that asks it."""

    def setUp(self) -> None:
        """Nobody unsubscribed."""
        super().setUp()
        self.committed: list[NewEvent] = []
        records: UnsubscribeRecords = DatabaseUnsubscribes(self.database, self.committed.extend)
        links = UnsubscribeLinks(Links(b"secret", PURPOSE), "https://x.example")
        self.at = 100.0
        self.unsubscribing = Unsubscribing(links, records, lambda: self.at)

    def rows(self, table: str) -> list[Any]:
        """All of a table."""
        wanted = select(tables.metadata.tables[table])
        read = self.database.read(lambda c: [row._mapping for row in c.execute(wanted)])
        rows: list[Any] = self.successResultOf(read)
        return rows

    def listed(self, account_id: int = 1) -> Suppression | None:
        """What the account has for Joe."""
        read = self.database.read(lambda c: suppression.listed(c, account_id, BASE))
        found: Suppression | None = self.successResultOf(read)
        return found

    async def subscription(self, list_name: str = "") -> Subscription:
        """That of a message to Joe."""
        entry = await self.entry(1, str(JOE))
        return Subscription(1, entry.message.id, entry.id, JOE, list_name)

    async def test_once(self) -> None:
        """Event and suppression are there together, once."""
        of = await self.subscription("The news")
        before = len(self.rows("event"))
        self.assertTrue(await self.unsubscribing.end(of))
        self.assertFalse(await self.unsubscribing.end(of))
        *_, event = self.rows("event")
        self.assertEqual(len(self.rows("event")), before + 1)
        self.assertEqual((event["kind"], event["entry_id"]), ("unsubscribed", of.entry_id))
        self.assertEqual(
            json.loads(bytes(event["data"])),
            {"recipient": str(JOE), "list": "The news", "suppressing": True},
        )
        [told] = self.committed
        self.assertTrue(told.data["suppressing"])
        kept = self.listed()
        assert kept is not None
        self.assertEqual(
            (kept.cause, kept.reason, kept.entry_id, kept.original_address, kept.manual),
            ("unsubscribe", "unsubscribed from The news", of.entry_id, str(JOE), False),
        )
        self.assertIsNone(self.listed(2))
        self.assertEqual(self.rows("call"), [])  # mox knows no such event

    async def test_again_after_removal(self) -> None:
        """Who takes the address off the list may send, until the link is used again."""
        of = await self.subscription()
        await self.unsubscribing.end(of)
        await self.database.write(lambda c: suppression.remove(c, 1, BASE, 1.0))
        self.assertTrue(await self.unsubscribing.end(of))
        self.assertIsNotNone(self.listed())

    async def test_again_after_an_end(self) -> None:
        """What was on the list in its place for a time, and has ended, is no unsubscription."""
        of = await self.subscription()
        await self.unsubscribing.end(of)
        await self.database.write(lambda c: suppression.remove(c, 1, BASE, 1.0))
        over = Suppression(0, 1, BASE, BASE, 1.0, True, cause="manual", expires_at=99.0)
        await self.database.write(partial(suppression.add, new=over))
        self.assertTrue(await self.unsubscribing.end(of))
        found = self.listed()
        assert found is not None
        self.assertEqual((found.cause, found.expires_at), ("unsubscribe", None))

    async def test_suppressed_before(self) -> None:
        """The event is recorded; a bounce's place is taken, somebody's own entry stays."""
        for cause, kept in (("bounce", "unsubscribe"), ("manual", "manual")):
            of = await self.subscription()
            one = Suppression(0, 1, BASE, BASE, 1.0, manual=cause == "manual", cause=cause)
            await self.database.write(partial(suppression.add, new=one))
            self.assertTrue(await self.unsubscribing.end(of))
            self.assertFalse(await self.unsubscribing.end(of))
            found = self.listed()
            assert found is not None
            self.assertEqual(found.cause, kept)
            await self.database.write(lambda c: suppression.remove(c, 1, BASE, 1.0))

    async def test_no_account(self) -> None:
        """Nothing is recorded for an account that is gone."""
        of = await self.subscription()
        await self.database.write(
            lambda c: c.execute(delete(tables.account).where(tables.account.c.id == 1))
        )
        before = len(self.rows("event"))
        self.assertFalse(await self.unsubscribing.end(of))
        self.assertEqual((len(self.rows("event")), self.listed()), (before, None))

    async def test_entry_that_was_swept(self) -> None:
        """A year later the entry is gone: it is recorded all the same, and told of."""
        of = await self.subscription("The news")
        with self.database.engine.begin() as connection:
            for table in (tables.entry, tables.message, tables.event):
                connection.execute(delete(table))
            connection.execute(
                insert(tables.webhook_endpoint).values(
                    account_id=1,
                    kind="standard",
                    url="https://app.example.org/all",
                    authorization="",
                    events="[]",
                    created_at=1.0,
                )
            )
        self.assertTrue(await self.unsubscribing.end(of))
        self.assertFalse(await self.unsubscribing.end(of))
        [call] = self.rows("call")
        said = json.loads(bytes(call["payload"]))["data"]
        self.assertEqual(call["event"], "unsubscribed")
        self.assertEqual(
            (said["entry"]["recipient"], said["message"]["id"], said["event"]["list"]),
            (str(JOE), of.message_id, "The news"),
        )


class SQLiteTests(UnsubscribeContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(UnsubscribeContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
