"""Ids in blocks."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.database import Database
from mailrelay.storage.ids import IdBlocks, take_ids
from tests.storage.databases import Base, Later, OnPostgres, OnSQLite, database_on


class IdsContract(Base):
    """What is promised of ids on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make a database whose writer waits to be told."""
        self.later = Later()
        self.database: Database = database_on(self, self.make_engine(), self.later)

    def blocks(self, block: int = 10) -> IdBlocks:
        """Ids of one process, its first block fetched."""
        ids = IdBlocks(self.database, block)
        with self.database.engine.begin() as connection:
            ids.use(take_ids(connection, block))
        return ids

    def test_first_is_positive(self) -> None:
        """The first id of a new database is 1: 0 means nobody's."""
        self.assertEqual(self.blocks().new_id(), 1)

    def test_blocks_do_not_overlap(self) -> None:
        """Processes that draw in turns never draw the same id."""
        first, second = self.blocks(), self.blocks()
        drawn = []
        for _ in range(50):
            drawn += [first.new_id(), second.new_id()]
            self.later.flush()
        self.assertEqual(len(set(drawn)), 100)

    def test_next_block_is_fetched_early(self) -> None:
        """While a commit takes its time the ids of half a block are still there, then a whole."""
        ids = self.blocks()
        drawn = [ids.new_id() for _ in range(6)]
        self.assertEqual(len(self.later.waiting), 1)
        self.later.flush()
        drawn += [ids.new_id() for _ in range(14)]
        self.assertEqual(len(set(drawn)), 20)

    def test_fetches_once_at_a_time(self) -> None:
        """A fetch that is under way is not asked for again."""
        ids = self.blocks()
        for _ in range(10):
            ids.new_id()
        self.assertEqual(len(self.later.waiting), 1)
        self.later.flush()

    def test_used_up(self) -> None:
        """Without a store there are no ids beyond the fetched ones; with it there are again."""
        ids = self.blocks()
        for _ in range(10):
            ids.new_id()
        with self.assertRaises(StoreUnavailable):
            ids.new_id()
        self.later.flush()
        self.assertEqual(ids.new_id(), 11)

    def test_failed_fetch_is_repeated(self) -> None:
        """A block that could not be fetched is asked for with the next id."""
        ids = self.blocks()
        for _ in range(6):
            ids.new_id()
        fired, _ = self.later.waiting.popleft()
        fired.errback(StoreUnavailable("full"))
        self.assertEqual(len(self.later.waiting), 0)
        ids.new_id()
        self.later.flush()
        drawn = [ids.new_id() for _ in range(13)]
        self.assertEqual(drawn[-1], 20)


class SQLiteTests(IdsContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(IdsContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
