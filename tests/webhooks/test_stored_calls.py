"""Calls over virtual time with the real store: every event told, in order, until it is taken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import insert, select
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Entry
from mailrelay.storage import tables
from mailrelay.storage.calls import DatabaseCallStore
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import insert_events
from mailrelay.webhooks.delivery import CallScheduler, CallSurroundings
from mailrelay.webhooks.schedule import MOX_WAITS
from tests.storage.calling import URL, Calling
from tests.storage.databases import OnSQLite

OTHER = "https://other.example.org/out"
BEGIN = 1_800_000_000.0
HOUR = 3600.0


@define
class Receivers:
    """A Poster: answers by status, ``0`` is none and ``-1`` a receiver that hangs."""

    clock: Clock
    answers: dict[str, Any] = field(factory=dict)  # a status, or what makes one
    made: list[tuple[float, str, int]] = field(factory=list)  # when, where, which call
    hanging: list[Deferred[HTTPAnswer]] = field(factory=list)
    open: Counter[str] = field(factory=Counter)
    most_open: int = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See Poster."""
        self.made.append((self.clock.seconds(), url, int(headers["X-Mox-Webhook-Id"])))
        self.open[url] += 1
        self.most_open = max(self.most_open, self.open[url])
        try:
            return await self._answer(url)
        finally:
            self.open[url] -= 1

    async def _answer(self, url: str) -> HTTPAnswer:
        status = self.answers.get(url, 200)
        status = status() if callable(status) else status
        if status == -1:
            waiting: Deferred[HTTPAnswer] = Deferred()
            self.hanging.append(waiting)
            return await waiting
        if not status:
            raise CallFailed("the connection was closed")
        return HTTPAnswer(status, {}, b"", True)

    def ids(self, url: str = URL) -> Sequence[int]:
        """The calls that were made there, in order."""
        return [id_ for _, there, id_ in self.made if there == url]


class StoredCallTests(Calling, OnSQLite, TestCase):
    """CallScheduler over DatabaseCallStore."""

    make_engine = OnSQLite.make_engine

    def setUp(self) -> None:
        """A third account has a webhook of its own."""
        super().setUp()
        with self.database.engine.begin() as connection:
            self.add_account(connection, 3, OTHER)
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.receivers = Receivers(self.clock)
        self.scheduler = self.started(self.calls)

    def started(self, store: DatabaseCallStore) -> CallScheduler:
        """A scheduler, running."""
        scheduler = CallScheduler(
            CallSurroundings(
                clock=self.clock,
                now=self.clock.seconds,
                random=Random(1),
                store=store,
                poster=self.receivers,
                kept_for=lambda account_id: 100 * HOUR,
                user_agent="mailrelay/1 (webhook)",
            )
        )
        scheduler.startService()
        return scheduler

    def happens(self, entry: Entry, kind: EventKind, **data: object) -> int:
        """Record an event, as an outcome's transaction does; its call."""
        known = {"recipient": str(entry.recipient), **data}
        now = self.clock.seconds()
        event = NewEvent(kind, now, entry.message.id, entry.id, entry.message.account_id, known)
        with self.database.engine.begin() as connection:
            insert_events(connection, [event])
        self.scheduler.wake()
        self.clock.advance(0)
        return int(self.rows()[-1].id)

    def rows(self) -> Sequence[Any]:
        """All calls."""
        with self.database.engine.connect() as connection:
            return connection.execute(select(tables.call).order_by(tables.call.c.id)).all()

    def row(self, id_: int) -> Any:
        """One of them."""
        return next(row for row in self.rows() if row.id == id_)

    def attempts(self, id_: int) -> Sequence[Any]:
        """What was recorded of a call's attempts."""
        tried = tables.call_attempt
        with self.database.engine.connect() as connection:
            wanted = select(tried).where(tried.c.call_id == id_).order_by(tried.c.id)
            return connection.execute(wanted).all()

    def run_for(self, seconds: float, step: float = 10.0) -> None:
        """Let time pass."""
        for _ in range(int(seconds // step) + 1):
            self.clock.advance(step)

    async def test_every_attempt_fails(self) -> None:
        """Twelve attempts at their times, each recorded with its answer; then it is over."""
        statuses = [0, 204, 302, 410, 429, 500, 503, 201, 0, 404, 500, 502]
        left = iter(statuses)
        self.receivers.answers[URL] = lambda: next(left)
        call = self.happens(await self.entry(), EventKind.DELIVERED)
        self.run_for(34 * HOUR, 30.0)
        at = BEGIN
        for (made_at, _, _), wait in zip(self.receivers.made, (0.0, *MOX_WAITS), strict=True):
            self.assertTrue(at + wait * 0.99 <= made_at <= at + wait * 1.01 + 30.0, made_at - at)
            at = made_at
        tried = self.attempts(call)
        self.assertEqual([attempt.code for attempt in tried], statuses)
        self.assertEqual({bool(attempt.is_success) for attempt in tried}, {False})
        self.assertEqual(tried[0].error, "the connection was closed")
        row = self.row(call)
        self.assertEqual((row.state, row.is_success, row.attempts), (2, False, 12))
        self.assertEqual(row.keep_until, at + 100 * HOUR)

    async def test_order(self) -> None:
        """A receiver that hangs holds up its own calls, which come in order, and no others."""
        self.receivers.answers[URL] = -1
        calls = [self.happens(await self.entry(), EventKind.DELIVERED) for _ in range(3)]
        self.happens(await self.entry(3), EventKind.DELIVERED)
        self.assertEqual(self.receivers.ids(), calls[:1])
        self.assertEqual(len(self.receivers.ids(OTHER)), 1)
        self.receivers.answers[URL] = 200
        self.receivers.hanging.pop().callback(HTTPAnswer(500, {}, b"", True))
        self.run_for(70, 1.0)
        first, *rest = calls
        self.assertEqual(self.receivers.ids(), [first, *rest, first])
        self.assertEqual(self.receivers.most_open, 1)
        self.assertEqual([row.is_success for row in self.rows()], [True] * 4)

    async def test_superseded_while_it_waits(self) -> None:
        """The newer event is told, and the older call is never made again."""
        self.receivers.answers[URL] = 500
        entry = await self.entry()
        older = self.happens(entry, EventKind.DELAYED, code=451)
        self.run_for(30)
        self.receivers.answers[URL] = 200
        newer = self.happens(entry, EventKind.DELIVERED)
        self.run_for(34 * HOUR, 60.0)
        self.assertEqual(self.receivers.ids(), [older, newer])
        row = self.row(older)
        self.assertEqual((row.state, row.superseded_by, row.is_success), (2, newer, False))
        self.assertEqual([one.code for one in self.attempts(older)], [500])

    async def test_superseded_in_flight(self) -> None:
        """Its attempt is recorded, the newer call is made after it, and it is not made again."""
        self.receivers.answers[URL] = -1
        entry = await self.entry()
        older = self.happens(entry, EventKind.DELAYED, code=451)
        newer = self.happens(entry, EventKind.FAILED, code=550)
        self.assertEqual(self.receivers.ids(), [older])
        self.receivers.answers[URL] = 200
        self.receivers.hanging.pop().callback(HTTPAnswer(500, {}, b"", True))
        self.run_for(HOUR)
        self.assertEqual(self.receivers.ids(), [older, newer])
        self.assertEqual(self.row(older).superseded_by, newer)
        self.assertEqual([one.code for one in self.attempts(older)], [500])
        self.assertTrue(self.row(newer).is_success)

    async def test_crash_in_flight(self) -> None:
        """What was under way is called again, with its next number, not before its time."""
        self.receivers.answers[URL] = -1
        call = self.happens(await self.entry(), EventKind.DELIVERED)
        self.clock = self.receivers.clock = Clock()  # nothing of the first life goes on
        self.clock.advance(BEGIN + 1)
        with self.database.engine.begin() as connection:
            node = register(connection, "main")
        self.receivers.answers[URL] = 200
        self.scheduler = self.started(DatabaseCallStore(self.database, node))
        self.run_for(50, 1.0)
        self.assertEqual(self.receivers.ids(), [call])
        self.run_for(20, 1.0)
        self.assertEqual(self.receivers.ids(), [call, call])
        self.receivers.hanging.pop().callback(HTTPAnswer(500, {}, b"", True))  # of a lost claim
        row = self.row(call)
        self.assertEqual((row.is_success, row.attempts), (True, 2))
        self.assertEqual([one.code for one in self.attempts(call)], [200])

    async def test_whatever_is_answered(self) -> None:
        """Any receiver: each event told or given up after twelve, one at a time, none twice."""
        random = Random(4)
        for url in (URL, OTHER):
            self.receivers.answers[url] = lambda: random.choice([200, 200, 500, 302, 0, 429])
        entries = [await self.entry(random.choice([1, 3])) for _ in range(30)]
        for _ in range(150):
            kind = random.choice([EventKind.DELAYED, EventKind.DELAYED, EventKind.FAILED])
            self.happens(random.choice(entries), kind, code=451)
            self.run_for(random.random() * 300, 30.0)
        self.add_incoming(20)
        self.run_for(34 * HOUR, 60.0)
        rows = self.rows()
        self.assertEqual(len(rows), 170)
        self.assertGreater(sum(row.superseded_by is not None for row in rows), 10)
        made = Counter(id_ for _, _, id_ in self.receivers.made)
        for row in rows:
            tried = self.attempts(row.id)
            self.assertEqual((row.state, row.attempts), (2, len(tried)), row)
            self.assertEqual(made[row.id], len(tried))
            if row.superseded_by is not None:
                newer = self.row(row.superseded_by)
                self.assertTrue(newer.id > row.id and newer.entry_id == row.entry_id is not None)
                continue
            self.assertTrue(tried[-1].is_success or len(tried) == 12, row)
        self.assertEqual(self.receivers.most_open, 1)

    def add_incoming(self, count: int) -> None:
        """Calls of incoming messages, of no entry."""
        now = self.clock.seconds()
        newest = self.rows()[-1]
        values = {**newest._mapping, "event": "incoming", "entry_id": None, "state": 0}
        values |= {"attempts": 0, "node_id": 0, "epoch": 0, "superseded_by": None}
        values |= {"is_success": None, "keep_until": None, "next_attempt_at": now}
        values |= {"payload": json.dumps({}).encode()}
        with self.database.engine.begin() as connection:
            for number in range(1, count + 1):
                given = {**values, "id": newest.id + number}
                connection.execute(insert(tables.call).values(given))
        self.scheduler.wake()
