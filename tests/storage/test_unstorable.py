"""Outcomes that cannot be stored: they fail alone, and no entry stays claimed for them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailrelay.control.queue import EntryFilter, EntryView
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.queue.outcome import Deferral, Delivered, Outcome, PermanentFailure
from mailrelay.queue.report import Reporter
from mailrelay.queue.scheduler import Outside, QueueSettings, Scheduler
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.smtp.reply import EnhancedStatus, Reply
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message

NOW = 1000.0
UNSTORABLE = "lone \udc80"
"""Half a surrogate pair: JSON has no bytes for it."""


class UnstorableContract(Base):
    """What becomes of entries whose outcome no database takes."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A scheduler whose first recipient gets an unstorable reply."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            self.node = node = register(connection, "node")
        self.store = DatabaseQueueStore(
            self.database, ids_of(self.database), node, RowSpool(self.database, lambda: "")
        )
        self.records = DatabaseQueueRecords(self.database, lambda: node, lambda names: None)
        self.clock, self.jobs = Clock(), list[Job]()
        self.make: Callable[[Reply], Outcome] = PermanentFailure
        self.is_local = False
        self.scheduler = self.make_scheduler()

    def make_scheduler(self) -> Scheduler:
        """Over the store."""
        reporter = Reporter("mx.test", self.store, self.now, lambda: "0f" * 16)
        return Scheduler(
            Outside(
                clock=self.clock,
                now=self.now,
                random=Random(1),
                store=self.store,
                route=lambda entry: Destination("mx:example.org", None, self.is_local),
                transport=self,
                reporter=reporter,
                epoch=lambda: self.node.epoch,
            ),
            QueueSettings(),
        )

    def now(self) -> float:
        """The wall clock."""
        return NOW + self.clock.seconds()

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        self.jobs.append(job)
        bad = Reply(550, UNSTORABLE, EnhancedStatus(5, 1, 1))
        good = Delivered(Reply(250, "ok", EnhancedStatus(2, 0, 0)))
        is_bad = [entry.recipient.localpart == "user0" for entry in job.entries]
        return succeed(Result([self.make(bad) if b else good for b in is_bad], Attempt(NOW, NOW)))

    async def attempted(self, recipients: int) -> list[Entry]:
        """Entries of one message, attempted together."""
        new = new_message(self.store, recipients)
        await self.store.add(new)
        self.scheduler.startService()
        self.addCleanup(self.scheduler.stopService)
        self.clock.advance(0)
        return list(new.entries)

    async def states(self, entries: list[Entry]) -> list[tuple[Any, bool]]:
        """State, or outcome, and whether it is claimed, of each."""
        views: dict[int, EntryView] = {}
        for retired in (False, True):
            found = EntryFilter(ids=[e.id for e in entries], retired=retired)
            views |= {view.entry.id: view for view in await self.records.find(found, 0.0)}
        mine = [views[e.id] for e in entries]
        return [(view.outcome or view.entry.state, view.claimed) for view in mine]

    async def test_recorded_in_our_words(self) -> None:
        """The outcome counts, with a DSN, though what the host said cannot be kept."""
        entries = await self.attempted(3)
        self.assertEqual(
            await self.states(entries), [("failed", False), *[("delivered", False)] * 2]
        )
        events = await self.records.events(entries[0].message.id)
        [failed] = [event for event in events if event.kind.value == "failed"]
        self.assertEqual((failed.data["code"], failed.data["status"]), (550, "5.1.1"))
        self.assertEqual([event.kind.value for event in events].count("reported"), 1)
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 2)

    async def test_delivered_is_not_delivered_twice(self) -> None:
        """A delivery whose reply cannot be stored is a delivery."""
        self.make = Delivered
        entries = await self.attempted(1)
        self.assertEqual(await self.states(entries), [("delivered", False)])
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)

    async def test_given_up(self) -> None:
        """What cannot be recorded at all keeps no claim, and is attempted again later."""
        for self.is_local in (False, True):
            self.jobs.clear()
            self.make = Deferral
            real = self.store.finish_attempts
            self.patch(self.store, "finish_attempts", lambda *given: fail(ValueError("no")))
            entries = await self.attempted(2)
            self.assertEqual(await self.states(entries), [(EntryState.READY, False)] * 2)
            self.clock.advance(1.0)
            self.assertEqual(len(self.jobs), 1)
            self.patch(self.store, "finish_attempts", real)
            self.clock.pump([300.0] * 60)
            self.assertGreater(len(self.jobs), 1)
            self.assertEqual((await self.states(entries))[1], ("delivered", False))
            self.assertGreater(len(self.flushLoggedErrors(ValueError, UnicodeEncodeError)), 0)
            await self.scheduler.stopService()
            self.scheduler = self.make_scheduler()

    async def test_fails_alone_in_the_store(self) -> None:
        """Of calls that are committed together, only the one with bad data fails."""
        await self.store.add(new_message(self.store, 2))
        first, second = await self.store.claim_due(1e9, 2, [])
        bad = delivered(first)
        bad.event.data["reply"] = UNSTORABLE  # type: ignore[index]
        failed = self.store.finish_attempts([bad], [])
        recorded = self.store.finish_attempts([delivered(second)], [])
        await self.assertFailure(failed, UnicodeEncodeError)
        self.assertEqual(list(await recorded), [True])
        self.assertEqual(
            await self.states([first, second]), [(EntryState.READY, True), ("delivered", False)]
        )


class SQLiteTests(UnstorableContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(UnstorableContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
