"""An account's calls, and what is called again, on every database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import select, update
from twisted.trial.unittest import TestCase

from mailrelay.control import replay
from mailrelay.control.calls import CallControl, CallFilter, call_word
from mailrelay.control.endpoints import EndpointControl, EndpointFields
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.replay import CallQuery, ReplayControl, ReplayRange, call_state
from mailrelay.control.standings import Standing, Standings
from mailrelay.observe.events import EventKind
from mailrelay.storage import tables
from mailrelay.storage.call_records import DatabaseCallRecords
from mailrelay.storage.endpoints import DatabaseEndpointRecords
from mailrelay.storage.replay import DatabaseReplayRecords
from mailrelay.webhooks.call import Call, CallAttempt, EndpointKind, FinishedCall
from mailrelay.webhooks.endpoint import ENTRY_EVENTS, StandardEndpoint
from tests.storage.calling import URL, Calling
from tests.storage.databases import OnPostgres, OnSQLite

HOOK = "https://app.example.org/hook"


class ReplayContract(Calling):
    """What is promised on every database.  Account 1 has a webhook of mox's kind."""

    def setUp(self) -> None:
        """Controls."""
        super().setUp()
        made = DatabaseEndpointRecords(self.database, lambda: 100.0)
        self.endpoints = EndpointControl(made, lambda: bytes(16), lambda: 100.0, "cli:x")
        replays = DatabaseReplayRecords(self.database)
        self.control = ReplayControl(replays, lambda: 5000.0, "api:x")

    async def endpoint(self, account: str = "a2", **fields: Any) -> StandardEndpoint:
        """An endpoint."""
        return await self.endpoints.add(account, EndpointFields(name="app", url=HOOK, **fields))

    async def due(self) -> Sequence[Call]:
        """The calls that are due, claimed."""
        return await self.calls.claim_due(9000.0, 500, [])

    async def taken(self, call: Call, *, is_success: bool = True) -> None:
        """Have a call end."""
        attempt = CallAttempt(300.0, 0.5, is_success, 200 if is_success else 500)
        await self.calls.finish(FinishedCall(call, attempt, None, 9999.0))

    async def delivered(self, account_id: int = 2, at: float = 200.0) -> int:
        """A message that is delivered; its entry."""
        entry = await self.entry(account_id)
        await self.ended(entry, EventKind.DELIVERED, {"code": 250, "attempt": 1}, at=at)
        return entry.id

    def everything(self, endpoint: StandardEndpoint) -> ReplayRange:
        """All that was."""
        return ReplayRange(endpoint.id, ENTRY_EVENTS, 0.0, 1e9)

    # Calls

    async def test_found(self) -> None:
        """Calls are found by what they are, newest first, by their account alone."""
        made = await self.endpoint()
        for at in (200.0, 300.0, 400.0):
            await self.delivered(at=at)
        first, second, third = await self.due()
        await self.taken(first)
        await self.taken(second, is_success=False)

        async def ids(account_id: int = 2, **wanted: Any) -> list[int]:
            return [one.id for one in await self.control.find(account_id, CallQuery(**wanted))]

        self.assertEqual(await ids(), [third.id, second.id, first.id])
        self.assertEqual(await ids(1), [])
        self.assertEqual(await ids(limit=1, before_id=third.id), [second.id])
        self.assertEqual(await ids(state="waiting"), [third.id])
        self.assertEqual(await ids(state="taken"), [first.id])
        self.assertEqual(await ids(state="failed"), [second.id])
        self.assertEqual(await ids(state="superseded"), [])
        self.assertEqual(await ids(event="failed"), [])
        self.assertEqual(await ids(since=300.0, until=400.0), [second.id])
        self.assertEqual(await ids(endpoint_id=made.id, event="delivered"), await ids())
        self.assertEqual(await ids(endpoint_id=made.id + 1), [])
        details = await self.control.details(2, second.id)
        self.assertEqual((call_state(details.call), details.payload), ("failed", second.payload))
        self.assertEqual([one.code for one in details.attempts], [500])
        with self.assertRaises(NoSuch):
            await self.control.details(1, second.id)

    async def test_superseded(self) -> None:
        """A superseded call of mox's kind is neither taken nor failed."""
        entry = await self.entry()
        await self.ended(entry, EventKind.DELAYED, {"code": 451, "attempt": 1})
        [again] = await self.queue.claim_due(300.0, 10, [])
        await self.ended(again, EventKind.DELIVERED, {"attempt": 2}, at=300.0)
        found = await self.control.find(1, CallQuery(state="superseded"))
        self.assertEqual([call_state(one) for one in found], ["superseded"])
        self.assertEqual(await self.control.find(1, CallQuery(state="failed")), [])

    async def test_canceled(self) -> None:
        """What an operator canceled did not fail; what was under way and taken, was taken."""
        await self.endpoint()
        for at in (200.0, 300.0):
            await self.delivered(at=at)
        first, second = await self.due()
        operator = CallControl(DatabaseCallRecords(self.database), lambda: 5000.0, "cli:x")
        await operator.cancel(CallFilter(ids=[first.id, second.id]))
        await self.taken(second)
        for state, ids in (("canceled", [first.id]), ("failed", []), ("taken", [second.id])):
            found = await self.control.find(2, CallQuery(state=state))
            self.assertEqual([one.id for one in found], ids, state)
            self.assertEqual({call_state(one) for one in found} - {state}, set())
        views = await operator.find(CallFilter(retired=True))
        self.assertEqual([call_word(one) for one in views], ["canceled", "delivered"])

    async def test_standings(self) -> None:
        """Since when an endpoint fails, when it took a call last, and what waits."""
        made = await self.endpoint()
        for at in (200.0, 300.0, 400.0, 500.0):
            await self.delivered(at=at)
        await self.delivered(1)

        async def stands(account_id: int = 2) -> Standings:
            return await self.control.standings(account_id, [made.id, made.id + 1])

        self.assertEqual((await stands()).of_endpoint(made.id), Standing(4))
        self.assertEqual((await stands()).by_kind[EndpointKind.OUTGOING], Standing())
        first, second, third, fourth, of_mox = sorted(await self.due(), key=lambda call: call.id)
        for call, is_success in ((first, False), (second, True), (third, False)):
            await self.taken(call, is_success=is_success)
        await self.calls.begin(fourth, 900.0)
        late = Standing(1, taken_at=300.0, failing_since=400.0)
        self.assertEqual(
            await stands(), Standings({made.id: late}, {one: Standing() for one in EndpointKind})
        )
        await self.taken(of_mox)
        of_other = Standings(
            {}, {EndpointKind.OUTGOING: Standing(0, 300.0), EndpointKind.INCOMING: Standing()}
        )
        self.assertEqual(await stands(1), of_other)
        await self.taken(fourth)
        self.assertEqual((await stands()).of_endpoint(made.id), Standing(0, 300.0))

    # One call again

    async def test_again(self) -> None:
        """A call that is over is made once more, as another, to where its endpoint is now."""
        made = await self.endpoint()
        entry = await self.delivered()
        [call] = await self.due()
        with self.assertRaises(Refusal):
            await self.control.again(2, call.id)
        await self.taken(call)
        await self.endpoints.change(made.id, EndpointFields(url=f"{HOOK}2"))
        details = await self.control.again(2, call.id)
        self.assertEqual((details.call.replay_of, details.payload), (call.id, call.payload))
        [again] = await self.due()
        self.assertEqual(
            (again.id, again.endpoint_id, again.entry_id, again.attempts, again.queued_at),
            (details.call.id, made.id, entry, 0, 5000.0),
        )
        self.assertEqual(details.call.url, f"{HOOK}2")
        for account_id, id_ in ((1, call.id), (2, 10**9)):
            with self.assertRaises(NoSuch):
                await self.control.again(account_id, id_)
        await self.endpoints.remove(made.id)
        with self.assertRaises(Refusal):
            await self.control.again(2, call.id)

    async def test_again_of_mox(self) -> None:
        """One of mox's kind goes to the account's webhook, with what that is called with now."""
        await self.delivered(1)
        [call] = await self.due()
        await self.taken(call)
        with self.database.engine.begin() as connection:
            changed = update(tables.webhook_endpoint).values(authorization="y")
            connection.execute(changed)
        await self.control.again(1, call.id)
        [again] = await self.due()
        self.assertEqual((again.url, again.authorization, again.payload), (URL, "y", call.payload))
        with self.database.engine.begin() as connection:
            connection.execute(tables.webhook_endpoint.delete())
        with self.assertRaises(Refusal):
            await self.control.again(1, call.id)

    async def test_example(self) -> None:
        """An endpoint is called with an example of an event, if it is called at all."""
        made = await self.endpoint()
        details = await self.control.test(2, made.id, "failed")
        [call] = await self.due()
        said = json.loads(call.payload)
        self.assertEqual((call.id, said["type"]), (details.call.id, "message.failed"))
        self.assertIsNone(call.entry_id)
        with self.assertRaises(NoSuch):
            await self.control.test(1, made.id, "failed")
        with self.assertRaises(Refusal):
            await self.control.test(2, made.id, "sent")
        await self.endpoints.records.disable(made, "asked")  # type: ignore[attr-defined]
        with self.assertRaises(Refusal):
            await self.control.test(2, made.id, "failed")

    # A range of events again

    async def test_range(self) -> None:
        """Events in a range are told again, as calls that name the first ones."""
        made = await self.endpoint(events=["delivered"])
        entries = [await self.delivered(at=at) for at in (200.0, 300.0, 400.0)]
        first = {call.entry_id: call for call in await self.due()}
        wanted = evolve(self.everything(made), since=300.0, until=400.0)
        done = await self.control.replay(2, wanted)
        self.assertEqual((done.calls, done.next_after), (1, None))
        [again] = await self.due()
        self.assertEqual((again.entry_id, again.payload), (entries[1], first[entries[1]].payload))
        details = await self.control.details(2, again.id)
        self.assertEqual(details.call.replay_of, first[entries[1]].id)
        failed = evolve(self.everything(made), kinds=["failed"])
        self.assertEqual((await self.control.replay(2, failed)).calls, 0)

    async def test_new_endpoint(self) -> None:
        """A new endpoint hears of what was before it, of its account's own."""
        await self.delivered(2)
        await self.delivered(1)
        made = await self.endpoint()
        self.assertEqual((await self.control.replay(2, self.everything(made))).calls, 1)
        [call] = [call for call in await self.due() if call.endpoint_id]
        self.assertEqual(call.account_id, 2)
        self.assertIsNone((await self.control.details(2, call.id)).call.replay_of)
        with self.assertRaises(NoSuch):
            await self.control.replay(1, self.everything(made))

    async def test_pages(self) -> None:
        """One request makes so many and says where to go on; none is told twice."""
        self.patch(replay, "PAGE", 2)
        self.patch(replay, "MOST_PAGES", 2)
        made = await self.endpoint()
        entries = [await self.delivered() for _ in range(5)]
        await self.due()
        first = await self.control.replay(2, self.everything(made))
        self.assertEqual(first.calls, 4)
        assert first.next_after is not None
        rest = evolve(self.everything(made), after=first.next_after)
        second = await self.control.replay(2, rest)
        self.assertEqual((second.calls, second.next_after), (1, None))
        self.assertEqual([call.entry_id for call in await self.due()], entries)

    async def test_interrupted(self) -> None:
        """With a key it goes on where it was interrupted; without one it begins again."""
        self.patch(replay, "PAGE", 2)
        made = await self.endpoint()
        entries = [await self.delivered() for _ in range(5)]
        await self.due()
        self.patch(replay, "MOST_PAGES", 1)
        await self.control.replay(2, self.everything(made), "k")  # and its answer is lost
        self.patch(replay, "MOST_PAGES", 9)
        done = await self.control.replay(2, self.everything(made), "k")
        self.assertEqual((done.calls, done.next_after), (5, None))
        self.assertEqual([call.entry_id for call in await self.due()], entries)
        again = await self.control.replay(2, self.everything(made), "k")
        self.assertEqual((again.calls, await self.due()), (5, []))
        self.assertEqual((await self.control.replay(2, self.everything(made), "l")).calls, 5)

    async def test_by_two_processes(self) -> None:
        """What another process has told with the key is not told again."""
        made = await self.endpoint()
        await self.delivered()
        events = await self.control.records.events(2, self.everything(made), 10)
        given = ("x", 2, made.id, events, "k", 5000.0)
        counts = [await self.control.records.tell_again(*given) for _ in range(2)]
        self.assertEqual(counts, [1, 0])

    async def test_swept(self) -> None:
        """Of an entry that is no more nothing is told."""
        made = await self.endpoint()
        await self.delivered()
        with self.database.engine.begin() as connection:
            connection.execute(tables.entry.delete())
        self.assertEqual((await self.control.replay(2, self.everything(made))).calls, 0)

    async def test_others_claim(self) -> None:
        """Calls that are made again are told to running processes, and audited."""
        made = await self.endpoint()
        await self.delivered()
        with self.database.engine.begin() as connection:
            connection.execute(tables.change.delete())
        await self.control.replay(2, self.everything(made))
        with self.database.engine.connect() as connection:
            kinds = connection.execute(select(tables.change.c.kind)).scalars().all()
            actions = connection.execute(select(tables.audit.c.action)).scalars().all()
        self.assertEqual((kinds, actions[-1]), (["calls"], "webhook endpoint replay"))


class SQLiteTests(ReplayContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(ReplayContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
