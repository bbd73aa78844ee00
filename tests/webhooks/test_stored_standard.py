"""Calls to a standard endpoint over virtual time with the real store, whatever is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import select
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailrelay.control.endpoints import EndpointControl, EndpointFields
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.storage import tables
from mailrelay.storage.endpoints import DatabaseEndpointRecords, load_endpoints
from mailrelay.storage.queue import insert_events
from mailrelay.webhooks.delivery import TIMEOUT, CallScheduler, CallSurroundings
from mailrelay.webhooks.endpoint import StandardEndpoint
from tests.integration.receiver import Received, payloads_of
from tests.storage.calling import Calling
from tests.storage.databases import OnSQLite

URL = "https://app.example.org/hook"
HOUR = 3600.0


@define
class Moody:
    """A Poster that answers each request as chance has it."""

    clock: Clock
    random: Random
    moods: tuple[int, ...]
    taken: Counter[int] = field(factory=Counter)
    requests: int = 0
    open: int = 0
    most_open: int = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See Poster."""
        self.requests += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._answer(headers, body)
        finally:
            self.open -= 1

    async def _answer(self, headers: Mapping[str, str], body: bytes) -> HTTPAnswer:
        mood = self.random.choice(self.moods)
        waiting: Deferred[None] = Deferred()
        if mood:
            self.clock.callLater(self.random.random() * 5, waiting.callback, None)
        try:
            await waiting.addTimeout(TIMEOUT, self.clock)
        except TimeoutError:
            raise CallFailed("no answer in time") from None
        if 200 <= mood < 300:
            named = {name.title(): value for name, value in headers.items()}
            self.taken.update(list(payloads_of(Received("/", named, body))))
        more = {429: {"retry-after": "700"}, 302: {"location": URL}}
        return HTTPAnswer(mood, more.get(mood, {}), b"", True)


@define
class Stored:
    """Endpoints, read from the store each time."""

    records: DatabaseEndpointRecords

    def get(self, endpoint_id: int, account_id: int) -> StandardEndpoint | None:
        """See Endpoints."""
        with self.records.database.engine.connect() as connection:
            return load_endpoints(connection).get(endpoint_id)

    def read_again(self) -> Deferred[object]:
        """See Endpoints."""
        return self.records.database.read(lambda c: None)

    def disable(self, endpoint: StandardEndpoint, because: str) -> Deferred[object]:
        """See Endpoints."""
        disabled: Deferred[Any] = self.records.disable(endpoint, because)
        return disabled


class StoredStandardTests(Calling, OnSQLite, TestCase):
    """CallScheduler over DatabaseCallStore, and an endpoint."""

    make_engine = OnSQLite.make_engine

    async def begin(self, *moods: int, **fields: Any) -> None:
        """A scheduler that runs, and sixty events that wait."""
        self.clock = Clock()
        self.clock.advance(1_800_000_000.0)
        self.receiver = Moody(self.clock, Random(7), moods)
        records = DatabaseEndpointRecords(self.database, self.clock.seconds)
        control = EndpointControl(records, lambda: bytes(16), self.clock.seconds, "x")
        await control.add("a2", EndpointFields(name="app", url=URL, **fields))
        scheduler = CallScheduler(
            CallSurroundings(
                clock=self.clock,
                now=self.clock.seconds,
                random=Random(1),
                store=self.calls,
                poster=self.receiver,
                kept_for=lambda account_id: 100 * HOUR,
                user_agent="mailrelay/1 (webhook)",
                endpoints=Stored(records),
            )
        )
        now = self.clock.seconds()
        entries = [await self.entry(2) for _ in range(60)]
        events = [
            NewEvent(EventKind.DELIVERED, now, e.message.id, e.id, 2, {"attempt": 1})
            for e in entries
        ]
        await self.database.write(lambda c: insert_events(c, events))
        scheduler.startService()

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.pump([5.0] * int(seconds // 5))

    def rows(self) -> list[Any]:
        """The calls."""
        with self.database.engine.connect() as connection:
            return list(connection.execute(select(tables.call)))

    async def test_moody(self) -> None:
        """Hanging, redirects, 429 and 500 now and then: each event is taken in the end, once."""
        await self.begin(200, 204, 0, 302, 429, 500, most_together=7, most_at_once=4)
        self.run_for(20 * HOUR)
        rows = self.rows()
        self.assertEqual({(row.state, row.is_success) for row in rows}, {(2, True)})
        self.assertEqual(self.receiver.taken, Counter({row.id: 1 for row in rows}))
        self.assertEqual(len(rows), 60)
        self.assertEqual(self.receiver.most_open, 4)
        self.assertGreater(max(row.attempts for row in rows), 2)

    async def test_gone(self) -> None:
        """410: what waits is retired with the reason, and nobody is called any more."""
        await self.begin(410, most_at_once=2)
        self.run_for(HOUR)
        self.assertLessEqual(self.receiver.requests, 4)
        rows = self.rows()
        self.assertEqual({(row.state, row.is_success) for row in rows}, {(2, False)})
        with self.database.engine.connect() as connection:
            errors = connection.execute(select(tables.call_attempt.c.error)).scalars().all()
        told = Counter(errors)
        self.assertEqual(told["answered 410, not 2xx"], self.receiver.requests)
        rest = told["the endpoint is disabled: it answered 410"]
        self.assertEqual(rest, 60 - self.receiver.requests)
