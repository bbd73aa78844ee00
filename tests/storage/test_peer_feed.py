"""What peers tell, recorded: on every database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from twisted.trial.unittest import TestCase

from mailrelay.control.peer_feed import PeerFeedState, PeerNews, Recorded
from mailrelay.control.peer_requests import OPEN_FOR, Answered, PeerRequest, Told
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Entry
from mailrelay.queue.settle import AWAITED_FOR
from mailrelay.storage import tables
from mailrelay.storage.peer_feed import DatabasePeerFeed
from mailrelay.storage.peer_requests import DatabasePeerRequests
from mailrelay.storage.sent import DatabaseSentEntries
from tests.storage.calling import Calling
from tests.storage.databases import OnPostgres, OnSQLite

HUB = 7
KEPT = 1000.0
REFUSED: dict[str, Any] = {
    "code": 550,
    "status": "5.1.1",
    "reply": "no",
    "answered": True,
    "attempt": 1,
}
DELIVERED, FAILED = EventKind.DELIVERED, EventKind.FAILED
HANDED_OVER, DELAYED = EventKind.HANDED_OVER, EventKind.DELAYED


def news(
    position: int, kind: EventKind, key: str = "k", to: str = "r@example.net", **data: Any
) -> PeerNews:
    """What the peer tells of the recipient."""
    return PeerNews(position, key, to, kind, {"peer": "hub", **data})


class PeerFeedContract(Calling):
    """PeerFeedStore."""

    def setUp(self) -> None:
        """A peer that has told nothing yet."""
        super().setUp()
        self.committed: list[NewEvent] = []
        self.requests = DatabasePeerRequests(self.database, self.queue.new_id)
        self.feed = DatabasePeerFeed(self.database, self.committed.extend, lambda names: None)

    async def requested(self, *entries: Entry, key: str = "k") -> None:
        """A request of entries, not answered yet."""
        recipients = {one.id: str(one.recipient) for one in entries}
        message = entries[0].message.id
        await self.requests.add(PeerRequest(HUB, key, message, recipients, b"{}\n", 10.0))

    async def handed_over(self, *entries: Entry, key: str = "k") -> None:
        """A request of entries that the peer took."""
        await self.requested(*entries, key=key)
        results = {one.id: Told("queued") for one in entries}
        await self.requests.answered(Answered(HUB, key, 20.0, "q1", results))
        for one in entries:
            self.assertTrue(await self.ended(one, HANDED_OVER))

    async def record(self, *told: PeerNews, position: int = 0, at: float = 300.0) -> Recorded:
        """Take it in."""
        last = max([position, *(one.position for one in told)])
        return await self.feed.record(HUB, told, last, at, lambda account_id: KEPT)

    def rows(self, table: str) -> Sequence[Any]:
        """All of a table."""
        found = tables.metadata.tables[table]
        return self.successResultOf(self.database.read(lambda c: c.execute(select(found)).all()))

    def history(self, entry: Entry) -> list[str]:
        """The kinds of an entry's events, in order."""
        return [one.kind for one in self.rows("event") if one.entry_id == entry.id]

    def row(self, entry: Entry) -> Any:
        """The entry's row."""
        return next(one for one in self.rows("entry") if one.id == entry.id)

    async def test_delivered(self) -> None:
        """The end is an event, the entry's outcome, a call; and the request is over."""
        entry = await self.entry()
        await self.handed_over(entry)
        before = self.row(entry)
        state = await self.feed.state(HUB, 300.0)
        self.assertEqual(state, PeerFeedState(0, is_awaited=True))
        recorded = await self.record(news(5, DELIVERED, code=250, attempt=1), position=9)
        self.assertEqual((recorded.position, list(recorded.events)), (9, self.committed))
        self.assertEqual(self.history(entry), ["handed_over", "delivered"])
        row = self.row(entry)
        self.assertEqual((row.outcome, row.keep_until), ("delivered", 300.0 + KEPT))
        self.assertEqual(row.attempts, before.attempts + 1)
        self.assertEqual([one.event for one in self.rows("call")], ["delivered"])
        self.assertEqual(await self.feed.state(HUB, 300.0), PeerFeedState(9, is_awaited=False))

    async def test_over(self) -> None:
        """A request is over with the last of its recipients; others are not, told together."""
        first, second = [await self.entry(recipient=f"{one}@example.net") for one in "ab"]
        await self.handed_over(first, second)
        await self.handed_over(other := await self.entry(recipient="c@example.net"), key="o")
        told = [
            news(at, DELIVERED, key, str(one.recipient))
            for at, key, one in ((5, "k", first), (6, "o", other), (7, "k", second))
        ]
        await self.record(*told[:2])
        self.assertEqual([one.key for one in await self.feed.open_requests(HUB, 300.0, 10)], ["k"])
        await self.record(told[2])
        self.assertEqual(await self.feed.open_requests(HUB, 300.0, 10), [])

    async def test_once(self) -> None:
        """What was taken in before is passed over, whatever page it comes in."""
        entry = await self.entry()
        await self.handed_over(entry)
        await self.record(news(5, DELAYED))
        await self.record(news(5, DELAYED), news(6, DELAYED))
        recorded = await self.record(news(4, DELAYED))
        self.assertEqual((recorded.position, recorded.events), (6, []))
        self.assertEqual(self.history(entry), ["handed_over", "delayed", "delayed"])
        self.assertEqual(self.row(entry).outcome, "handed_over")
        self.assertEqual(self.row(entry).keep_until, 300.0 + KEPT + AWAITED_FOR)

    async def test_suppressing(self) -> None:
        """A refusal that says that the mailbox is not there has its consequence, as ours would."""
        entry = await self.entry()
        await self.handed_over(entry)
        recorded = await self.record(news(5, FAILED, **REFUSED))
        self.assertTrue(recorded.events[0].data["suppressing"])
        self.assertEqual([one.base_address for one in self.rows("suppression")], ["r@example.net"])

    async def test_before_the_answer(self) -> None:
        """Who tells of it has it: an entry that we still have is retired, and its claim is void."""
        for key, kind in (("k", DELIVERED), ("k2", DELAYED)):
            entry = await self.entry()
            await self.requested(entry, key=key)
            position = (await self.feed.state(HUB, 300.0)).position + 1
            await self.record(news(position, kind, key=key))
            self.assertEqual(self.history(entry), ["handed_over", kind.value])
            self.assertEqual((self.row(entry).node_id, self.row(entry).epoch), (0, 0))
            self.assertFalse(await self.ended(entry, FAILED))
            row = self.row(entry)
            outcome = "delivered" if kind is DELIVERED else "handed_over"
            self.assertEqual((row.state, row.outcome), (2, outcome))
        self.assertEqual(self.rows("content"), [])

    async def test_end_before_the_answer(self) -> None:
        """What ended before the answer was noted is not awaited; others of the request are."""
        for kind, others, awaited in (
            (DELIVERED, (), []),
            (FAILED, (), []),
            (DELAYED, (), ["q"]),
            (DELIVERED, (Told("queued"),), ["q"]),
            (DELIVERED, (Told("rejected", 450, "no"),), []),
        ):
            names = "abc"[: 1 + len(others)]
            entries = [await self.entry(recipient=f"{one}@example.net") for one in names]
            key = f"k{entries[0].id}"
            await self.requested(*entries, key=key)
            await self.record(news(0, kind, key, "a@example.net"))
            results = zip(entries, (Told("queued"), *others), strict=True)
            told = {entry.id: one for entry, one in results}
            dropped = await self.requests.answered(Answered(HUB, key, 20.0, "q", told))
            self.assertEqual(dropped, [], kind)
            found = [
                one.relay_id
                for one in await self.feed.open_requests(HUB, 300.0, 10)
                if one.key == key
            ]
            self.assertEqual(found, awaited, (kind, others))

    async def test_rejected_beside(self) -> None:
        """Whom the peer did not take is awaited under no key of this request."""
        entries = [await self.entry(recipient=f"{one}@example.net") for one in "ab"]
        await self.requested(*entries)
        told = {entries[0].id: Told("queued"), entries[1].id: Told("rejected", 450, "not now")}
        await self.requests.answered(Answered(HUB, "k", 20.0, "q", told))
        await self.ended(entries[0], HANDED_OVER)
        await self.record(news(5, DELIVERED, to="a@example.net"))
        self.assertEqual(await self.feed.state(HUB, 300.0), PeerFeedState(5, is_awaited=False))

    async def test_dsn_afterwards(self) -> None:
        """Who sent it is known by how it ended, once the peer has told."""
        sent = DatabaseSentEntries(self.database)
        entry = await self.entry()
        await self.handed_over(entry)
        await self.record(news(1, FAILED))
        found = await sent.by_from_id(1, "abc")
        assert found is not None
        self.assertEqual((found.entry_id, found.ended_as), (entry.id, "failed"))

    async def test_known_end(self) -> None:
        """A DSN that came before makes the peer's word no second event, and the other way round."""
        entry = await self.entry()
        await self.handed_over(entry)
        await self.record(news(1, FAILED, dsn=True))
        await self.record(news(2, FAILED, **REFUSED))
        self.assertEqual(self.history(entry), ["handed_over", "failed"])
        entry = await self.entry()
        await self.handed_over(entry, key="k2")
        await self.record(news(3, DELIVERED, "k2"), news(4, DELIVERED, "k2"))
        await self.record(news(5, DELIVERED, "k2", dsn=True))
        await self.record(news(6, DELIVERED, "k2", dsn=True), news(7, FAILED, "k2", dsn=True))
        expected = ["handed_over", "delivered", "delivered", "failed"]
        self.assertEqual(self.history(entry), expected)
        self.assertEqual(self.row(entry).outcome, "failed")

    async def test_delivered_at_once(self) -> None:
        """Into the peer's own mailbox: there was nothing to relay, so it is no DSN's."""
        entry = await self.entry()
        await self.handed_over(entry)
        recorded = await self.record(news(1, DELIVERED, dsn=True))
        self.assertNotIn("dsn", recorded.events[0].data)

    async def test_nothing_of_ours(self) -> None:
        """Unknown keys and recipients, and another peer's requests, are passed over."""
        entry = await self.entry()
        await self.handed_over(entry)
        told = (news(1, FAILED, "x"), news(2, FAILED, to="s@example.net"))
        self.assertEqual((await self.record(*told)).position, 2)
        await self.feed.record(HUB + 1, [news(3, FAILED)], 3, 300.0, lambda account_id: KEPT)
        self.assertEqual(self.history(entry), ["handed_over"])

    async def test_case(self) -> None:
        """A recipient is known by its exact spelling, or by any when there is no other."""
        upper = await self.entry(recipient="R@example.net")
        lower = await self.entry(recipient="r@example.net")
        await self.handed_over(upper, lower)
        await self.record(news(1, DELIVERED, to="R@example.net"))
        self.assertEqual((len(self.history(upper)), len(self.history(lower))), (2, 1))
        other = await self.entry(recipient="Joe@example.net")
        await self.handed_over(other, key="k2")
        await self.record(news(2, DELIVERED, "k2", to="joe@example.net"))
        self.assertEqual(len(self.history(other)), 2)

    async def test_open_requests(self) -> None:
        """Those that the peer has more to tell of; after two weeks, nothing is awaited."""
        first, second = await self.entry(), await self.entry()
        await self.handed_over(first)
        await self.handed_over(second, key="k2")
        await self.record(news(1, DELIVERED))
        [open_] = await self.feed.open_requests(HUB, 300.0, 10)
        self.assertEqual((open_.key, open_.relay_id), ("k2", "q1"))
        self.assertEqual(await self.feed.open_requests(HUB, 21.0 + OPEN_FOR, 10), [])

    async def test_nothing_more(self) -> None:
        """Of what was waited for in vain it is said so, once; what is told then is its end yet."""
        entry, other, waited_for = [await self.entry() for _ in range(3)]
        await self.handed_over(entry)
        await self.handed_over(other, key="k2")
        await self.record(news(1, DELIVERED, "k2"))
        await self.requested(waited_for, key="k3")
        results = {waited_for.id: Told("queued")}
        await self.requests.answered(Answered(HUB, "k3", 20.0, "q", results, OPEN_FOR + 9.0))
        self.assertTrue(await self.ended(waited_for, HANDED_OVER))
        self.assertEqual(await self.feed.expire(19.0 + OPEN_FOR, 10), 0)
        self.assertEqual(await self.feed.expire(20.0 + OPEN_FOR, 10), 1)
        self.assertEqual(await self.feed.expire(20.0 + OPEN_FOR, 10), 0)
        self.assertEqual(self.history(entry), ["handed_over", "unknown"])
        self.assertEqual(self.row(entry).outcome, "unknown")
        self.assertEqual(self.committed[-1].data["recipient"], str(entry.recipient))
        self.assertEqual(self.row(waited_for).outcome, "handed_over")
        self.assertFalse(any(one.event == "unknown" for one in self.rows("call")))
        await self.record(news(2, FAILED, **REFUSED))
        self.assertEqual(self.row(entry).outcome, "failed")

    async def test_no_bounce(self) -> None:
        """That nothing came back is told once, and is no other end."""
        entry = await self.entry()
        await self.handed_over(entry)
        await self.record(news(1, DELIVERED), news(2, EventKind.NO_BOUNCE))
        await self.record(news(3, EventKind.NO_BOUNCE))
        self.assertEqual(self.history(entry), ["handed_over", "delivered", "no_bounce"])
        self.assertEqual(self.row(entry).outcome, "delivered")

    async def test_suppressed_there(self) -> None:
        """Who is on the peer's list comes on the account's; running servers see, peers do not."""
        entry = await self.entry()
        await self.handed_over(entry)
        for position in (1, 2):
            await self.record(PeerNews(position, "k", "r@example.net", None, {"peer": "hub"}))
        [one] = self.rows("suppression")
        self.assertEqual((one.account_id, one.base_address), (entry.account_id, "r@example.net"))
        self.assertEqual(one.reason, "hub: suppressed there")
        self.assertEqual([row.kind for row in self.rows("change")].count("suppressed"), 1)
        self.assertEqual(self.rows("peer_suppression"), [])
        self.assertEqual(self.history(entry), ["handed_over"])

    async def test_sweep(self) -> None:
        """What is over goes two weeks later; what nobody has an entry of, at once."""
        entry, other = await self.entry(), await self.entry()
        await self.handed_over(entry)
        await self.handed_over(other, key="k2")
        await self.record(news(1, DELIVERED))
        await self.requests.add(PeerRequest(HUB, "k3", 10**9, {1: "x"}, b"", 10.0))
        self.assertEqual(await self.feed.sweep(400.0, 10), 1)
        self.assertEqual(await self.feed.sweep(100.0 + OPEN_FOR, 10), 2)
        self.assertEqual(self.rows("peer_request"), [])


class SQLiteTests(PeerFeedContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(PeerFeedContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
