"""Contents that are kept after a failure, and what is still there to be sent again."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import insert, text
from twisted.trial.unittest import TestCase

from mailrelay.control.mailbox import Imported
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Content, Entry, Finished, NewMessage
from mailrelay.storage import tables
from mailrelay.storage.account_messages import DatabaseAccountMessages
from mailrelay.storage.mailbox import DatabaseMailboxes
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.resend import DatabaseSentContents
from mailrelay.storage.spool import RowSpool
from mailrelay.storage.statistics import DatabaseStatistics
from mailrelay.storage.upkeep import sweep
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message

LARGE = 100_000


class ResendContract(Base):
    """What is promised."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts."""
        self.database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "main")
            for id_ in (1, 2):
                connection.execute(
                    insert(tables.account).values(
                        id=id_, name=f"a{id_}", full_name="", login_disabled=False, used_bytes=0
                    )
                )
        spool, ids = RowSpool(self.database, lambda: "0" * 32), ids_of(self.database)
        self.queue = DatabaseQueueStore(self.database, ids, node, spool)
        self.records = DatabaseQueueRecords(self.database, lambda: node, lambda names: None)
        self.mailboxes = DatabaseMailboxes(self.database, spool, ids)
        self.mail = DatabaseAccountMessages(self.database, spool)
        self.contents = DatabaseSentContents(self.database, spool)

    async def sent(self, recipients: int = 1, **of: Any) -> NewMessage:
        """A message of the first account, claimed."""
        content = of.pop("content", None)
        new = new_message(
            self.queue,
            recipients,
            content=content,
            message={"account_id": 1, **of},
            epoch=self.queue.epoch,
        )
        await self.queue.add(new)
        return new

    async def ended(self, entry: Entry, until: float | None, **changes: Any) -> None:
        """Record that ``entry`` failed, or was delivered when nothing is to be kept."""
        data = {"recipient": str(entry.recipient), "code": 550}
        kind = EventKind.DELIVERED if until is None else EventKind.FAILED
        of = (entry.message.id, entry.id, 1)
        event = NewEvent(kind, 200.0, *of, data)
        finished = Finished(entry.id, entry.epoch, 200.0, event, 1000.0, unbegun=True)
        finished = evolve(finished, content_kept_until=until, **changes)
        await self.queue.finish_attempts([finished], [])

    async def is_there(self, new: NewMessage, account_id: int = 1) -> bool:
        """Whether it could be sent again."""
        return await self.contents.find(account_id, new.message.id) is not None

    def swept(self, now: float, *, is_short: bool = False) -> list[str]:
        """The spool names that a sweep freed."""
        done = self.database.write(lambda c: sweep(c, now, 100, is_short=is_short))
        return self.successResultOf(done)[1]

    def counted(self, table: str) -> int:
        """Rows of a table."""
        with self.database.engine.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())

    async def test_waiting(self) -> None:
        """It is there for its account, and for nobody else."""
        new = await self.sent()
        self.assertTrue(await self.is_there(new))
        self.assertFalse(await self.is_there(new, 2))
        self.assertIsNone(await self.contents.find(1, 999_999))

    async def test_delivered(self) -> None:
        """Nothing of it is kept."""
        new = await self.sent()
        await self.ended(new.entries[0], None)
        self.assertEqual(self.counted("content"), 0)
        self.assertFalse(await self.is_there(new))

    async def test_failed(self) -> None:
        """It is kept so long and no longer, whatever happens to the other recipients."""
        new = await self.sent(2)
        await self.ended(new.entries[0], 300.0)
        await self.ended(new.entries[1], None)
        self.assertTrue(await self.is_there(new))
        self.assertFalse(await self.is_there(new, 2))
        self.swept(299.0)
        self.assertTrue(await self.is_there(new))
        self.swept(300.0)
        self.assertFalse(await self.is_there(new))
        self.assertEqual((self.counted("content"), self.counted("entry")), (0, 2))

    async def test_waits_longer(self) -> None:
        """What is not kept any more stays while an entry needs it."""
        new = await self.sent(2)
        await self.ended(new.entries[0], 300.0)
        self.swept(301.0)
        self.assertTrue(await self.is_there(new))
        await self.ended(new.entries[1], None)
        self.assertEqual(self.counted("content"), 0)

    async def test_goes_with_its_entries(self) -> None:
        """When their retention is over, nothing is left."""
        new = await self.sent()
        await self.ended(new.entries[0], 5000.0)
        await DatabaseStatistics(self.database).count_more()
        self.swept(1000.0)
        self.assertEqual([self.counted(one) for one in ("content", "message", "entry")], [0, 0, 0])

    async def test_no_room(self) -> None:
        """All of it goes at once, also what is in the spool."""
        large = Content(b"", None, "f" * 32, LARGE)
        new = await self.sent(content=large)
        await self.ended(new.entries[0], 5000.0, content_is_large=True)
        self.assertTrue(await self.is_there(new))
        self.assertEqual(self.swept(250.0), [])
        self.assertEqual(self.swept(250.0, is_short=True), ["f" * 32])
        self.assertEqual((self.counted("content"), self.counted("entry")), (0, 1))

    async def test_canceled(self) -> None:
        """An account's is kept if that is asked for; nobody's is not."""
        for account_id, until, is_kept in ((1, 300.0, 1), (1, None, 0), (None, 300.0, 0)):
            new = await self.sent(account_id=account_id)
            await self.records.drop("op", [new.entries[0].id], 100.0, 1000.0, until)
            self.assertEqual(self.counted("content"), is_kept)
            self.swept(300.0)

    async def test_copy_in_sent(self) -> None:
        """What was put into Sent is found by its Message-ID until it is deleted there."""
        new = await self.sent(message_id="<1@x>")
        await self.ended(new.entries[0], None)
        content = b"Message-ID: <1@x>\r\n\r\nhi\r\n"
        for account in ("a2", "a1"):
            self.assertFalse(await self.is_there(new))
            copy = await self.mailboxes.add(Imported(account, "Sent", content, 100.0, ()))
        found = await self.contents.find(1, new.message.id)
        assert found is not None
        self.assertEqual(found.body, content)
        self.assertEqual(await self.contents.copy(1, new.message.id), copy)
        self.assertIsNone(await self.contents.copy(2, new.message.id))
        await self.mail.delete(1, copy)
        self.assertFalse(await self.is_there(new))

    async def test_copy_elsewhere(self) -> None:
        """That others have it, or it lies in another mailbox, tells nothing."""
        new = await self.sent(message_id="<1@x>")
        await self.queue.finish_attempts([delivered(new.entries[0], unbegun=True)], [])
        content = b"Message-ID: <1@x>\r\n\r\nhi\r\n"
        await self.mailboxes.add(Imported("a1", "Inbox", content, 100.0, ()))
        self.assertFalse(await self.is_there(new))


class SQLiteTests(ResendContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(ResendContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
