"""Works' rows."""

from __future__ import annotations

from sqlalchemy import func, select
from twisted.trial.unittest import TestCase

from mailrelay.control.works import KEPT_FOR, Piece, Work, WorkResult, WorkState
from mailrelay.storage import tables
from mailrelay.storage.works import SWEPT_RESULTS, DatabaseWorks
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

NODE = 3


def piece(*ids: int, is_end: bool = False, outcome: str = "changed") -> Piece:
    """A piece in which these came to ``outcome``."""
    return Piece([WorkResult(id_, outcome) for id_ in ids], ids[-1], is_end)


class WorksContract(Base):
    """What a store must do with works."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """The administrator's works, and an account's."""
        self.database = database_on(self, self.make_engine())
        self.works = DatabaseWorks(self.database, NODE)
        self.account = DatabaseWorks(self.database, NODE, account_id=7)

    async def started(self) -> Work:
        """A work that has just begun."""
        return await self.works.start("queue hold", '{"filter":{}}', "op", 100.0)

    async def test_pieces(self) -> None:
        """Each is recorded with what became of it, until it ends."""
        work = await self.started()
        await self.works.counted(work.id, 5)
        work = await self.works.took(work, piece(1, 2), 110.0)
        self.assertEqual((work.total, work.done, work.changed, work.after_id), (5, 2, 2, 2))
        self.assertEqual(await self.works.running(), [work])
        work = await self.works.took(work, piece(3, 9, outcome="gone"), 120.0)
        work = await self.works.took(work, Piece([], 50, is_end=True), 130.0)
        self.assertEqual((work.state, work.ended_at), (WorkState.DONE, 130.0))
        self.assertEqual((work.done, work.changed, work.after_id), (4, 2, 50))
        self.assertEqual(await self.works.running(), [])
        self.assertEqual(await self.works.get(work.id), work)
        self.assertEqual(await self.works.outcomes(work.id), {"gone": 2})
        found = await self.works.results(work.id, 2, 1, None)
        self.assertEqual(found, [WorkResult(2, "changed"), WorkResult(3, "gone")])
        found = await self.works.results(work.id, 10, 3, "gone")
        self.assertEqual(found, [WorkResult(9, "gone")])

    async def test_stopped(self) -> None:
        """It stays stopped, whatever comes of the piece that was under way."""
        work = await self.started()
        self.assertTrue(await self.works.stop(work.id, "op", 105.0))
        self.assertFalse(await self.works.stop(work.id, "op", 106.0))
        work = await self.works.took(work, piece(1, is_end=True), 110.0)
        self.assertEqual((work.state, work.ended_at, work.done), (WorkState.STOPPED, 105.0, 1))

    async def test_failed(self) -> None:
        """Why is kept, if it had not ended."""
        work = await self.started()
        await self.works.failed(work.id, "no transport hub", 105.0)
        await self.works.failed(work.id, "another", 106.0)
        found = await self.works.get(work.id)
        assert found is not None
        self.assertEqual((found.state, found.error), (WorkState.FAILED, "no transport hub"))

    async def test_done_at_once(self) -> None:
        """It is kept as any other."""
        results = [WorkResult(1, "changed"), WorkResult(2, "gone")]
        work = await self.works.add_done("queue drop", "{}", "op", results, 100.0)
        self.assertEqual(
            (work.state, work.total, work.done, work.changed), (WorkState.DONE, 2, 2, 1)
        )
        self.assertEqual(await self.works.results(work.id, 10, 0, None), results)

    async def test_owners(self) -> None:
        """What is another's is not there."""
        work = await self.started()
        await self.works.took(work, piece(1, outcome="gone"), 110.0)
        self.assertIsNone(await self.account.get(work.id))
        self.assertEqual(await self.account.find(10, None), [])
        self.assertEqual(await self.account.results(work.id, 10, 0, None), [])
        self.assertEqual(await self.account.outcomes(work.id), {})
        self.assertFalse(await self.account.stop(work.id, "op", 120.0))
        self.assertEqual(await DatabaseWorks(self.database, NODE + 1).running(), [])

    async def test_list(self) -> None:
        """Newest first, page by page."""
        ids = [(await self.started()).id for _ in range(3)]
        found = await self.works.find(2, None)
        self.assertEqual([one.id for one in found], ids[:0:-1])
        found = await self.works.find(2, ids[1])
        self.assertEqual([one.id for one in found], ids[:1])

    async def test_sweep(self) -> None:
        """What ended long ago goes, a little at a time; what runs does not."""
        old, running = await self.started(), await self.started()
        results = [WorkResult(id_, "changed") for id_ in range(1, SWEPT_RESULTS + 2)]
        await self.works.took(old, Piece(results, 1, is_end=True), 200.0)
        await self.works.took(running, piece(1), 200.0)
        self.assertEqual(await self.works.sweep(200.0 + KEPT_FOR), 0)
        gone = [await self.works.sweep(201.0 + KEPT_FOR) for _ in range(4)]
        self.assertEqual(gone, [SWEPT_RESULTS, 1, 1, 0])
        self.assertEqual([one.id for one in await self.works.find(9, None)], [running.id])
        left = select(func.count()).select_from(tables.work_result)
        self.assertEqual(await self.database.read(lambda c: c.execute(left).scalar()), 1)


class SQLiteTests(WorksContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(WorksContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
