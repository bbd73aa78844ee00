"""What must be kept of mail that peers handed to us, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import func, insert, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.relayed import PeerEvents, RelayedMail
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Conditions, EntryState, NewMessage, OfPeer, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.relayed import DatabaseRelayedMail
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

SITE, OTHER, ACCOUNT = 3, 4, 5


class RelayedContract(Base):
    """Messages of two peers, whose account is one."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two peers, and nothing of theirs."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "n")
            for peer in (SITE, OTHER):
                connection.execute(insert(tables.peer_state).values(peer_id=peer))
        spool = RowSpool(self.database, lambda: "0")
        self.queue = DatabaseQueueStore(self.database, ids_of(self.database), node, spool)
        self.told: list[NewEvent] = []
        relayed = DatabaseRelayedMail(self.database, node, self.told.extend)
        self.mail: RelayedMail = relayed

    def message(self, nr: str, peer: int = SITE, **given: Any) -> NewMessage:
        """One that a peer handed to us."""
        made = new_message(self.queue, message={"account_id": ACCOUNT}, **given)
        of_peer = OfPeer(peer, nr, webhook_url="https://site.test/x")
        answer = StoredAnswer(0, nr, b"h", 200, str(made.message.id).encode(), 1e6)
        events = [evolve(event, account_id=ACCOUNT) for event in made.events]
        return evolve(made, of_peer=of_peer, events=events, conditions=Conditions(answer=answer))

    def failed(self, new: NewMessage) -> NewEvent:
        """Its end."""
        data = {"recipient": "user0@example.org", "code": 550}
        ids = (new.message.id, new.entries[0].id)
        return NewEvent(EventKind.FAILED, 60.0, *ids, ACCOUNT, data)

    def events(self, peer: int, after: int = 0, limit: int = 100) -> PeerEvents:
        """What is there to be told."""
        found: PeerEvents = self.successResultOf(self.mail.events(peer, ACCOUNT, after, limit))
        return found

    def count(self, table: Any, *where: Any) -> int:
        """Rows."""
        wanted = select(func.count()).select_from(table).where(*where)
        reading: Deferred[int] = self.database.read(lambda c: c.execute(wanted).scalar_one())
        return self.successResultOf(reading)

    def test_whose(self) -> None:
        """Each peer is told of its own, by its own number, in order; of no other mail."""
        one, two = self.message("1@a"), self.message("1@b", OTHER)
        plain = new_message(self.queue, message={"account_id": ACCOUNT})
        for new in (one, plain, two):
            self.successResultOf(self.queue.add(new))
        for peer, new, nr in ((SITE, one, "1@a"), (OTHER, two, "1@b")):
            [told] = self.events(peer).events
            self.assertEqual((told.event.message_id, told.msg_id), (new.message.id, nr))
            self.assertEqual(told.webhook_url, "https://site.test/x")
        elsewhere = self.successResultOf(self.mail.events(SITE, ACCOUNT + 1, 0, 100))
        self.assertEqual((elsewhere.events, elsewhere.position), ((), 0))

    def test_pages(self) -> None:
        """A page without any of its events brings it forward all the same."""
        for number in range(4):
            plain = self.message(str(number), OTHER)
            self.successResultOf(self.queue.add(plain))
        self.successResultOf(self.queue.add(self.message("1@a")))
        first = self.events(SITE, limit=4)
        self.assertEqual(list(first.events), [])
        second = self.events(SITE, first.position, 4)
        self.assertEqual([one.msg_id for one in second.events], ["1@a"])
        self.assertEqual(self.events(SITE, second.position).position, second.position)

    def test_position(self) -> None:
        """It goes forward, and each peer's is its own."""
        for position in (7, 3, 9, 8):
            self.successResultOf(self.mail.told(SITE, position, 1.0))
        self.assertEqual(self.successResultOf(self.mail.position(SITE)), 9)
        self.assertEqual(self.successResultOf(self.mail.position(OTHER)), 0)
        self.assertEqual(self.successResultOf(self.mail.position(99)), 0)

    def test_failed(self) -> None:
        """Retired at once, with both events and no content; nobody attempts it."""
        new = self.message("1@a", state=EntryState.RETIRED)
        self.successResultOf(self.mail.add_failed(new, self.failed(new), 1000.0))
        kinds = [one.event.kind for one in self.events(SITE).events]
        self.assertEqual(kinds, [EventKind.ACCEPTED, EventKind.FAILED])
        self.assertEqual([event.kind for event in self.told], kinds)
        self.assertEqual(self.count(tables.content), 0)
        claimed = self.successResultOf(self.queue.claim_due(1e9, 10, []))
        self.assertEqual(list(claimed), [])
        self.assertEqual(self.count(tables.entry, tables.entry.c.outcome == "failed"), 1)

    def test_again(self) -> None:
        """What was taken before is taken no second time, failed or not."""
        for first_fails in (True, False):
            nr = f"{first_fails}@a"
            first = self.message(nr, state=EntryState.RETIRED)
            if first_fails:
                adding = self.mail.add_failed(first, self.failed(first), 1000.0)
            else:
                adding = self.queue.add(first)
            self.successResultOf(adding)
            again = self.message(nr)
            for refused in (
                self.mail.add_failed(again, self.failed(again), 1000.0),
                self.queue.add(again),
            ):
                before = self.failureResultOf(refused, AnsweredBefore).value
                self.assertEqual(before.found.answer, str(first.message.id).encode())
        self.assertEqual(self.count(tables.message), 2)
        self.assertEqual(self.count(tables.peer_message), 2)


class SQLiteTests(OnSQLite, RelayedContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, RelayedContract, TestCase):
    """On PostgreSQL."""
