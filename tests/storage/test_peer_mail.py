"""What peers may ask about their mail, on every database."""

from __future__ import annotations

from attrs import evolve
from sqlalchemy import func, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.peer_mail import SuppressionChange
from mailrelay.control.peers import PeerControl, PeerDetails
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import OfPeer
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import write_setting
from mailrelay.storage.nodes import register
from mailrelay.storage.peer_mail import DatabasePeerMail
from mailrelay.storage.peer_messages import EVENTS_KEPT_FOR, UNSEEN_KEPT_FOR
from mailrelay.storage.peer_records import DatabasePeers
from mailrelay.storage.peer_upkeep import LIFTED_KEPT_FOR, NO_BOUNCE_AFTER, PeerUpkeep
from mailrelay.storage.queue import DatabaseQueueStore, insert_events
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.statistics import POSITION
from mailrelay.storage.suppression import everybody
from mailrelay.storage.upkeep import sweep
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

PEER, OTHER, ACCOUNT = 1, 2, 7
URL = "https://site.test/status"


class PeerMailContract(Base):
    """Two peers that send as one account, which has mail of its own."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """The store, with the peers."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            self.node = register(connection, "main")
        spool = RowSpool(self.database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(self.database, ids_of(self.database), self.node, spool)
        self.mail = DatabasePeerMail(self.database)
        peers = PeerControl(
            DatabasePeers(self.database, lambda: 1.0), lambda: bytes(16), lambda: 1.0, "op"
        )
        keys = ("a:" + "00" * 32, "b:" + "00" * 32)
        for name, key in zip(("one", "two"), keys, strict=True):
            made = peers.add(name, PeerProtocol.MAILRELAY, PeerDetails(), "o:" + "00" * 32, key)
            self.successResultOf(Deferred.fromCoroutine(made))

    async def handed_over(self, peer_id: int | None, msg_id: str = "m") -> int:
        """A message of a peer's, or of the account's own; its id."""
        new = new_message(self.queue, message={"account_id": ACCOUNT})
        if peer_id is not None:
            new = evolve(new, of_peer=OfPeer(peer_id, msg_id, ("h",), {"a": "b"}, URL))
        stored: Deferred[None] = self.queue.add(new)
        await stored
        return new.message.id

    async def happened(
        self,
        message_id: int,
        kind: EventKind = EventKind.DELIVERED,
        entry_id: int | None = None,
        at: float = 5.0,
    ) -> None:
        """An event of it."""
        event = NewEvent(kind, at, message_id, entry_id, ACCOUNT, {"recipient": "b@remote.test"})
        await self.database.write(lambda c: insert_events(c, [event]))

    async def test_events(self) -> None:
        """A peer is told of its own messages, in order, and where it is when there are others."""
        mine, others, own = [
            await self.handed_over(peer, f"m{peer}") for peer in (PEER, OTHER, None)
        ]
        for id_ in (mine, others, own, mine):
            await self.happened(id_)
        feed = await self.mail.events(PEER, ACCOUNT, 0, 100)
        delivered = [one for one in feed.events if one.event.kind is EventKind.DELIVERED]
        self.assertEqual([one.event.message_id for one in delivered], [mine, mine])
        told = delivered[0]
        self.assertEqual((told.msg_id, told.extra, told.webhook_url), ("m1", {"a": "b"}, URL))
        self.assertFalse(feed.has_more)
        after, positions = 0, []
        while True:
            page = await self.mail.events(PEER, ACCOUNT, after, 1)
            positions += [one.event.position for one in page.events]
            if not page.has_more:
                break
            after = page.position
        self.assertEqual(positions, [one.event.position for one in feed.events])
        nothing = await self.mail.events(PEER, ACCOUNT, feed.position, 100)
        self.assertEqual((nothing.events, nothing.position), ([], feed.position))
        of_others = await self.mail.events(PEER, ACCOUNT + 1, 0, 100)
        self.assertEqual(of_others.events, [])

    async def test_message(self) -> None:
        """A message is found by its own peer alone."""
        mine = await self.handed_over(PEER, "m9")
        found = await self.mail.message(PEER, mine)
        assert found is not None
        self.assertEqual((found.id, found.msg_id, len(found.entries)), (mine, "m9", 1))
        self.assertIsNone(await self.mail.message(OTHER, mine))
        self.assertIsNone(await self.mail.message(PEER, mine + 1))

    async def test_position(self) -> None:
        """What a peer has seen stays seen."""
        for given, known in ((5, 5), (3, 5), (9, 9)):
            await self.mail.acknowledge(PEER, given, 10.0)
            self.assertEqual(await self.mail.position(PEER), known)
        self.assertEqual(await self.mail.position(OTHER), 0)

    async def test_removed(self) -> None:
        """When a message is swept, its peer can tell up to where events are gone."""
        mine = await self.handed_over(PEER)
        kept = await self.handed_over(PEER, "kept")
        await self.happened(mine)
        last = (await self.mail.events(PEER, ACCOUNT, 0, 100)).position
        await self.happened(kept)
        with self.database.engine.begin() as connection:
            entry = tables.entry
            connection.execute(
                entry.update().where(entry.c.message_id == mine).values(state=2, keep_until=1.0)
            )
            write_setting(connection, POSITION, "1000")  # all of them are counted
            self.assertEqual(sweep(connection, 1e10, 10)[0], 1)
            left = connection.execute(select(tables.peer_message.c.msg_id)).scalars().all()
        self.assertEqual(left, ["kept"])
        self.assertEqual((await self.mail.events(PEER, ACCOUNT, 0, 100)).oldest, last)
        self.assertEqual((await self.mail.events(OTHER, ACCOUNT, 0, 100)).oldest, 0)

    async def test_kept_for_peers(self) -> None:
        """Events stay two weeks for who has seen them, and 30 days for who has not."""
        mine, own = await self.handed_over(PEER), await self.handed_over(None)
        await self.happened(mine, at=100.0)
        last = (await self.mail.events(PEER, ACCOUNT, 0, 100)).position
        with self.database.engine.begin() as connection:
            write_setting(connection, POSITION, "1000")  # all of them are counted
            entry = tables.entry
            connection.execute(entry.update().values(state=2, keep_until=200.0))
            at = connection.execute(select(func.max(tables.event.c.at))).scalar_one()

        def left(now: float) -> list[int]:
            with self.database.engine.begin() as connection:
                connection.execute(
                    entry.update().where(entry.c.keep_until < now).values(keep_until=now)
                )
                sweep(connection, now, 10)
                return list(connection.execute(select(tables.message.c.id)).scalars())

        self.assertIn(own, left(199.0))
        self.assertEqual(left(max(at, 200.0) + 1.0), [mine])
        self.assertEqual(left(at + UNSEEN_KEPT_FOR - 1.0), [mine])
        await self.mail.acknowledge(PEER, last, 300.0)
        self.assertEqual(left(at + EVENTS_KEPT_FOR - 1.0), [mine])
        self.assertEqual(left(at + UNSEEN_KEPT_FOR), [])

    async def test_no_bounce(self) -> None:
        """Of what was delivered and did not come back it is told once, when time has passed."""
        told: list[NewEvent] = []
        now = NO_BOUNCE_AFTER + 6.0
        upkeep = PeerUpkeep(self.database, lambda: now, told.extend)
        peer = Peer(PEER, "one", account_id=ACCOUNT)
        good, bad, others, own = [await self.handed_over(of) for of in (PEER, PEER, OTHER, None)]
        for id_ in (good, bad, others, own):
            await self.happened(id_, entry_id=id_)
        await self.happened(bad, EventKind.FAILED, entry_id=bad)
        while await upkeep.settle(peer):
            pass
        found = [(event.kind, event.message_id, event.entry_id) for event in told]
        self.assertEqual(found, [(EventKind.NO_BOUNCE, good, good)])
        feed = await self.mail.events(PEER, ACCOUNT, 0, 100)
        self.assertEqual(feed.events[-1].event.kind, EventKind.NO_BOUNCE)
        self.assertEqual(await upkeep.settle(peer), 0)
        await self.happened(good, at=now - NO_BOUNCE_AFTER + 1.0)  # too new, as is what we told
        self.assertEqual(await upkeep.settle(peer), 0)
        self.assertEqual(len(told), 1)

    async def test_swept(self) -> None:
        """What is kept of peers that are gone goes, and of addresses suppressed no longer."""
        upkeep = PeerUpkeep(self.database, lambda: LIFTED_KEPT_FOR + 100.0)
        for peer_id, address, is_suppressed, at in (
            (PEER, "a@x.test", False, 99.0),
            (PEER, "b@x.test", True, 99.0),
            (PEER, "c@x.test", False, 101.0),
            (99, "d@x.test", True, 101.0),
        ):
            change = SuppressionChange(address, address, is_suppressed, "", at)
            await self.mail.suppress(peer_id, ACCOUNT, change, at)
        self.assertEqual([await upkeep.sweep(), await upkeep.sweep()], [2, 0])
        with self.database.engine.connect() as connection:
            left = connection.execute(select(tables.peer_suppression.c.address)).scalars().all()
        self.assertEqual(sorted(left), ["b@x.test", "c@x.test"])

    async def test_suppression(self) -> None:
        """The newest change of an address wins, whatever the order."""
        change = SuppressionChange("B@x.test", "b@x.test", True, "said so", 100.0)

        async def changed(at: float, is_suppressed: bool) -> tuple[bool, bool]:
            made = evolve(change, is_suppressed=is_suppressed, changed_at=at)
            is_newest = await self.mail.suppress(PEER, ACCOUNT, made, 500.0)
            with self.database.engine.connect() as connection:
                listed = everybody(connection)
            return is_newest, "b@x.test" in listed.get(ACCOUNT, {})

        self.assertEqual(await changed(100.0, True), (True, True))
        self.assertEqual(await changed(100.0, False), (False, True))
        self.assertEqual(await changed(99.0, False), (False, True))
        self.assertEqual(await changed(101.0, False), (True, False))
        self.assertEqual(await changed(100.5, True), (False, False))
        self.assertEqual(await changed(102.0, True), (True, True))
        with self.database.engine.connect() as connection:
            [row] = connection.execute(select(tables.peer_suppression)).all()
            audit = connection.execute(select(tables.audit.c.actor, tables.audit.c.action)).all()
        told = (row.peer_id, row.changed_at, row.is_suppressed, row.is_told)
        self.assertEqual(told, (PEER, 102.0, True, True))
        self.assertEqual(tuple(audit[-1]), ("peer:1", "suppression add"))


class SQLitePeerMailTests(OnSQLite, PeerMailContract, TestCase):
    """On SQLite."""


class PostgresPeerMailTests(OnPostgres, PeerMailContract, TestCase):
    """On PostgreSQL."""
