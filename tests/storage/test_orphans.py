"""Bodies that a crash left are removed; those that somebody writes, or may yet commit, are not."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailrelay.net.threads import AtOnce
from mailrelay.queue.entry import Content
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import Node, register
from mailrelay.storage.orphans import LEFT_ALONE_FOR, Orphans, spool_names
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import FileSpool, RowSpool, Spool
from mailrelay.storage.upkeep import Intervals, Upkeep
from tests.storage.databases import (
    Base,
    OnPostgres,
    OnSQLite,
    database_on,
    ids_of,
    temporary_directory,
)
from tests.storage.values import new_message

NOT_YET = LEFT_ALONE_FOR - 1


class OrphanContract(Base):
    """What is swept, in files and in rows."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def make_spool(self, node: Node) -> Spool:
        """The spool as ``node`` writes it."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two nodes."""
        self.database: Database = database_on(self, self.make_engine())
        self.folder = temporary_directory(self)
        self.tokens = iter(range(1, 1000))
        self.clock = Clock()
        self.other = self.register("other")
        self.orphans = self.restarted()

    def register(self, name: str) -> Node:
        """A new life of the node called ``name``."""
        with self.database.engine.begin() as connection:
            return register(connection, name)

    def restarted(self) -> Orphans:
        """The sweep of a new life."""
        self.node = self.register("own")
        self.spool = self.make_spool(self.node)
        return Orphans(self.database, self.spool, self.clock.seconds)

    def next_name(self, node: Node) -> str:
        """The next body's."""
        return spool_names(node, lambda: f"{next(self.tokens):032x}")()

    async def body(self, spool: Spool, *, finished: bool = True) -> str:
        """A body that nothing names."""
        writer = spool.open()
        await writer.append(b"x" * 300_000)
        if finished:
            await writer.finish()
        return writer.name

    async def swept(self, after: float) -> list[str]:
        """What is there after two looks, so many seconds apart."""
        await self.orphans.sweep()
        self.clock.advance(after)
        await self.orphans.sweep()
        return sorted(name.removesuffix(".part") for name in await self.spool.names())

    async def test_of_an_earlier_life(self) -> None:
        """Finished or not, they go when they were left alone for long enough; not before."""
        left = [await self.body(self.spool), await self.body(self.spool, finished=False)]
        self.orphans = self.restarted()
        self.assertEqual(await self.swept(NOT_YET), sorted(left))
        self.assertEqual(await self.swept(1.0), [])

    async def test_of_a_life_that_goes_on(self) -> None:
        """Our own and another process's bodies stay, however long their messages take."""
        theirs = self.make_spool(self.other)
        kept = [await self.body(s, finished=f) for s in (self.spool, theirs) for f in (True, False)]
        self.assertEqual(await self.swept(10 * LEFT_ALONE_FOR), sorted(kept))

    async def test_of_a_dead_node(self) -> None:
        """What another node left goes when it is buried or born again."""
        await self.body(self.make_spool(self.other))
        self.register("other")
        self.assertEqual(await self.swept(LEFT_ALONE_FOR), [])

    async def test_named(self) -> None:
        """What a content names stays, whoever wrote it; also when it was named late."""
        named, late = await self.body(self.spool), await self.body(self.spool)
        store = DatabaseQueueStore(self.database, ids_of(self.database), self.node, self.spool)

        async def name(body: str) -> None:
            content = Content(b"", None, body, 300_000)
            await store.add(evolve(new_message(store, content=content), events=[]))

        await name(named)
        self.orphans = self.restarted()
        self.assertEqual(await self.swept(NOT_YET), sorted([named, late]))
        await name(late)
        self.assertEqual(await self.swept(LEFT_ALONE_FOR), sorted([named, late]))

    async def test_foreign_names(self) -> None:
        """A name that no life of a node gives belongs to nobody."""
        self.next_name = lambda node: "unnamed"  # type: ignore[method-assign]
        await self.body(self.spool)
        self.assertEqual(await self.swept(LEFT_ALONE_FOR), [])

    async def test_swept_while_it_runs(self) -> None:
        """Upkeep looks from time to time."""
        await self.body(self.spool)
        self.orphans = self.restarted()
        every = Intervals(checkpoint=1e6, sweep=1e6, changes=1e6, heartbeat=1e6, orphans=600.0)
        upkeep = Upkeep(
            self.database,
            self.node,
            self.clock,
            lambda: 0.0,
            lambda kinds: None,
            lambda names: None,
            every,
            self.orphans,
        )
        upkeep.startService()
        self.addCleanup(upkeep.stopService)
        self.clock.advance(600.0)
        self.assertEqual(len(await self.spool.names()), 1)
        self.clock.advance(600.0)
        self.assertEqual(list(await self.spool.names()), [])


class FileTests(OrphanContract, OnSQLite, TestCase):
    """Files beside SQLite."""

    make_engine = OnSQLite.make_engine

    def make_spool(self, node: Node) -> Spool:
        """See OrphanContract."""
        return FileSpool(self.folder, AtOnce(), lambda: self.next_name(node))


class RowTests(OrphanContract, OnPostgres, TestCase):
    """Rows in PostgreSQL."""

    make_engine = OnPostgres.make_engine

    def make_spool(self, node: Node) -> Spool:
        """See OrphanContract."""
        return RowSpool(self.database, lambda: self.next_name(node))
