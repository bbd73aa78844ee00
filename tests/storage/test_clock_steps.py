"""Stored times that move with a set clock: once each, in small steps, whatever crashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, event, select, update
from twisted.trial.unittest import TestCase

from mailrelay.storage import clock_steps, tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import bury, register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message

NOW, LONGEST = 10_000.0, 400.0
DAY = 86400.0

Times = tuple[float, float]


class StepContract(Base):
    """What a step of the clock does to what is stored, on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A store whose batches are small."""
        self.patch(clock_steps, "BATCH", 3)
        self.database: Database = database_on(self, self.make_engine())
        self.ids = ids_of(self.database)
        self.store = self.make_store()

    def make_store(self) -> DatabaseQueueStore:
        """The store in a new life of the node."""
        with self.database.engine.begin() as connection:
            self.node = register(connection, "node")
        spool = RowSpool(self.database, lambda: "")
        return DatabaseQueueStore(self.database, self.ids, self.node, spool)

    async def stored(self, count: int = 1, **entry: Any) -> None:
        """Messages of one entry; tried before unless said otherwise."""
        entry.setdefault("attempts", 3)
        for _ in range(count):
            await self.store.add(new_message(self.store, **entry))

    async def moved(self, step: float, now: float) -> None:
        """The clock was set by ``step`` and is ``now``."""
        await self.store.step_times(step, now)
        while await self.store.move_times(now, LONGEST):
            pass

    async def times(self) -> Sequence[Times]:
        """When each was queued and is due, by id."""
        entry = tables.entry
        wanted = select(entry.c.queued_at, entry.c.next_attempt_at).order_by(entry.c.id)
        rows = await self.database.read(lambda c: c.execute(wanted).all())
        return [(row[0], row[1]) for row in rows]

    async def test_moves(self) -> None:
        """What was put off, forwards and back, is as old as it was and waits as long."""
        await self.stored(queued_at=NOW - 50, next_attempt_at=NOW + 100)
        await self.moved(DAY, NOW + DAY)
        self.assertEqual(await self.times(), [(NOW - 50 + DAY, NOW + 100 + DAY)])
        await self.moved(-DAY, NOW)
        self.assertEqual(await self.times(), [(NOW - 50, NOW + 100)])

    async def test_every_entry_once(self) -> None:
        """Many batches, none left, none twice."""
        await self.stored(10, queued_at=0.0, next_attempt_at=NOW)
        await self.moved(100.0, NOW + 100)
        self.assertEqual(await self.times(), [(100.0, NOW + 100)] * 10)
        self.assertFalse(await self.store.move_times(NOW, LONGEST))

    async def test_small_transactions(self) -> None:
        """No transaction changes more than a batch."""
        await self.stored(10, queued_at=0.0, next_attempt_at=NOW)
        changed: list[int] = []

        def executed(connection, cursor, statement, *rest) -> None:
            if statement.startswith("UPDATE entry"):
                changed.append(cursor.rowcount)

        event.listen(self.database.engine, "after_cursor_execute", executed)
        await self.moved(100.0, NOW + 100)
        self.assertEqual(changed, [3, 3, 3, 1])

    async def test_crash_half_way(self) -> None:
        """Another life goes on where the last one ended."""
        await self.stored(10, queued_at=0.0, next_attempt_at=NOW)
        await self.store.step_times(100.0, NOW + 100)
        await self.store.move_times(NOW + 100, LONGEST)
        self.store = self.make_store()
        while await self.store.move_times(NOW + 100, LONGEST):
            pass
        self.assertEqual(await self.times(), [(100.0, NOW + 100)] * 10)

    async def test_set_again_before_the_rest_is_moved(self) -> None:
        """What was ahead when the clock was set back stays, though the next life's is set on."""
        release = NOW + 700
        await self.stored(attempts=0, queued_at=release, next_attempt_at=release)
        await self.store.step_times(-600.0, NOW)
        self.store = self.make_store()
        while await self.store.move_times(NOW + 620, LONGEST):
            pass
        self.assertEqual(await self.times(), [(release, release)])

    async def test_answer_was_lost(self) -> None:
        """A step that is recorded again before anything has moved is one step."""
        await self.stored(queued_at=0.0, next_attempt_at=NOW)
        await self.store.step_times(100.0, NOW + 100)
        await self.moved(100.0, NOW + 100)
        self.assertEqual(await self.times(), [(100.0, NOW + 100)])

    async def test_nodes_of_their_own(self) -> None:
        """What a node owes, no other does; a dead node owes nothing."""
        await self.stored(queued_at=0.0, next_attempt_at=NOW)
        await self.store.step_times(100.0, NOW + 100)
        with self.database.engine.begin() as connection:
            other = register(connection, "other")
            self.assertFalse(clock_steps.move_batch(connection, other, NOW, LONGEST))
            bury(connection, self.node.id)
        self.assertFalse(await self.store.move_times(NOW, LONGEST))

    async def test_what_comes_later_is_not_moved(self) -> None:
        """An entry that was stored while others moved has times of the new clock."""
        await self.stored(3, queued_at=0.0, next_attempt_at=NOW)
        await self.store.step_times(100.0, NOW + 100)
        await self.store.move_times(NOW + 100, LONGEST)
        await self.stored(queued_at=NOW, next_attempt_at=NOW + 110)
        while await self.store.move_times(NOW + 100, LONGEST):
            pass
        self.assertEqual((await self.times())[3], (NOW, NOW + 110))

    async def test_retry_asked_for_after_the_step(self) -> None:
        """An operator's retry that came before the notice is not put off by it."""
        await self.stored(queued_at=0.0, next_attempt_at=NOW + 100)
        records = DatabaseQueueRecords(self.database, lambda: self.node, lambda names: None)
        [view] = await self.database.read(lambda c: c.execute(select(tables.entry.c.id)).all())
        await records.reschedule("op", [view.id], NOW + DAY, NOW + DAY)
        await self.moved(DAY, NOW + DAY)
        self.assertEqual(await self.times(), [(DAY, NOW + DAY)])

    async def test_never_beyond_the_longest_wait(self) -> None:
        """Whatever was stored, it is tried again within the schedule's longest wait."""
        for due in (NOW, NOW + 10 * DAY):
            await self.stored(queued_at=0.0, next_attempt_at=due)
        await self.moved(-DAY, NOW - DAY)
        latest = NOW - DAY + LONGEST
        self.assertEqual([due for _, due in await self.times()], [NOW - DAY, latest])

    async def test_untried(self) -> None:
        """Back by a day: what was due, or put off behind a dead host, does not wait a day."""
        came: dict[str, Any] = {"message": {"received_at": NOW}}
        await self.stored(attempts=0, queued_at=NOW, next_attempt_at=NOW, **came)
        await self.stored(attempts=0, queued_at=NOW - 5, next_attempt_at=NOW + 60, **came)
        await self.moved(-DAY, NOW - DAY)
        was = [(NOW, NOW), (NOW - 5, NOW + 60)]
        self.assertEqual(await self.times(), [(q - DAY, due - DAY) for q, due in was])

    async def test_release_that_was_asked_for(self) -> None:
        """A release stands at the time that the client named, by whatever clock."""
        release = (NOW + 30 * DAY, NOW + 30 * DAY)
        await self.stored(attempts=0, queued_at=release[0], next_attempt_at=release[1])
        await self.moved(DAY, NOW + DAY)
        await self.moved(-DAY, NOW)
        self.assertEqual(await self.times(), [release])

    async def test_release_by_the_new_clock(self) -> None:
        """What was taken between a step back and its notice is released when it was asked for."""
        release = NOW + 100
        came: dict[str, Any] = {"message": {"received_at": NOW}}
        await self.stored(attempts=0, queued_at=release, next_attempt_at=release, **came)
        await self.moved(-200.0, NOW + 1)
        self.assertEqual(await self.times(), [(release, release)])

    async def test_retired_and_held(self) -> None:
        """What is over stays; what is held moves with what waits."""
        await self.stored(2, queued_at=0.0, next_attempt_at=NOW)
        first, second = await self.store.claim_due(1e9, 2, [])
        await self.store.finish_attempts([delivered(first)], [])
        await self.database.write(lambda c: hold(c, second.id))
        await self.moved(100.0, NOW + 100)
        self.assertEqual(await self.times(), [(0.0, 200.0), (100.0, NOW + 100)])


def hold(connection: Connection, id_: int) -> None:
    """Hold an entry."""
    connection.execute(update(tables.entry).where(tables.entry.c.id == id_).values(state=1))


class SQLiteTests(StepContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(StepContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
