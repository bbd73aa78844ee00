"""A message stored with what came of it, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import select
from twisted.trial.unittest import TestCase

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Conditions, Content, NewMessage, StoredAnswer
from mailrelay.queue.store import AnsweredBefore, ContentGone, FromIDTaken, TooManyNewRecipients
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message

BEYOND = StoredAnswer(1, "k", b"h", 250, b"queued as 1", 1000.0)


class FinishedContract(Base):
    """add_finished, and refusal."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A store."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "node")
        self.spool = RowSpool(self.database, lambda: "0")
        self.store = DatabaseQueueStore(self.database, ids_of(self.database), node, self.spool)
        self.told: list[NewEvent] = []
        self.store.committed = self.told.extend

    async def add(self, new: NewMessage, *reports: NewMessage, large: bool = False) -> None:
        """Store ``new`` as delivered."""
        [entry] = new.entries
        done = delivered(entry, unbegun=True, content_is_large=large)
        await self.store.add_finished(new, done, reports)

    def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        """What is stored."""
        with self.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(*columns))]

    async def test_delivered_at_once(self) -> None:
        """Retired, counted, told of twice, and without content."""
        new = new_message(self.store)
        await self.add(new)
        entry = tables.entry.c
        self.assertEqual(
            self.rows(entry.state, entry.attempts, entry.outcome, entry.keep_until, entry.node_id),
            [(2, 1, "delivered", 1000.0, 0)],
        )
        kinds = [EventKind.ACCEPTED, EventKind.DELIVERED]
        self.assertEqual([event.kind for event in self.told], kinds)
        self.assertEqual(self.rows(tables.event.c.kind), [(kind.value,) for kind in kinds])
        failure = await self.failure_of(self.store.content(new.message.id))
        self.assertIsInstance(failure, ContentGone)
        self.assertEqual(await self.store.claim_due(1e9, 10, []), [])

    async def test_large(self) -> None:
        """What it had in the spool goes."""
        writer = self.spool.open()
        await writer.append(b"x" * 70000)
        await writer.finish()
        content = Content(b"", None, writer.name, 70000)
        await self.add(new_message(self.store, content=content), large=True)
        self.assertEqual(await self.spool.names(), [])

    async def test_report(self) -> None:
        """A DSN that was asked for is stored with it, and is to be sent."""
        report = new_message(self.store)
        await self.add(new_message(self.store), report)
        [entry] = await self.store.claim_due(1e9, 10, [])
        self.assertEqual(entry.id, report.entries[0].id)

    async def test_conditions(self) -> None:
        """One whose conditions do not hold is not there; that can be known before."""
        for conditions, error in (
            (Conditions(unique_from_id="id"), FromIDTaken),
            (Conditions(answer=BEYOND), AnsweredBefore),
            (Conditions(new_recipients=0), TooManyNewRecipients),
        ):
            new = new_message(self.store, from_id="id", message={"account_id": 1})
            new = evolve(new, conditions=conditions)
            if error is not TooManyNewRecipients:
                self.assertIsNone(await self.store.refusal(new))
                await self.add(new)
            self.assertIsInstance(await self.store.refusal(new), error)
            before = self.rows(tables.event.c.position)
            again = new_message(self.store, from_id="id", message={"account_id": 1})
            failure = await self.failure_of(
                self.store.add_finished(
                    evolve(again, conditions=conditions),
                    delivered(again.entries[0], unbegun=True),
                    [],
                )
            )
            self.assertIsInstance(failure, error)
            self.assertEqual(self.rows(tables.event.c.position), before)

    async def test_asking_notes_nothing(self) -> None:
        """To be asked whether there is room takes none."""
        new = new_message(self.store, message={"account_id": 1})
        new = evolve(new, conditions=Conditions(new_recipients=1, answer=BEYOND))
        for _ in range(3):
            self.assertIsNone(await self.store.refusal(new))
        await self.add(new)
        self.assertEqual(len(self.rows(tables.sent_to.c.recipient)), 1)

    async def failure_of(self, asked: object) -> BaseException | None:
        """What it fails with."""
        try:
            await asked  # type: ignore[misc]
        except Exception as error:
            return error
        return None


class SQLiteTests(OnSQLite, FinishedContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, FinishedContract, TestCase):
    """On PostgreSQL."""
