"""What an account may ask of its own mailboxes, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import delete
from twisted.trial.unittest import TestCase

from mailrelay.control.mailbox import Imported
from mailrelay.mailbox import searching
from mailrelay.mailbox.access import (
    AlreadyInMailbox,
    ContentGone,
    MailboxQuery,
    NoSuchMailbox,
    StoredMessage,
    blocks,
    whole,
)
from mailrelay.mailbox.model import DEFAULT_MAILBOXES, Incoming
from mailrelay.mailbox.searching import ContentQuery, MailSearch
from mailrelay.message.verdict import Verdict
from mailrelay.net.threads import AtOnce
from mailrelay.queue.entry import Content
from mailrelay.smtp.address import Address
from mailrelay.storage import account_messages, tables
from mailrelay.storage.account_messages import DatabaseAccountMessages
from mailrelay.storage.directory import add_account
from mailrelay.storage.mailbox import DatabaseMailboxes, DatabaseMailboxStore
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import PREFIX, new_message

ACCOUNT = {"full_name": "", "login_disabled": False, "used_bytes": 0}
LARGE = b"0123456789" * 70_000


class AccountMessagesContract(Base):
    """What an AccountMessages must do on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts."""
        database = database_on(self, self.make_engine())
        with database.engine.begin() as connection:
            self.account = add_account(connection, "user", ACCOUNT)
            self.other = add_account(connection, "other", ACCOUNT)
            node = register(connection, "main")
        ids = ids_of(database)
        self.boxes = DatabaseMailboxStore(database, ids)
        self.spool = RowSpool(database, lambda: "ef" * 16)
        self.queue = DatabaseQueueStore(database, ids, node, self.spool)
        self.imports = DatabaseMailboxes(database, self.spool, ids)
        self.store = DatabaseAccountMessages(database, self.spool)

    async def delivered(self, **changes: Any) -> int:
        """A message in the first account's mailbox that differs in ``changes``; its id."""
        id_ = self.boxes.new_id()
        plain = Incoming(
            id_,
            self.account,
            "Inbox",
            self.boxes.new_id(),
            self.boxes.new_id(),
            Address("ann", "client.test"),
            Address("user", "example.org"),
            200.0,
            400,
            "hello",
            b"Return-Path: <a@client.test>\r\n",
        )
        self.assertTrue(await self.boxes.deliver(evolve(plain, **changes)))
        return id_

    async def large(self) -> StoredMessage:
        """A message whose body is in the spool."""
        writer = self.spool.open()
        await writer.append(LARGE)
        await writer.finish()
        content = Content(PREFIX, None, writer.name, len(LARGE))
        new = new_message(self.queue, content=content)
        await self.queue.add(new)
        id_ = await self.delivered(message_id=new.message.id)
        stored = await self.store.get(self.account, id_)
        assert stored is not None
        return stored

    async def found(self, account_id: int = 0, **wanted: Any) -> list[int]:
        """The ids of the messages that fit."""
        query = MailboxQuery(**wanted)
        page = await self.store.find(account_id or self.account, query)
        return [one.id for one in page.messages]

    async def test_verdict(self) -> None:
        """What was judged of a message is read with it; most are not judged."""
        for verdict in (Verdict("pass", "fail", junk="x", dkim_domains=("a.test",)), None):
            new = new_message(self.queue)
            await self.queue.add(evolve(new, message=evolve(new.message, verdict=verdict)))
            id_ = await self.delivered(message_id=new.message.id)
            stored = await self.store.get(self.account, id_)
            assert stored is not None
            self.assertEqual(stored.verdict, verdict)

    async def test_pages(self) -> None:
        """Newest first; another account's are not there."""
        ids = [await self.delivered() for _ in range(3)]
        foreign = await self.delivered(account_id=self.other)
        self.assertEqual(await self.found(), ids[::-1])
        self.assertEqual(await self.found(limit=2), ids[:0:-1])
        self.assertEqual(await self.found(before_id=ids[1]), ids[:1])
        self.assertEqual(await self.found(self.other), [foreign])

    async def test_sizes(self) -> None:
        """Larger and smaller than a size."""
        small, large = await self.delivered(size_bytes=10), await self.delivered(size_bytes=500)
        self.assertEqual(await self.found(larger_than=10), [large])
        self.assertEqual(await self.found(smaller_than=500), [small])

    async def test_unread(self) -> None:
        """What is not seen, in all mailboxes or in one; of the newest alone."""
        for mailbox, flags in (("Inbox", ()), ("Inbox", ("\\seen", "x")), ("Junk", ("\\seenx",))):
            await self.delivered(mailbox=mailbox, flags=flags)
        await self.delivered(account_id=self.other)
        for name, count in ((None, 2), ("Inbox", 1), ("Junk", 1), ("None", 0)):
            self.assertEqual(await self.store.unread(self.account, name), count, name)
        self.patch(account_messages, "UNREAD_AMONG", 2)
        self.assertEqual(await self.store.unread(self.account, None), 1)

    async def test_beside(self) -> None:
        """The next in the same mailbox, of the same account."""
        ids = [await self.delivered() for _ in range(3)]
        await self.delivered(mailbox="Junk")
        await self.delivered(account_id=self.other)
        for id_, expected in zip(
            ids, [(ids[1], None), (ids[2], ids[0]), (None, ids[1])], strict=True
        ):
            found = await self.store.beside(self.account, id_, "Inbox")
            self.assertEqual((found.newer, found.older), expected)
        found = await self.store.beside(self.other, ids[1], "Inbox")
        self.assertNotIn(found.older, ids)
        self.assertNotIn(found.newer, ids)

    async def test_several(self) -> None:
        """Several are changed, or removed, at once; another account's are not."""
        ids = [await self.delivered() for _ in range(3)]
        foreign = await self.delivered(account_id=self.other)

        def seen(flags: Any) -> list[str]:
            return [*flags, "\\seen"]

        changed = await self.store.change_all(self.account, [*ids[:2], foreign, 999_999], seen)
        self.assertEqual(changed, 2)
        self.assertEqual(await self.found(flag="\\seen"), ids[1::-1])
        self.assertEqual(await self.store.delete_all(self.account, [ids[0], foreign, ids[2]]), 2)
        self.assertEqual(await self.found(), [ids[1]])
        self.assertEqual(await self.found(self.other), [foreign])
        self.assertEqual(await self.found(self.other, flag="\\seen"), [])

    async def test_search_in_contents(self) -> None:
        """By what they say; only so many are read for an answer, and none is missed."""
        self.patch(searching, "LOOKED_AT", 3)
        one, two = await self.large(), await self.delivered()
        search = MailSearch(self.store, AtOnce())
        for text, expected in (("0123456789", [one.listed.id]), ("nothing", [])):
            found, query = [], MailboxQuery(limit=1)
            for _ in range(9):
                page = await search.find(self.account, query, ContentQuery(text))
                found += [message.id for message in page.messages]
                if page.before_id is None:
                    break
                query = MailboxQuery(limit=1, before_id=page.before_id)
            self.assertEqual(found, expected, two)
        page = await search.find(self.other, MailboxQuery(), ContentQuery("0123456789"))
        self.assertEqual(page.messages, [])

    async def test_search_in_steps(self) -> None:
        """What is looked at for one answer is bounded; with the cursor all is found, once."""
        self.patch(account_messages, "LOOKED_AT", 3)
        ids = [await self.delivered(subject=f"number {n % 4}") for n in range(8)]
        await self.delivered(account_id=self.other)
        found: list[list[int]] = []
        before_id = None
        while not found or before_id is not None:
            query = MailboxQuery(subject="number 1", before_id=before_id)
            page = await self.store.find(self.account, query)
            found.append([one.id for one in page.messages])
            before_id = page.before_id
        self.assertEqual(found, [[ids[5]], [], [ids[1]]])

    async def test_filters(self) -> None:
        """All that is given must fit, and text is taken as it stands."""
        first = await self.delivered(flags=["\\Seen", "work"], subject="Re: 100%")
        second = await self.delivered(
            mailbox="Junk", received_at=300.0, recipient=Address("info", "x.test"), subject="100 ü_"
        )
        third = await self.delivered(reverse_path=None, received_at=400.0, flags=["worker"])
        for wanted, ids in (
            ({"mailbox": "Junk"}, [second]),
            ({"since": 300.0}, [third, second]),
            ({"until": 300.0}, [first]),
            ({"sender": "CLIENT"}, [second, first]),
            ({"recipient": "info@X"}, [second]),
            ({"subject": "re: 100%"}, [first]),
            ({"subject": "0%"}, [first]),
            ({"subject": "ü_"}, [second]),
            ({"subject": "\\"}, []),
            ({"flag": "\\seen"}, [first]),
            ({"flag": "work"}, [first]),
            ({"without_flag": "work"}, [third, second]),
            ({"flag": "work", "without_flag": "\\seen"}, []),
            ({"sender": "client", "since": 250.0}, [second]),
        ):
            self.assertEqual(await self.found(**wanted), ids, wanted)

    async def test_mailboxes(self) -> None:
        """Those that everybody has, and one's own."""
        await self.delivered(mailbox="lists/news")
        names = await self.store.mailboxes(self.account)
        self.assertEqual(names, sorted({"lists/news", *DEFAULT_MAILBOXES}))
        self.assertEqual(await self.store.mailboxes(self.other), sorted(DEFAULT_MAILBOXES))

    async def test_blocks(self) -> None:
        """Any piece of a spooled message is what stands there."""
        stored = await self.large()
        content = b"Return-Path: <a@client.test>\r\n" + PREFIX + LARGE
        self.assertEqual(await whole(self.store, stored), content)
        self.assertEqual(stored.size_bytes, len(content))
        front = len(content) - len(LARGE)
        for start, end in ((0, 5), (3, front), (front, front + 9), (9, 600_000), (7, None)):
            found = [block async for block in blocks(self.store, stored, start, end)]
            self.assertEqual(b"".join(found), content[start:end], (start, end))
            self.assertLessEqual(max(map(len, found)), 256 * 1024)

    async def test_removed_while_read(self) -> None:
        """What is missing is not passed over."""
        stored = await self.large()
        await self.store.delete(self.account, stored.listed.id)
        await self.spool.remove([stored.content.spool_name or ""])
        with self.assertRaises(ContentGone):
            await whole(self.store, stored)

    async def test_without_content(self) -> None:
        """What is removed at this moment is as if it were gone."""
        stored = await self.large()
        await self.store.database.write(lambda c: c.execute(delete(tables.content)))
        self.assertIsNone(await self.store.get(self.account, stored.listed.id))

    async def test_changes(self) -> None:
        """Flags and place of one's own message; another's is not there."""
        adding = Imported("user", "Inbox", b"Subject: x\r\n\r\nx", 100.0, ["\\seen"])
        id_ = await self.imports.add(adding)
        for account_id, is_there in ((self.other, False), (self.account, True)):
            done = await self.store.change_flags(account_id, id_, lambda flags: [*flags, "x"])
            self.assertIs(done, is_there)
            self.assertIs(await self.store.move(account_id, id_, "Archive"), is_there)
            self.assertIs(await self.store.get(account_id, id_) is not None, is_there)
        stored = await self.store.get(self.account, id_)
        assert stored is not None
        self.assertEqual(stored.listed.mailbox, "Archive")
        self.assertEqual(set(stored.listed.flags), {"\\seen", "x", "$notjunk"})
        for mailbox, error in (("Archive", AlreadyInMailbox), ("archive", NoSuchMailbox)):
            with self.assertRaises(error):
                await self.store.move(self.account, id_, mailbox)
        self.assertFalse(await self.store.delete(self.other, id_))
        self.assertTrue(await self.store.delete(self.account, id_))
        self.assertFalse(await self.store.delete(self.account, id_))


class SQLiteTests(AccountMessagesContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(AccountMessagesContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
