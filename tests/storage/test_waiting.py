"""Messages that wait, by their entries, on every database."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailrelay.mailbox.access import whole
from mailrelay.message.edit import Edit
from mailrelay.queue.entry import Content, Entry
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.waiting import DatabaseWaitingMessages
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import BODY, PREFIX, delivered, new_message


def front(entry: Entry) -> bytes:
    """What stands on top."""
    return f"To-Entry: {entry.recipient}\r\n".encode()


class WaitingContract(Base):
    """StoredMessages of the queue."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    async def test_until_it_is_delivered(self) -> None:
        """Each entry has its own front; it ends with its entry, not with its message."""
        database = database_on(self, self.make_engine())
        with database.engine.begin() as connection:
            node = register(connection, "node")
        spool = RowSpool(database, lambda: "0")
        store = DatabaseQueueStore(database, ids_of(database), node, spool)
        waiting = DatabaseWaitingMessages(database, spool, front)
        new = new_message(store, 2)
        await store.add(new)
        first, second = (entry.id for entry in new.entries)
        for entry in new.entries:
            found = await waiting.get(0, entry.id)
            assert found is not None
            self.assertEqual((found.prefix, found.listed.id), (front(entry), entry.id))
            self.assertEqual(found.content, Content(PREFIX, BODY, None, len(BODY)))
        self.assertIsNone(await waiting.get(0, new.message.id))
        [claimed, _] = await store.claim_due(1000.0, 10, [])
        self.assertEqual(claimed.id, first)
        await store.finish_attempts([delivered(evolve(claimed, id=first))], [])
        self.assertIsNone(await waiting.get(0, first))
        self.assertIsNotNone(await waiting.get(0, second))

    async def test_copy(self) -> None:
        """What one recipient's copy differs in is in what is read of it, too."""
        database = database_on(self, self.make_engine())
        with database.engine.begin() as connection:
            node = register(connection, "node")
        spool = RowSpool(database, lambda: "0")
        store = DatabaseQueueStore(database, ids_of(database), node, spool)
        writer = spool.open()
        body = BODY + b"x" * 70000
        await writer.append(body)
        await writer.finish()
        edit = Edit(b"List-Id: a\r\n", ((9, 14, b"other"),))
        large = Content(PREFIX, None, writer.name, len(body))
        new = new_message(store, content=large, edit=edit)
        await store.add(new)
        waiting = DatabaseWaitingMessages(database, spool, front)
        found = await waiting.get(0, new.entries[0].id)
        assert found is not None
        expected = front(new.entries[0]) + edit.front + PREFIX + body.replace(b"hello", b"other", 1)
        self.assertEqual(await whole(waiting, found), expected)
        self.assertEqual(found.size_bytes, len(expected))


class SQLiteTests(OnSQLite, WaitingContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, WaitingContract, TestCase):
    """On PostgreSQL."""
