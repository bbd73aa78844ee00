"""What a mailboxes' store must do on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailrelay.control.mailbox import Imported, MessageFilter, OverQuota
from mailrelay.mailbox.model import DEFAULT_MAILBOXES, Incoming, MailboxMessage
from mailrelay.queue.entry import Content
from mailrelay.smtp.address import Address
from mailrelay.storage.database import Database
from mailrelay.storage.directory import add_account
from mailrelay.storage.mailbox import DatabaseMailboxes, DatabaseMailboxStore
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, Later, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import BODY, PREFIX, delivered, new_message

ACCOUNT = {"full_name": "", "login_disabled": False, "used_bytes": 0}


class MailboxStoreContract(Base):
    """What a MailboxStore must do on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Open one account without a quota and one with 1000 bytes."""
        self.later = Later()
        self.database: Database = database_on(self, self.make_engine(), self.later)
        ids = ids_of(self.database)
        with self.database.engine.begin() as connection:
            self.account = add_account(connection, "user", ACCOUNT)
            self.limited = add_account(connection, "limited", {**ACCOUNT, "quota_bytes": 1000})
            node = register(connection, "main")
        self.boxes = DatabaseMailboxStore(self.database, ids)
        spool = RowSpool(self.database, lambda: "ef" * 16)
        self.queue = DatabaseQueueStore(self.database, ids, node, spool)
        self.records = DatabaseMailboxes(self.database, spool, ids)

    def incoming(self, **changes: Any) -> Incoming:
        """A delivery that differs in ``changes``."""
        plain = Incoming(
            self.boxes.new_id(),
            self.account,
            "Inbox",
            self.boxes.new_id(),
            self.boxes.new_id(),
            Address("a", "client.test"),
            Address("user", "example.org"),
            200.0,
            400,
            "hello",
            b"Return-Path: <a@client.test>\r\n",
        )
        return evolve(plain, **changes)

    def deliver(self, *incoming: Incoming) -> list[bool]:
        """Deliver in one batch: whether each is in its mailbox now."""
        blocker = self.database.write(lambda c: None)
        stored = [self.boxes.deliver(one) for one in incoming]
        self.later.flush()
        self.successResultOf(blocker)
        return [self.successResultOf(one) for one in stored]

    def found(self, **wanted: Any) -> list[MailboxMessage]:
        """The messages in mailboxes."""
        found = self.successResultOf(self.records.find(MessageFilter(**wanted)))
        return [message for _, message in found]

    def test_delivered_as_given(self) -> None:
        """A message has mailbox, flags, envelope, size, time and subject."""
        incoming = self.incoming(flags=["\\Seen", "$Junk"])
        self.assertEqual(self.deliver(incoming), [True])
        [message] = self.found(account="user", mailbox="Inbox")
        self.assertEqual(
            message,
            MailboxMessage(
                incoming.id,
                self.account,
                "Inbox",
                1,
                incoming.message_id,
                ["\\Seen", "$Junk"],
                "a@client.test",
                "user@example.org",
                200.0,
                400,
                "hello",
            ),
        )

    def test_once_per_entry(self) -> None:
        """An entry attempted again after a crash does not put its message there twice."""
        incoming = self.incoming()
        self.assertEqual(self.deliver(incoming), [True])
        self.assertEqual(self.deliver(evolve(incoming, id=self.boxes.new_id())), [True])
        self.assertEqual(len(self.found()), 1)

    def test_once_per_entry_within_a_batch(self) -> None:
        """Nor when both deliveries are committed together."""
        incoming = self.incoming()
        again = evolve(incoming, id=self.boxes.new_id())
        self.assertEqual(self.deliver(incoming, again), [True, True])
        self.assertEqual(len(self.found()), 1)

    def test_one_message_for_two_entries(self) -> None:
        """Two recipients that are one account get a message each."""
        incoming = self.incoming()
        second = evolve(incoming, id=self.boxes.new_id(), entry_id=self.boxes.new_id())
        self.deliver(incoming, second)
        self.assertEqual(len(self.found()), 2)

    def test_uids_rise_by_mailbox(self) -> None:
        """UIDs begin at 1 in each mailbox and rise, within a batch and over batches."""
        junk = self.incoming(mailbox="Junk")
        self.deliver(self.incoming(), junk, self.incoming())
        self.deliver(self.incoming())
        self.assertEqual([m.uid for m in self.found(mailbox="Inbox")], [1, 2, 3])
        self.assertEqual([m.uid for m in self.found(mailbox="Junk")], [1])

    def test_default_mailboxes_are_made(self) -> None:
        """The first delivery makes the mailboxes that everybody has, and the one that is named."""
        self.deliver(self.incoming(mailbox="lists/news"))
        with self.database.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT name FROM mailbox").scalars()
            self.assertEqual(set(rows), {"lists/news", *DEFAULT_MAILBOXES})

    def test_quota(self) -> None:
        """What does not fit is refused, what fits is not, and the sum counts over batches."""
        sizes = (600, 500, 400)
        incoming = [self.incoming(account_id=self.limited, size_bytes=size) for size in sizes]
        self.assertEqual(self.deliver(*incoming), [True, False, True])
        one_more = self.incoming(account_id=self.limited, size_bytes=1)
        self.assertEqual(self.deliver(one_more), [False])
        self.assertEqual([m.size_bytes for m in self.found()], [600, 400])

    def test_quota_over_mailboxes(self) -> None:
        """The quota is the account's: filling two mailboxes in one batch does not double it."""
        incoming = [
            self.incoming(account_id=self.limited, size_bytes=600, mailbox=name)
            for name in ("Inbox", "Junk")
        ]
        self.assertEqual(sorted(self.deliver(*incoming)), [False, True])

    def test_redelivery_is_true_when_the_quota_is_used_up(self) -> None:
        """What is there already is delivered, though it would not fit again."""
        incoming = self.incoming(account_id=self.limited, size_bytes=1000)
        self.assertEqual(self.deliver(incoming), [True])
        self.assertEqual(self.deliver(incoming), [True])

    async def test_content_outlives_the_queue(self) -> None:
        """A delivered message can be read when its entry is retired, under its own prefix."""
        new = new_message(self.queue)
        added = self.queue.add(new)
        claiming = self.queue.claim_due(100.0, 1, [])
        self.later.flush()
        await added
        [entry] = await claiming
        self.deliver(self.incoming(message_id=new.message.id, entry_id=entry.id))
        finished = self.queue.finish_attempts([delivered(entry)], [])
        self.later.flush()
        await finished
        [message] = self.found()
        content = await self.records.content(message.id)
        self.assertEqual(content, b"Return-Path: <a@client.test>\r\n" + PREFIX + BODY)

    async def test_held_meanwhile(self) -> None:
        """What is held when its delivery comes stays out of the mailbox, until it is released."""
        new = new_message(self.queue)
        added = self.queue.add(new)
        self.later.flush()
        await added
        own = f"id = {new.entries[0].id}"
        for state, expected in ((1, False), (2, False), (0, True), (1, True)):
            with self.database.engine.begin() as connection:
                connection.exec_driver_sql(f"UPDATE entry SET state = {state} WHERE {own}")
            incoming = self.incoming(entry_id=new.entries[0].id)
            delivering = self.boxes.deliver(incoming)
            self.later.flush()
            self.assertIs(await delivering, expected, state)
            self.assertEqual(len(self.found()), int(expected))

    async def test_large_content(self) -> None:
        """A spooled body is read whole."""
        body = b"0123456789" * 200_000
        writer = RowSpool(self.database, lambda: "ef" * 16).open()
        written = [writer.append(body), writer.finish()]
        added = self.queue.add(
            new := new_message(self.queue, content=Content(PREFIX, None, writer.name, len(body)))
        )
        self.later.flush()
        for one in (*written, added):
            await one
        incoming = self.incoming(message_id=new.message.id)
        self.deliver(incoming)
        self.assertEqual(await self.records.content(incoming.id), incoming.prefix + PREFIX + body)

    async def test_no_such_message(self) -> None:
        """The content of what is not there is None."""
        self.assertIsNone(await self.records.content(10**9))

    async def test_imported(self) -> None:
        """An imported message is in its mailbox with flags, time and the bytes it came with."""
        content = b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@x>\r\n\r\n\xff\r\n"
        adding = self.records.add(Imported("user", "Archive", content, 100.0, ["\\Seen"]))
        self.later.flush()
        id_ = await adding
        [message] = self.found(mailbox="Archive")
        self.assertEqual((message.id, message.subject), (id_, "grüße"))
        self.assertEqual((message.received_at, message.flags), (100.0, ["\\Seen"]))
        self.assertEqual(await self.records.content(id_), content)

    async def test_import_over_quota(self) -> None:
        """An import that does not fit leaves neither message nor content."""
        adding = self.records.add(Imported("limited", "Inbox", b"x" * 1001, 100.0, []))
        self.later.flush()
        self.failureResultOf(adding, OverQuota)
        with self.database.engine.connect() as connection:
            counted = connection.exec_driver_sql("SELECT count(*) FROM content").scalar()
            self.assertEqual(counted, 0)


class SQLiteTests(MailboxStoreContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(MailboxStoreContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
