"""What an account uses, on every database."""

from __future__ import annotations

from sqlalchemy import insert, update
from twisted.trial.unittest import TestCase

from mailrelay.control.usage import Waiting
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.usage import DatabaseUsage, waiting
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message


class UsageContract(Base):
    """What is promised."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts."""
        database = database_on(self, self.make_engine())
        with database.engine.begin() as connection:
            node = register(connection, "main")
            for id_ in (1, 2):
                connection.execute(
                    insert(tables.account).values(
                        id=id_, name=f"a{id_}", full_name="", login_disabled=False, used_bytes=70
                    )
                )
        spool = RowSpool(database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(database, ids_of(database), node, spool)
        self.usage = DatabaseUsage(database)

    async def entry(self, account_id: int, state: EntryState) -> None:
        """A recipient of a new message."""
        new = new_message(self.queue, message={"account_id": account_id})
        await self.queue.add(new)
        entry = tables.entry
        with self.usage.database.engine.begin() as connection:
            connection.execute(
                update(entry).where(entry.c.id == new.entries[0].id).values(state=state.value)
            )

    async def test_waiting(self) -> None:
        """By state, without what is over or another's; and it says when it did not see all."""
        for account_id, state in (
            (1, EntryState.READY),
            (1, EntryState.READY),
            (1, EntryState.HELD),
            (1, EntryState.RETIRED),
            (2, EntryState.READY),
        ):
            await self.entry(account_id, state)
        self.assertEqual(await self.usage.waiting(1), Waiting(2, 1))
        self.assertEqual(await self.usage.waiting(2), Waiting(1, 0))
        self.assertEqual(await self.usage.waiting(3), Waiting(0, 0))
        with self.usage.database.engine.connect() as connection:
            self.assertEqual(waiting(connection, 1, 2), Waiting(0, 1, is_all=False))

    async def test_storage(self) -> None:
        """What the mailboxes hold; nothing of an account that is not there."""
        self.assertEqual(await self.usage.storage(1), 70)
        self.assertEqual(await self.usage.storage(3), 0)


class SQLiteTests(UsageContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(UsageContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
