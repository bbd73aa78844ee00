"""What must be kept of mail that peers handed to us, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import func, insert, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.relayed import RelayedMail
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Conditions, EntryState, NewMessage, OfPeer, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import register
from mailrelay.storage.peer_mail import DatabasePeerMail
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

    def count(self, table: Any, *where: Any) -> int:
        """Rows."""
        wanted = select(func.count()).select_from(table).where(*where)
        reading: Deferred[int] = self.database.read(lambda c: c.execute(wanted).scalar_one())
        return self.successResultOf(reading)

    def test_failed(self) -> None:
        """Retired at once, with both events and no content; nobody attempts it."""
        new = self.message("1@a", state=EntryState.RETIRED)
        self.successResultOf(self.mail.add_failed(new, self.failed(new), 1000.0))
        told = self.successResultOf(DatabasePeerMail(self.database).events(SITE, ACCOUNT, 0, 9))
        kinds = [one.event.kind for one in told.events]
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
