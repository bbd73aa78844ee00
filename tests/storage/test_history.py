"""What an account hears of its own messages, on every database."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import insert
from twisted.trial.unittest import TestCase

from mailrelay.control.history import EventFilter, MessageQuery, TimelinePart
from mailrelay.control.queue import state_word
from mailrelay.observe.events import Event, EventKind, NewEvent
from mailrelay.queue.entry import Entry, EntryState, Finished, NewMessage
from mailrelay.smtp.address import Address
from mailrelay.storage import history, tables
from mailrelay.storage.calls import DatabaseCallStore
from mailrelay.storage.history import DatabaseHistory, messages_query
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import RowSpool
from mailrelay.webhooks.call import CallAttempt, FinishedCall
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import new_message


class HistoryContract(Base):
    """What is promised of an account's history."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts, the first of which is called."""
        database = database_on(self, self.make_engine())
        with database.engine.begin() as connection:
            node = register(connection, "main")
            for id_ in (1, 2):
                connection.execute(
                    insert(tables.account).values(
                        id=id_, name=f"a{id_}", full_name="", login_disabled=False, used_bytes=0
                    )
                )
            connection.execute(
                insert(tables.webhook_endpoint).values(
                    account_id=1, kind="outgoing", url="http://x/", authorization="", events="[]"
                )
            )
        spool = RowSpool(database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(database, ids_of(database), node, spool)
        self.calls = DatabaseCallStore(database, node)
        self.history = DatabaseHistory(database)

    async def sent(
        self, account_id: int = 1, recipient: str = "r@example.net", **of: Any
    ) -> NewMessage:
        """A submitted message."""
        new = new_message(
            self.queue,
            message={"account_id": account_id, **of},
            recipient=Address.parse(recipient),
            epoch=self.queue.epoch,
        )
        events = [
            NewEvent(EventKind.ACCEPTED, 50.0, new.message.id, None, account_id, {"door": "webapi"})
        ]
        await self.queue.add(NewMessage(new.message, new.content, new.entries, events))
        return new

    async def delivered(self, entry: Entry) -> None:
        """Record that ``entry`` was delivered."""
        data: dict[str, object] = {"recipient": str(entry.recipient), "code": 250}
        event = NewEvent(
            EventKind.DELIVERED, 200.0, entry.message.id, entry.id, entry.account_id, data
        )
        finished = Finished(entry.id, entry.epoch, 200.0, event, 1000.0, unbegun=True)
        await self.queue.finish_attempts([finished], [])

    async def found(self, account_id: int = 1, **wanted: Any) -> list[int]:
        """The ids of the messages that fit."""
        messages = await self.history.messages(account_id, MessageQuery(**wanted))
        return [one.message.id for one in messages]

    async def test_search(self) -> None:
        """Each condition leaves out what does not fit, and all are joined by AND."""
        first = await self.sent(
            message_id="<1@x>", extra={"user": "1", "k": 'a"b'}, received_at=10.0
        )
        second = await self.sent(recipient="s@example.org", received_at=20.0, extra={"user": "11"})
        await self.delivered(second.entries[0])
        one, two = first.message.id, second.message.id
        for wanted, expected in (
            ({}, [two, one]),
            ({"limit": 1}, [two]),
            ({"before_id": two}, [one]),
            ({"recipient": "r@example.net"}, [one]),
            ({"recipient": "example.org"}, [two]),
            ({"recipient": "ample.org"}, []),
            ({"state": "delivered"}, [two]),
            ({"state": "ready"}, [one]),
            ({"state": "held"}, []),
            ({"message_id": "<1@x>"}, [one]),
            ({"extra": ("user", "1")}, [one]),
            ({"extra": ("k", 'a"b')}, [one]),
            ({"extra": ("user", "%")}, []),
            ({"since": 20.0}, [two]),
            ({"until": 20.0}, [one]),
            ({"state": "delivered", "recipient": "r@example.net"}, []),
        ):
            self.assertEqual(await self.found(**wanted), expected, wanted)
        self.assertEqual(await self.found(2), [])

    async def test_tags(self) -> None:
        """Each of its tags finds a message, for its account alone, and pages go on."""
        one = (await self.sent(tags=("welcome", "eu"))).message.id
        two = (await self.sent(tags=("eu",), recipient="s@example.org")).message.id
        await self.sent()
        await self.sent(2, tags=("eu",))
        for wanted, expected in (
            ({"tag": "eu"}, [two, one]),
            ({"tag": "welcome"}, [one]),
            ({"tag": "e"}, []),
            ({"tag": "eu", "limit": 1}, [two]),
            ({"tag": "eu", "before_id": two}, [one]),
            ({"tag": "eu", "recipient": "example.org"}, [two]),
        ):
            self.assertEqual(await self.found(**wanted), expected, wanted)
        found = await self.history.message(1, one)
        assert found is not None
        self.assertEqual(found.message.tags, ("welcome", "eu"))

    async def test_summaries(self) -> None:
        """The first recipient, and how many stand where, as the entries of the message say."""
        await self.sent(2)
        plain = (await self.sent()).message.id
        new = new_message(self.queue, 3, message={"account_id": 1}, epoch=self.queue.epoch)
        await self.queue.add(new)
        await self.delivered(new.entries[0])
        named, other = await self.history.summaries(1, MessageQuery())
        self.assertEqual((named.message.id, other.message.id), (new.message.id, plain))
        self.assertEqual(named.first, str(new.entries[0].told_as))
        self.assertEqual(other.first, "r@example.net")
        [whole, _] = await self.history.messages(1, MessageQuery())
        self.assertEqual(dict(named.states), Counter(map(state_word, whole.entries)))
        self.assertEqual(dict(named.states)["delivered"], 1)
        self.assertEqual((named.recipients, other.recipients), (3, 1))
        self.assertEqual(await self.history.summaries(3, MessageQuery()), [])

    async def test_one(self) -> None:
        """A message with its entries and an entry, for its account alone."""
        new = await self.sent()
        found = await self.history.message(1, new.message.id)
        assert found is not None
        [view] = found.entries
        self.assertEqual((found.message, view.entry.state), (new.message, EntryState.READY))
        self.assertEqual(await self.history.entry(1, view.entry.id), view)
        self.assertIsNone(await self.history.message(2, new.message.id))
        self.assertIsNone(await self.history.entry(2, view.entry.id))
        self.assertIsNone(await self.history.timeline(2, new.message.id))

    async def test_timeline(self) -> None:
        """Events in order, and calls with their attempts."""
        new = await self.sent()
        await self.delivered(new.entries[0])
        [call] = await self.calls.claim_due(500.0, 10, [])
        await self.calls.begin(call, 900.0)
        made = CallAttempt(500.0, 0.5, False, 503, "answered 503, not 200", "busy")
        await self.calls.finish(FinishedCall(call, made, 900.0))
        found = await self.history.timeline(1, new.message.id)
        assert found is not None
        kinds = [event.kind.value for event in found.events]
        self.assertEqual(kinds, ["accepted", "delivered"])
        [told] = found.calls
        self.assertEqual((told.event, told.is_over, told.attempts), ("delivered", False, [made]))

    async def test_events(self) -> None:
        """Behind a cursor, in commit order, of one account, of the kinds that are asked for."""
        first = await self.sent()
        await self.sent(2)
        await self.delivered(first.entries[0])
        events = await self.history.events(1, 0, 10, [])
        self.assertEqual([event.kind.value for event in events], ["accepted", "delivered"])
        after = events[0].position
        self.assertEqual(await self.history.events(1, after, 10, []), events[1:])
        self.assertEqual(await self.history.events(1, 0, 1, []), events[:1])
        self.assertEqual(await self.history.events(1, 0, 10, ["delivered"]), events[1:])
        self.assertEqual(await self.history.events(1, events[1].position, 10, []), [])

    async def test_follow(self) -> None:
        """So many events are looked at, and what is wanted of them is told with the position."""
        first = await self.sent(tags=("welcome", "a b"))
        await self.sent(2, tags=("welcome",))
        await self.sent()
        await self.delivered(first.entries[0])
        everything = await self.history.events(1, 0, 10, [])
        one, two, three = (event.position for event in everything)
        for after, limit, wanted, found, position in (
            (0, 10, EventFilter(), [one, two, three], three),
            (0, 2, EventFilter(), [one, two], two),
            (two, 2, EventFilter(), [three], three),
            (three, 2, EventFilter(), [], three),
            (0, 2, EventFilter(["delivered"]), [], two),
            (two, 2, EventFilter(["delivered"]), [three], three),
            (0, 10, EventFilter(tag="welcome"), [one, three], three),
            (0, 10, EventFilter(tag="a"), [], three),
            (0, 10, EventFilter(["accepted"], "a b"), [one], three),
        ):
            read = await self.history.follow(1, after, limit, wanted)
            self.assertEqual([event.position for event in read.events], found, wanted)
            self.assertEqual(read.position, position, wanted)
        read = await self.history.follow(1, 0, 10, EventFilter())
        self.assertEqual(read.events, everything)
        self.assertEqual(await self.history.newest(1), three)
        self.assertEqual(await self.history.newest(3), 0)


class SQLiteTests(HistoryContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine

    async def test_words(self) -> None:
        """Parts of the sender and the subject, in either case, of one's own messages."""
        first = await self.sent(subject="The Bill 100%", reverse_path=Address("ann", "x.example"))
        second = await self.sent(subject="bills", reverse_path=None)
        await self.sent(2, subject="bill")
        one, two = first.message.id, second.message.id
        for wanted, expected in (
            ({"subject": "BILL"}, [two, one]),
            ({"subject": "0%"}, [one]),
            ({"subject": "_"}, []),
            ({"sender": "ann@"}, [one]),
            ({"sender": "ann", "subject": "bills"}, []),
            ({"subject": "bill", "before_id": two}, [one]),
        ):
            self.assertEqual(await self.found(**wanted), expected, wanted)

    async def test_only_the_newest_are_looked_through(self) -> None:
        """For words, so many of the time that is asked for."""
        self.patch(history, "LOOKED_AT", 1)
        ids = [(await self.sent(subject="x", received_at=at)).message.id for at in (10.0, 20.0)]
        self.assertEqual(await self.found(subject="x"), ids[1:])
        self.assertEqual(await self.found(subject="x", until=20.0), ids[:1])
        self.assertEqual(await self.found(subject="x", before_id=ids[1]), ids[:1])

    async def test_parts_of_a_timeline(self) -> None:
        """Page by page nothing is left out or told twice; of one recipient, what concerns it."""
        new = new_message(self.queue, 3, message={"account_id": 1}, epoch=self.queue.epoch)
        await self.queue.add(new)
        for entry in new.entries:
            await self.delivered(entry)
        id_ = new.message.id
        whole = await self.history.timeline(1, id_)
        assert whole is not None
        self.assertEqual((len(whole.events), len(whole.calls), whole.next_after), (3, 3, None))
        self.assertEqual({call.payload for call in whole.calls}, {b""})
        events: list[Event] = []
        calls: list[int] = []
        after = 0
        for count in (2, 1):
            part = await self.history.timeline(1, id_, TimelinePart(after=after, limit=2))
            assert part is not None
            self.assertEqual(len(part.events), count)
            events += part.events
            calls += [call.id for call in part.calls]
            after = part.next_after or 0
        self.assertEqual(events, list(whole.events))
        self.assertEqual(sorted(calls), [call.id for call in whole.calls])
        entry_id = new.entries[1].id
        own = await self.history.timeline(1, id_, TimelinePart(entry_id, limit=100))
        assert own is not None
        self.assertEqual([event.entry_id for event in own.events], [entry_id])
        [call] = own.calls
        self.assertEqual(call.entry_id, entry_id)
        self.assertIn(b"delivered", call.payload)
        self.assertIsNone(await self.history.timeline(2, id_, TimelinePart(entry_id)))

    async def test_nothing_of_others_is_looked_at(self) -> None:
        """An account's pages cost what the account has, however much everybody else has."""
        for query in (
            "SELECT * FROM event WHERE account_id = 1 AND position > 5 ORDER BY position LIMIT 9",
            "SELECT * FROM message WHERE account_id = 1 AND id < 9 ORDER BY id DESC LIMIT 9",
        ):
            with self.history.database.engine.connect() as connection:
                plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all())
            self.assertIn("_of_account (account_id=? AND", plan)
            self.assertNotIn("TEMP B-TREE", plan)

    async def test_a_tag_is_looked_up(self) -> None:
        """A page of a tag's messages is read along the index of tags, from where it begins."""
        query = messages_query(1, MessageQuery(tag="eu", before_id=7))
        with self.history.database.engine.connect() as connection:
            text = query.compile(connection, compile_kwargs={"literal_binds": True})
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
        self.assertIn(
            "SEARCH message_tag USING COVERING INDEX sqlite_autoindex_message_tag_1"
            " (account_id=? AND tag=? AND message_id<?)",
            plan,
        )
        self.assertNotIn("TEMP B-TREE", plan)


class PostgresTests(HistoryContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
