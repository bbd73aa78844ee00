"""What explaining asks of the store, on every database."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailrelay.control.explain import NewRecipients
from mailrelay.queue.entry import Conditions
from mailrelay.smtp.address import Address
from mailrelay.storage.explaining import DatabaseExplainRecords
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message

DAY = 86400.0


class ExplainContract(Base):
    """ExplainRecords."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    async def test_new_recipients(self) -> None:
        """Those of the last 24 hours count; all are known, to their account alone."""
        database = database_on(self, self.make_engine())
        with database.engine.begin() as connection:
            node = register(connection, "node")
        spool = RowSpool(database, lambda: "0")
        store = DatabaseQueueStore(database, ids_of(database), node, spool)
        for recipient, at in (("old", 1.0), ("new", DAY), ("new", DAY + 1)):
            new = new_message(store, message={"account_id": 1, "received_at": at})
            entries = [evolve(new.entries[0], recipient=Address(recipient, "far.test"))]
            await store.add(evolve(new, entries=entries, conditions=Conditions(new_recipients=9)))
        records = DatabaseExplainRecords(database)
        for account, recipient, now, expected in (
            (1, "new@far.test", DAY + 2, NewRecipients(1, True)),
            (1, "old@far.test", DAY + 2, NewRecipients(1, True)),
            (1, "other@far.test", DAY, NewRecipients(2, False)),
            (2, "new@far.test", DAY + 2, NewRecipients(0, False)),
        ):
            found = await records.new_recipients(account, recipient, now)
            self.assertEqual(found, expected, (account, recipient))


class SQLiteTests(OnSQLite, ExplainContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, ExplainContract, TestCase):
    """On PostgreSQL."""
