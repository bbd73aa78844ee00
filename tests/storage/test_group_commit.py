"""The group-commit writer: what is merged, what fails alone, what fails together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from psycopg import errors as pg
from sqlalchemy import Connection, exc, insert, select, text
from sqlalchemy.exc import IntegrityError
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import tables
from mailrelay.storage.group_commit import (
    GATHER_ENOUGH,
    GATHER_FROM,
    GATHER_SECONDS,
    GroupCommit,
    Operation,
    is_store_trouble,
)
from tests.storage.databases import Base, Later, OnPostgres, OnSQLite

_setting = tables.setting


def put(connection: Connection, name: str, value: str = "v") -> None:
    """Store one row."""
    connection.execute(insert(_setting).values(name=name, value=value))


class GroupCommitContract(Base):
    """What group commit promises on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make a writer whose batches run when they are told to."""
        self.engine = self.make_engine()
        self.later = Later()
        self.sizes: list[int] = []
        self.writer = GroupCommit(self.engine, self.later, lambda size, _: self.sizes.append(size))
        self.addCleanup(self.engine.dispose)
        self.addCleanup(self.writer.close)
        self.ran: list[str] = []
        self.store = Operation("store", 1, self.apply)
        self.early = Operation("early", 0, self.apply)

    def apply(self, connection: Connection, items: Sequence[str]) -> Sequence[str]:
        """Store a row for each item, all of them in one call."""
        self.ran.append("+".join(items))
        for item in items:
            put(connection, item.rstrip("?"), {"nul?": "\0", "code?": "\ud800"}.get(item, "v"))
        return [item.upper() for item in items]

    def stored(self) -> set[str]:
        """What another connection sees."""
        with self.engine.connect() as connection:
            return set(connection.execute(select(_setting.c.name)).scalars())

    def busy(self) -> None:
        """Start a batch, so that what comes now is committed together by the next one."""
        self.writer.write(lambda c: None)

    def work(self, name: str) -> Deferred[Any]:
        """Ask for one row by other work."""

        def run(connection: Connection) -> str:
            self.ran.append(name)
            put(connection, name)
            return name

        return self.writer.write(run)

    def test_nothing_fires_before_the_commit(self) -> None:
        """A Deferred has no result while its work could still be lost."""
        seen: list[set[str]] = []
        merged = self.writer.merge(self.store, "a")
        merged.addCallback(lambda _: seen.append(self.stored()))
        written = self.work("b")
        self.assertNoResult(merged)
        self.later.step()
        self.assertEqual(seen, [{"a"}])
        self.assertNoResult(written)
        self.later.step()
        self.assertEqual(self.successResultOf(written), "b")

    def test_waiting_work_is_committed_together(self) -> None:
        """What comes while a commit runs is one batch, and each caller gets its own answer."""
        self.busy()
        merged = [self.writer.merge(self.store, name) for name in "abc"]
        self.later.flush()
        self.assertEqual([self.successResultOf(d) for d in merged], ["A", "B", "C"])
        self.assertEqual((self.ran, self.sizes), (["a+b+c"], [1, 3]))

    def test_order_within_a_batch(self) -> None:
        """Merged work goes first, by rank; the rest runs in the order it was asked for."""
        self.busy()
        self.work("w1")
        self.writer.merge(self.store, "s1")
        self.work("w2")
        self.writer.merge(self.early, "e1")
        self.writer.merge(self.store, "s2")
        self.later.flush()
        self.assertEqual(self.ran, ["e1", "s1+s2", "w1", "w2"])

    def test_next_commit_starts_before_the_callers_run(self) -> None:
        """The writer does not stand idle while callers go on with their answers."""
        first = self.writer.merge(self.store, "a")
        self.writer.merge(self.store, "b")
        waiting: list[int] = []
        first.addCallback(lambda _: waiting.append(len(self.later.waiting)))
        self.later.step()
        self.assertEqual(waiting, [1])
        self.later.flush()

    def test_clash_fails_alone(self) -> None:
        """A row that is there already fails its own caller; the others' rows are stored."""
        self.busy()
        good = self.writer.merge(self.store, "a")
        clash = self.writer.merge(self.store, "a")
        other = self.work("b")
        self.later.flush()
        self.assertEqual(self.successResultOf(good), "A")
        self.failureResultOf(clash, IntegrityError)
        self.assertEqual(self.successResultOf(other), "b")
        self.assertEqual(self.stored(), {"a", "b"})

    def test_lone_surrogate_fails_alone(self) -> None:
        """Text that has no encoding fails its own caller."""
        self.busy()
        bad = self.writer.merge(self.store, "code?")
        good = self.writer.merge(self.store, "a")
        self.later.flush()
        self.failureResultOf(bad, UnicodeEncodeError)
        self.successResultOf(good)
        self.assertEqual(self.stored(), {"a"})

    def test_too_large_a_number_fails_alone(self) -> None:
        """A number beyond 64 bits fails its own caller."""
        self.busy()

        def run(connection: Connection) -> None:
            put(connection, "half")
            values = {"name": "b", "next": 2**64}
            connection.execute(insert(tables.id_block).values(values))

        bad, good = self.writer.write(run), self.work("a")
        self.later.flush()
        failure = self.failureResultOf(bad)
        self.assertNotIsInstance(failure.value, StoreUnavailable)
        self.successResultOf(good)
        self.assertEqual(self.stored(), {"a"})

    def test_own_exception_undoes_own_work_only(self) -> None:
        """Work that raises in the middle leaves nothing behind, and hurts nobody."""
        self.busy()

        def run(connection: Connection) -> None:
            put(connection, "half")
            raise KeyError("mine")

        bad, good = self.writer.write(run), self.writer.merge(self.store, "a")
        self.later.flush()
        self.failureResultOf(bad, KeyError)
        self.successResultOf(good)
        self.assertEqual(self.stored(), {"a"})

    def test_store_trouble_fails_every_member_once(self) -> None:
        """When the store itself fails, all are told so, nothing is kept, nothing is repeated."""
        self.busy()
        tried: list[int] = []

        def run(connection: Connection) -> None:
            tried.append(1)
            raise sqlite3.OperationalError("database or disk is full")

        asked = [self.writer.merge(self.store, "a"), self.work("b"), self.writer.write(run)]
        asked.append(self.work("c"))
        self.later.flush()
        for one in asked:
            self.failureResultOf(one, StoreUnavailable)
        self.assertEqual((tried, self.ran, self.stored()), ([1], ["a", "b"], set()))

    def test_recovers_after_store_trouble(self) -> None:
        """The next batch has a connection of its own and knows nothing of the trouble before."""

        def run(connection: Connection) -> None:
            put(connection, "half")
            raise sqlite3.OperationalError("disk I/O error")

        self.failureResultOf(self.flushed(self.writer.write(run)), StoreUnavailable)
        self.successResultOf(self.flushed(self.work("a")))
        self.assertEqual(self.stored(), {"a"})

    def flushed(self, asked: Deferred[Any]) -> Deferred[Any]:
        """``asked``, after the writer did all it has to do."""
        self.later.flush()
        return asked

    def test_executor_that_fails(self) -> None:
        """When no thread takes the batch its members fail, and the next is tried anew."""
        real, self.later.run = self.later.run, lambda *a: fail(RuntimeError("no thread"))  # type: ignore[method-assign]
        self.failureResultOf(self.work("a"), StoreUnavailable)
        self.later.run = real  # type: ignore[method-assign]
        self.successResultOf(self.flushed(self.work("b")))
        self.assertEqual(self.stored(), {"b"})

    def test_caller_that_raises(self) -> None:
        """An error in one caller's callback keeps neither the others nor the writer."""
        self.busy()
        bad, good = self.work("a"), self.work("b")
        bad.addCallback(lambda _: 1 / 0)
        self.later.flush()
        self.failureResultOf(bad, ZeroDivisionError)
        self.successResultOf(good)
        self.successResultOf(self.flushed(self.work("c")))

    def test_gathering_after_a_large_batch(self) -> None:
        """In a busy time the next commit waits for more; draining waits for it, too."""
        clock = Clock()
        self.begin_busy_time(clock)
        second, third = self.work("a"), self.work("b")
        drained = self.writer.drained()
        self.assertEqual(len(self.later.waiting), 0)
        clock.advance(GATHER_SECONDS)
        self.later.flush()
        self.assertEqual([self.successResultOf(d) for d in (second, third)], ["a", "b"])
        self.successResultOf(drained)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_enough_gathered(self) -> None:
        """When enough has come, the commit waits no longer."""
        clock = Clock()
        self.begin_busy_time(clock)
        gathered = [self.work(f"m{n}") for n in range(GATHER_ENOUGH)]
        self.assertEqual(clock.getDelayedCalls(), [])
        self.later.flush()
        self.assertEqual(len([self.successResultOf(one) for one in gathered]), GATHER_ENOUGH)

    def begin_busy_time(self, clock: Clock) -> None:
        """A writer that has just committed GATHER_FROM members at once."""
        self.writer = GroupCommit(self.engine, self.later, later=clock.callLater)
        self.addCleanup(self.writer.close)
        self.busy()
        first = [self.writer.merge(self.store, f"n{n}") for n in range(GATHER_FROM)]
        self.later.flush()
        self.assertEqual(len([self.successResultOf(one) for one in first]), GATHER_FROM)

    def test_drained(self) -> None:
        """Draining waits for all that was asked for, and not at all when there is nothing."""
        self.successResultOf(self.writer.drained())
        self.work("a")
        self.work("b")
        drained = self.writer.drained()
        self.later.step()
        self.assertNoResult(drained)
        self.later.step()
        self.successResultOf(drained)


class SQLiteTests(GroupCommitContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine

    def test_nothing_runs_after_a_full_disk(self) -> None:
        """SQLITE_FULL rolls back by itself: what follows must not commit alone, without the rest.

        ``max_page_count`` makes a real one.
        """
        self.busy()
        self.later.flush()
        statements: list[str] = []

        def fill(connection: Connection) -> None:
            raw: Any = connection.connection.dbapi_connection
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            try:
                put(connection, "large", "x" * 1_000_000)
            finally:
                raw.set_trace_callback(statements.append)

        self.busy()
        asked = [self.work("a"), self.writer.write(fill), self.work("b")]
        self.later.flush()
        for one in asked:
            self.failureResultOf(one, StoreUnavailable)
        changing = [s for s in statements if not s.startswith("ROLLBACK")]
        self.assertEqual((changing, self.stored()), ([], set()))
        self.successResultOf(self.flushed(self.work("c")))
        self.assertEqual(self.stored(), {"c"})

    def test_data_error_is_the_drivers_as_well(self) -> None:
        """An overflow in the driver, below Core, is the data's fault, not the store's."""
        self.busy()

        def run(connection: Connection) -> None:
            cursor: Any = connection.connection.cursor()
            cursor.execute("INSERT INTO id_block VALUES ('x', ?)", (2**64,))

        bad, good = self.writer.write(run), self.work("a")
        self.later.flush()
        self.failureResultOf(bad, OverflowError)
        self.successResultOf(good)


class PostgresTests(GroupCommitContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine

    def test_nul_fails_alone(self) -> None:
        """Text with NUL, which PostgreSQL does not take, fails its own caller."""
        self.busy()
        bad = self.writer.merge(self.store, "nul?")
        good = self.writer.merge(self.store, "a")
        self.later.flush()
        self.failureResultOf(bad, exc.DataError)
        self.successResultOf(good)
        self.assertEqual(self.stored(), {"a"})

    def test_lost_connection_fails_all_and_is_made_anew(self) -> None:
        """A backend that goes away fails one batch; the next one is stored."""
        self.successResultOf(self.flushed(self.work("a")))
        self.busy()

        def die(connection: Connection) -> None:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        asked = [self.writer.merge(self.store, "b"), self.writer.write(die), self.work("c")]
        self.later.flush()
        for one in asked:
            self.failureResultOf(one, StoreUnavailable)
        self.successResultOf(self.flushed(self.work("d")))
        self.assertEqual(self.stored(), {"a", "d"})


class StoreTroubleTests(SynchronousTestCase):
    """Whose fault an error is."""

    def test_the_stores(self) -> None:
        """Full, unreadable, gone, shut down, out of order: drivers' subclasses included."""
        for error in (
            sqlite3.OperationalError("database or disk is full"),
            sqlite3.DatabaseError("database disk image is malformed"),
            pg.DiskFull("no space"),
            pg.AdminShutdown("bye"),
            pg.ReadOnlySqlTransaction("standby"),
            pg.DeadlockDetected("deadlock"),
            exc.OperationalError("x", {}, sqlite3.OperationalError("x")),
            StoreUnavailable("x"),
            OSError(5, "I/O error"),
        ):
            self.assertTrue(is_store_trouble(error), error)

    def test_the_datas(self) -> None:
        """What another row would not have met."""
        for error in (
            sqlite3.IntegrityError("UNIQUE"),
            sqlite3.DataError("too big"),
            pg.UniqueViolation("key"),
            pg.NumericValueOutOfRange("int"),
            pg.DataError("NUL"),
            exc.IntegrityError("x", {}, sqlite3.IntegrityError("x")),
            UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"),
            OverflowError("int"),
            KeyError("mine"),
        ):
            self.assertFalse(is_store_trouble(error), error)
