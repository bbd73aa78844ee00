"""Nodes: epochs that fence, claims of the dead, counters that are watched."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.queue.entry import Begun
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import Node, beat, bury, heartbeats, register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.upkeep import DEAD_AFTER, HEARTBEAT_EVERY, HeartbeatWatch
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message


class NodesContract(Base):
    """What nodes promise each other on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Open one database with two nodes."""
        self.database: Database = database_on(self, self.make_engine())
        self.nodes = [self.on(lambda c, n=name: register(c, n)) for name in ("one", "two")]
        self.one, self.two = (self.store(node) for node in self.nodes)

    def on(self, work):
        """The result of ``work``, committed."""
        return self.successResultOf(self.database.write(work))

    def store(self, node: Node) -> DatabaseQueueStore:
        """The queue as ``node``."""
        spool = RowSpool(self.database, lambda: "")
        return DatabaseQueueStore(self.database, ids_of(self.database), node, spool)

    def test_ids_differ_and_epochs_rise(self) -> None:
        """Each name is one node; each start of it is a life of its own."""
        one, two = self.nodes
        again = self.on(lambda c: register(c, "one"))
        self.assertNotEqual(one.id, two.id)
        self.assertEqual((again.id, again.epoch), (one.id, one.epoch + 1))

    async def test_start_gives_own_claims_up(self) -> None:
        """What a process held when it was killed is due again when it starts, as it was."""
        await self.one.add(new_message(self.one, 2))
        await self.one.claim_due(100.0, 1, [])
        await self.two.claim_due(100.0, 1, [])
        again = self.store(self.on(lambda c: register(c, "one")))
        self.assertEqual(len(await again.claim_due(100.0, 10, [])), 1)

    async def test_takeover_of_the_dead(self) -> None:
        """A buried node's entries go to the living, and its late outcomes are not recorded."""
        await self.one.add(new_message(self.one))
        [entry] = await self.one.claim_due(100.0, 1, [])
        begun = Begun(entry.id, entry.epoch, 100.0, 500.0)
        await self.one.begin_attempts([begun])
        self.assertEqual(self.on(lambda c: bury(c, self.nodes[0].id)), 1)
        [taken] = await self.two.claim_due(500.0, 10, [])
        self.assertEqual(taken.attempts, 1)
        self.assertEqual(list(await self.one.begin_attempts([begun])), [False])
        self.assertEqual(list(await self.one.finish_attempts([delivered(entry)], [])), [False])
        self.assertEqual(list(await self.two.finish_attempts([delivered(taken)], [])), [True])

    def calls_claimed_by(self, *nodes: int) -> None:
        """A call that each of ``nodes`` has claimed; 0 is nobody."""
        row = {
            "account_id": 1,
            "url": "https://app.example.org/",
            "authorization": "",
            "event": "delivered",
            "payload": b"{}",
            "queued_at": 1.0,
            "state": 0,
            "next_attempt_at": 1.0,
            "attempts": 0,
            "lane": 1,
            "epoch": 1,
        }
        rows = [{**row, "node_id": node_id} for node_id in nodes]
        self.on(lambda c: c.execute(insert(tables.call), rows) and None)

    def call_owners(self) -> list[int]:
        """Who has claimed the calls, in order."""
        wanted = select(tables.call.c.node_id).order_by(tables.call.c.id)
        return self.on(lambda c: list(c.execute(wanted).scalars()))  # type: ignore[no-any-return]

    def test_calls_are_given_back(self) -> None:
        """Claims of calls go like those of entries, when a node starts and when it is buried."""
        one, two = (node.id for node in self.nodes)
        self.calls_claimed_by(one, two, one, 0)
        self.assertEqual(self.on(lambda c: bury(c, one)), 2)
        self.assertEqual(self.call_owners(), [0, two, 0, 0])
        self.on(lambda c: register(c, "two"))
        self.assertEqual(self.call_owners(), [0, 0, 0, 0])

    async def test_burying_touches_no_others(self) -> None:
        """Claims of the living stay theirs."""
        await self.two.add(new_message(self.two))
        [entry] = await self.two.claim_due(100.0, 1, [])
        self.assertEqual(self.on(lambda c: bury(c, self.nodes[0].id)), 0)
        self.assertEqual(list(await self.two.finish_attempts([delivered(entry)], [])), [True])

    def test_counters(self) -> None:
        """A beat moves one counter, and so does a start: who watches sees a life begin."""

        def counters(connection: Connection) -> dict[int, int]:
            return heartbeats(connection)

        one, two = (node.id for node in self.nodes)
        before = self.on(counters)
        self.on(lambda c: beat(c, self.nodes[0]))
        after = self.on(counters)
        self.assertEqual((after[one], after[two]), (before[one] + 1, before[two]))
        self.on(lambda c: register(c, "two"))
        self.assertEqual(self.on(counters)[two], before[two] + 1)


class SQLiteTests(NodesContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(NodesContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine


class HeartbeatWatchTests(SynchronousTestCase):
    """Who is dead, by the observer's own clock."""

    def setUp(self) -> None:
        """Begin to watch at some time of a monotonic clock."""
        self.watch, self.now = HeartbeatWatch(), 5000.0

    def looks(self, seconds: float, counters: dict[int, int]) -> list[int]:
        """Who is found dead by looking at the usual pace for so many seconds."""
        found = []
        end = self.now + seconds
        while self.now < end:
            self.now += HEARTBEAT_EVERY
            found += self.watch.dead(counters, self.now, own=1)
        return found

    def test_standing_counter(self) -> None:
        """A node whose counter stands still is dead after its time, not before, and named once."""
        self.assertEqual(self.looks(DEAD_AFTER, {1: 5, 2: 5}), [])
        self.assertEqual(self.looks(HEARTBEAT_EVERY, {1: 5, 2: 5}), [2])
        self.assertEqual(self.looks(10 * DEAD_AFTER, {1: 5, 2: 5}), [])

    def test_moving_counter(self) -> None:
        """A node that moves within its time lives, however slowly."""
        for counter in range(5):
            self.assertEqual(self.looks(DEAD_AFTER - HEARTBEAT_EVERY, {2: counter}), [])

    def test_own_counter(self) -> None:
        """A node never buries itself."""
        self.assertEqual(self.looks(10 * DEAD_AFTER, {1: 5}), [])

    def test_back_from_the_dead(self) -> None:
        """A node that moved again and stands again is named again."""
        self.assertEqual(self.looks(2 * DEAD_AFTER, {2: 5}), [2])
        self.assertEqual(self.looks(HEARTBEAT_EVERY, {2: 6}), [])
        self.assertEqual(self.looks(2 * DEAD_AFTER, {2: 6}), [2])

    def test_observer_that_was_away(self) -> None:
        """Who could not look does not take the others for dead: the store may have been away."""
        self.looks(HEARTBEAT_EVERY, {1: 5, 2: 5})
        self.now += 10 * DEAD_AFTER
        self.assertEqual(self.looks(DEAD_AFTER, {1: 5, 2: 5}), [])
        self.assertEqual(self.looks(HEARTBEAT_EVERY, {1: 5, 2: 5}), [2])
