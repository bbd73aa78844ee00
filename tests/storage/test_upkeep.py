"""What is done to the store while it runs: checkpoints, sweeping, heartbeats, changes."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, delete, func, insert, select, text, update
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailrelay.control.queue import EntryFilter
from mailrelay.policy.suppression import Suppression
from mailrelay.queue.entry import Content, EntryState
from mailrelay.storage import tables, upkeep, vacuum
from mailrelay.storage.database import Database
from mailrelay.storage.directory import tell
from mailrelay.storage.nodes import beat, register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.suppression import KEPT_AFTER_END, add
from mailrelay.storage.upkeep import DEAD_AFTER, SWEEP_BATCH, Upkeep, queue_sizes, sweep
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message


class UpkeepContract(Base):
    """What upkeep does on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make a store with two nodes and the upkeep of the first, not yet running."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            self.node, self.other = register(connection, "one"), register(connection, "two")
        self.spool = RowSpool(self.database, lambda: "")
        ids = ids_of(self.database)
        self.store = DatabaseQueueStore(self.database, ids, self.node, self.spool)
        self.theirs = DatabaseQueueStore(self.database, ids, self.other, self.spool)
        self.records = DatabaseQueueRecords(self.database, lambda: self.node, lambda names: None)
        self.clock, self.wall = Clock(), 5000.0
        self.changed: list[set[str]] = []
        self.freed: list[str] = []
        self.upkeep = Upkeep(
            self.database,
            self.node,
            self.clock,
            lambda: self.wall,
            self.changed.append,
            self.freed.extend,
        )

    def start(self) -> None:
        """Let it run; what the start itself tells is forgotten."""
        self.upkeep.startService()
        self.addCleanup(self.upkeep.stopService)
        self.changed.clear()

    def counted(self, table: str) -> int:
        """Rows of a table."""
        read = self.database.read(lambda c: c.execute(text(f"SELECT count(*) FROM {table}")))
        return int(self.successResultOf(read.addCallback(lambda r: r.scalar())))

    async def retired(self, count: int, keep_until: float, **content: Any) -> None:
        """Entries of one message that are kept until then."""
        await self.store.add(new_message(self.store, count, **content))
        entries = await self.store.claim_due(1e9, count, [])
        finished = [
            delivered(e, retired_until=keep_until, content_is_large=bool(content)) for e in entries
        ]
        await self.store.finish_attempts(finished, [])

    # Sweeping

    async def test_sweeps_what_is_over(self) -> None:
        """Retired entries go when their time is over, with message and events; not before."""
        await self.retired(2, 100.0)
        await self.retired(1, 200.0)
        self.assertEqual(self.sweep(150.0), (2, []))
        counts = [self.counted(t) for t in ("entry", "message", "event")]
        self.assertEqual(counts, [1, 1, 2])
        self.assertEqual(self.sweep(199.0)[0], 0)

    def sweep(self, now: float, limit: int = SWEEP_BATCH) -> tuple[int, list[str]]:
        """Sweep once."""
        swept: tuple[int, list[str]] = self.successResultOf(
            self.database.write(lambda c: sweep(c, now, limit))
        )
        return swept

    async def test_bounded(self) -> None:
        """One transaction removes so many and no more, the oldest first."""
        for keep_until in (300.0, 100.0, 200.0):
            await self.retired(1, keep_until)
        self.assertEqual(self.sweep(1000.0, 2)[0], 2)
        wanted = select(tables.entry.c.keep_until)
        left = self.successResultOf(self.database.read(lambda c: c.execute(wanted).scalars().all()))
        self.assertEqual(left, [300.0])

    async def test_ended_suppressions_are_swept(self) -> None:
        """What ended long ago goes, though no entry does."""
        over = Suppression(0, 1, "a@x.example", "a@x.example", 1.0, expires_at=2.0)
        stays = evolve(over, base_address="b@x.example", expires_at=4999.0)
        self.wall = KEPT_AFTER_END + 10.0
        for one in (over, stays):
            await self.database.write(partial(add, new=one))
        self.start()
        self.clock.advance(2.0)
        self.assertEqual(self.counted("suppression"), 1)

    async def test_living_are_not_swept(self) -> None:
        """Ready and held entries stay whatever the time is, and keep their message's history."""
        await self.store.add(new_message(self.store, 3))
        first, second, _ = await self.store.claim_due(1e9, 3, [])
        await self.store.finish_attempts([delivered(first, retired_until=100.0)], [])
        await self.records.hold("op", [second.id], 1.0)
        self.assertEqual(self.sweep(1e9)[0], 1)
        counts = [self.counted(t) for t in ("entry", "message", "content", "event")]
        self.assertEqual(counts, [2, 1, 1, 3])

    async def test_tags_go_with_the_message(self) -> None:
        """The last entry of a message takes its tags along; another's stay."""
        tagged = {"account_id": 1, "tags": ("a", "b")}
        await self.store.add(new_message(self.store, 2, message=tagged))
        await self.store.add(new_message(self.store, 1, message=tagged))
        first, second, _ = await self.store.claim_due(1e9, 3, [])
        for entry, left in ((first, 4), (second, 2)):
            await self.store.finish_attempts([delivered(entry, retired_until=100.0)], [])
            self.sweep(150.0)
            self.assertEqual(self.counted("message_tag"), left)

    async def test_spooled_bodies_are_named(self) -> None:
        """Whose last retired entry goes, its spooled body is free to be removed."""
        content = Content(b"", None, "ab" * 16, 100_000)
        await self.store.add(new_message(self.store, content=content))
        await self.database.write(
            lambda c: (
                c.execute(
                    update(tables.entry).values(state=EntryState.RETIRED.value, keep_until=100.0)
                )
                and None
            )
        )
        self.wall = 150.0
        self.start()
        self.assertEqual(self.freed, ["ab" * 16])

    async def test_a_long_list_is_swept_in_one_go_of_small_steps(self) -> None:
        """More than a batch is swept at once, each batch a transaction of its own."""
        self.patch(upkeep, "SWEEP_BATCH", 10)
        for _ in range(5):
            await self.retired(5, 100.0)
        batches: list[object] = []
        real = self.database.writer.write

        def write(work):
            batches.append(work)
            return real(work)

        self.patch(self.database.writer, "write", write)
        self.wall = 150.0
        self.start()
        self.assertEqual(self.counted("entry"), 0)
        self.assertGreaterEqual(len(batches), 3)

    def test_calls_are_swept(self) -> None:
        """Retired calls whose time is over go too, all of them, in small steps; others stay."""
        self.patch(upkeep, "SWEEP_CALLS_BATCH", 10)
        row = {
            "account_id": 1,
            "url": "https://app.example.org/",
            "authorization": "",
            "event": "delivered",
            "payload": b"{}",
            "queued_at": 1.0,
            "state": 2,
            "next_attempt_at": 1.0,
            "attempts": 1,
            "lane": 1,
            "node_id": 0,
            "epoch": 0,
        }
        rows = [{**row, "keep_until": 100.0 if i < 25 else 200.0} for i in range(30)]
        with self.database.engine.begin() as connection:
            connection.execute(insert(tables.call), rows)
        self.wall = 150.0
        self.start()
        self.assertEqual(self.counted("call"), 5)

    async def test_sweeping_goes_on(self) -> None:
        """It is looked at again and again, by the clock that was passed in."""
        self.start()
        await self.retired(1, 6000.0)
        self.clock.advance(2)
        self.assertEqual(self.counted("entry"), 1)
        self.wall = 6000.0
        self.clock.advance(2)
        self.assertEqual(self.counted("entry"), 0)

    # Changes

    async def test_changes_are_seen_within_a_second(self) -> None:
        """What another process changed is told, once, and by its kind."""
        self.start()
        await self.database.write(lambda c: tell(c, 1.0, "directory", "x"))
        await self.database.write(lambda c: tell(c, 1.0, "directory", "y"))
        self.clock.advance(0.3)
        self.clock.advance(0.3)
        self.assertEqual(self.changed, [{"directory"}])

    def test_start_looks_at_everything(self) -> None:
        """A start counts as a change of all: what was changed before is not missed."""
        self.upkeep.startService()
        self.addCleanup(self.upkeep.stopService)
        self.assertEqual(self.changed, [{"directory", "queue", "calls"}])

    # Nodes

    async def test_dead_nodes_entries_come_back(self) -> None:
        """A node that stops beating loses its claims, and the queue is looked at."""
        await self.theirs.add(new_message(self.theirs))
        await self.theirs.claim_due(1e9, 1, [])
        self.start()
        self.clock.pump([1.0] * int(DEAD_AFTER - 1))
        self.assertEqual(list(await self.store.claim_due(1e9, 10, [])), [])
        self.clock.pump([1.0] * 12)
        self.assertEqual(len(await self.store.claim_due(1e9, 10, [])), 1)
        self.assertIn({"queue", "calls"}, self.changed)

    async def test_living_node_keeps_its_claims(self) -> None:
        """A node that beats is left alone, however long."""
        await self.theirs.add(new_message(self.theirs))
        [entry] = await self.theirs.claim_due(1e9, 1, [])
        self.start()
        for _ in range(10):
            self.clock.pump([1.0] * 10)
            await self.database.write(lambda c: beat(c, self.other))
        self.assertEqual(list(await self.theirs.finish_attempts([delivered(entry)], [])), [True])

    # Figures

    async def test_sizes(self) -> None:
        """Entries are counted by state; the age is that of the oldest that is ready."""
        await self.store.add(new_message(self.store, 4, next_attempt_at=60.0))
        first, second = await self.store.claim_due(100.0, 2, [])
        await self.store.finish_attempts([delivered(first)], [])
        views = await self.records.find(EntryFilter(), 0.0)
        await self.records.hold("op", [views[-1].entry.id], 1.0)
        sizes, oldest = await self.database.read(lambda c: queue_sizes(c, 100.0))
        self.assertEqual(sizes, {"ready": 1, "held": 1, "claimed": 1})
        self.assertEqual(oldest, 40.0)
        self.assertNotEqual(first.id, second.id)


def clear(connection: Connection) -> None:
    """Remove what ``write_much`` wrote."""
    connection.execute(delete(tables.content_chunk))


class SQLiteTests(UpkeepContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        return Path(f"{self.database.engine.url.database}-wal").stat().st_size

    def write_much(self) -> None:
        """Write a megabyte in one transaction."""
        row = tables.content_chunk.insert().values(
            spool_name="x",
            number=select(func.count()).select_from(tables.content_chunk).scalar_subquery(),
            data=b"x" * 1_000_000,
        )
        self.successResultOf(self.database.write(lambda c: c.execute(row) and None))

    def test_checkpoints_bound_the_log(self) -> None:
        """With checkpoints the log is used again from its beginning; without, it would grow."""
        self.start()
        for _ in range(8):
            self.write_much()
            self.clock.advance(1.0)
        self.assertLess(self.wal_bytes(), 4_000_000)
        for _ in range(8):
            self.write_much()
        self.assertGreater(self.wal_bytes(), 8_000_000)

    def test_log_beyond_its_ceiling_is_truncated(self) -> None:
        """A log that readers let grow is cut when they are gone, and waited for by nobody."""
        self.patch(upkeep, "WAL_CEILING_BYTES", 2_000_000)
        self.write_much()
        with self.database.engine.connect().execution_options(read_only=True) as reader:
            reader.execute(select(func.count()).select_from(tables.content_chunk)).scalar()
            for _ in range(4):
                self.write_much()
            self.start()
            self.clock.advance(1.0)
            self.assertGreater(self.wal_bytes(), 4_000_000)
        self.clock.advance(1.0)
        self.assertEqual(self.wal_bytes(), 0)

    def pages(self) -> int:
        """Of the database, as the newest commit has it."""
        counted = self.database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        return int(self.successResultOf(counted) or 0)

    def test_room_goes_back_step_by_step(self) -> None:
        """The file gets smaller when much was removed: so much a second, and to what is kept."""
        self.patch(vacuum, "KEPT_BYTES", 1_000_000)
        file = Path(self.database.engine.url.database or "")
        for _ in range(20):
            self.write_much()
        self.start()
        self.clock.advance(1.0)
        full, before = file.stat().st_size, self.pages()
        self.clock.advance(1.0)
        self.assertEqual(self.pages(), before)  # nothing is spare
        self.successResultOf(self.database.write(clear))
        sizes = [before]
        for _ in range(40):
            self.clock.advance(1.0)
            sizes.append(self.pages())
        steps = [was - now for was, now in pairwise(sizes)]
        # A page that only told where the others are may go with them.
        self.assertIn(max(steps), (vacuum.STEP_PAGES, vacuum.STEP_PAGES + 1))
        self.assertEqual(steps[-1], 0)
        self.assertLess(file.stat().st_size, full / 5)
        self.assertGreater(file.stat().st_size, 900_000)


class PostgresTests(UpkeepContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
