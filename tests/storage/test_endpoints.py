"""Standard endpoints and the calls that are made for them, on every database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import event as engine_event
from sqlalchemy import insert, select, update
from twisted.trial.unittest import TestCase

from mailrelay.control.endpoints import EndpointControl, EndpointFields
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Entry
from mailrelay.storage import tables
from mailrelay.storage.directory import load, remove_account
from mailrelay.storage.endpoints import DatabaseEndpointRecords, load_endpoints
from mailrelay.storage.queue import insert_events
from mailrelay.webhooks.call import Call
from mailrelay.webhooks.endpoint import StandardEndpoint
from tests.storage.calling import Calling
from tests.storage.databases import OnPostgres, OnSQLite

HOOK = "https://app.example.org/hook"


class EndpointContract(Calling):
    """What is promised of standard endpoints on every database.

    Account 1 has an endpoint of mox's, account 2 has none.
    """

    def setUp(self) -> None:
        """Controls, at a time that a test sets."""
        super().setUp()
        self.now = 100.0
        self.records_of = DatabaseEndpointRecords(self.database, lambda: self.now)
        numbers = iter(range(256))
        self.control = EndpointControl(
            self.records_of, lambda: bytes([next(numbers)] * 16), lambda: self.now, "cli:x"
        )

    async def add(self, account: str = "a2", **fields: Any) -> StandardEndpoint:
        """An endpoint."""
        given: dict[str, Any] = {"name": "app", "url": HOOK, **fields}
        return await self.control.add(account, EndpointFields(**given))

    async def due(self) -> Sequence[Call]:
        """The calls that are due, claimed."""
        return await self.calls.claim_due(1000.0, 500, [])

    async def happens(self, entry: Entry, kind: EventKind, **data: object) -> None:
        """Record an event of an entry, as whoever records events does."""
        known = {"recipient": str(entry.recipient), **data}
        event = NewEvent(kind, 200.0, entry.message.id, entry.id, entry.message.account_id, known)
        await self.database.write(lambda c: insert_events(c, [event]))

    def rows(self, table: Any) -> Sequence[Any]:
        """All rows of ``table``."""
        with self.database.engine.connect() as connection:
            return connection.execute(select(table).order_by(table.c.id)).all()

    # Endpoints

    async def test_life(self) -> None:
        """What is made is found again, changed and removed; each is told and audited."""
        made = await self.add(events=["failed"], tags=["b", "a"], most_together=7)
        self.assertEqual((made.account_id, made.tags, made.created_at), (2, ("b", "a"), 100.0))
        with self.database.engine.connect() as connection:
            self.assertEqual(load_endpoints(connection), {made.id: made})
        self.assertEqual([one.account for one in await self.control.listed(None)], ["a2"])
        self.assertEqual(await self.control.listed("a1"), [])
        changed = await self.control.change(made.id, EndpointFields(url=f"{HOOK}2", tags=[]), 2)
        self.assertEqual(changed, evolve(made, url=f"{HOOK}2", tags=()))
        self.assertEqual((await self.control.find(made.id, 2)).endpoint, changed)
        await self.control.remove(made.id, 2)
        self.assertEqual(await self.control.listed(None), [])
        actions = [row.action for row in self.rows(tables.audit)]
        self.assertEqual(actions, [f"webhook endpoint {a}" for a in ("add", "set", "remove")])
        self.assertEqual([row.kind for row in self.rows(tables.change)], ["directory"] * 3)

    async def test_of_others(self) -> None:
        """Nobody finds or changes another account's; mox's endpoints are none of these."""
        made = await self.add()
        mox = self.rows(tables.webhook_endpoint)[0].id
        for id_, account in ((made.id, 1), (mox, 1), (mox, None)):
            for asked in (
                self.control.find(id_, account),
                self.control.change(id_, EndpointFields(name="x"), account),
                self.control.rotate(id_, 0.0, account),
                self.control.enable(id_, account),
                self.control.remove(id_, account),
            ):
                with self.assertRaises(NoSuch):
                    await asked
        self.assertEqual((await self.control.find(made.id)).endpoint, made)

    async def test_ids_are_not_given_again(self) -> None:
        """A later endpoint never has the calls of one that was removed."""
        first = await self.add()
        await self.control.remove(first.id)
        self.assertGreater((await self.add()).id, first.id)

    async def test_most(self) -> None:
        """An account has so many, and no more."""
        await self.add()
        adding = self.records_of.add(
            "x", "a2", StandardEndpoint(id=0, account_id=0, name="", url=""), 1
        )
        with self.assertRaises(Refusal):
            await adding
        await self.add("a1")

    async def test_rotation(self) -> None:
        """Replaced secrets end when it is said, and are few."""
        made = await self.add()
        [first] = made.secrets
        rotated = await self.control.rotate(made.id, 50.0)
        self.assertEqual([s.signs_until for s in rotated.secrets], [None, 150.0])
        self.assertEqual(rotated.signing(149.0)[1], first.text)
        self.assertEqual(len(rotated.signing(150.0)), 1)
        again = await self.control.rotate(made.id, 1000.0)
        self.assertEqual([s.signs_until for s in again.secrets], [None, 1100.0, 150.0])
        for _ in range(5):
            again = await self.control.rotate(made.id, 1000.0)
        self.assertEqual(len(again.secrets), 5)
        self.now = 5000.0
        self.assertEqual(len((await self.control.rotate(made.id, 0.0)).secrets), 1)
        with self.assertRaises(Refusal):
            await self.control.rotate(made.id, 31 * 86400.0)

    async def test_account_goes(self) -> None:
        """An account's endpoints go with it; while there is one, its outcomes are looked at."""
        with self.database.engine.begin() as connection:
            self.assertFalse(load(connection).accounts[2].is_called_for_outgoing)
        made = await self.add()
        with self.database.engine.begin() as connection:
            self.assertTrue(load(connection).accounts[2].is_called_for_outgoing)
        self.assertTrue(await self.records_of.disable(made, "asked"))
        with self.database.engine.begin() as connection:
            self.assertFalse(load(connection).accounts[2].is_called_for_outgoing)
            remove_account(connection, "a2")
            self.assertEqual(load_endpoints(connection), {})

    # Calls with their events

    async def test_called(self) -> None:
        """Every endpoint that wants an event is called; mox's beside them, as ever."""
        one, two = await self.add("a1"), await self.add("a1", events=["failed"])
        await self.add("a2")
        await self.ended(await self.entry(), EventKind.DELIVERED, {"code": 250, "attempt": 1})
        await self.ended(await self.entry(), EventKind.FAILED, {"code": 550, "attempt": 1})
        told = sorted((call.event, call.endpoint_id or 0) for call in await self.due())
        self.assertEqual(
            told,
            sorted(
                [
                    *(("delivered", 0), ("delivered", one.id)),
                    *(("failed", 0), ("failed", one.id), ("failed", two.id)),
                ]
            ),
        )

    async def test_what_is_told(self) -> None:
        """The event, its message and its recipient, with the attempts so far."""
        made = await self.add()
        entry = await self.entry(2)
        host = {"host": "mx.example.net", "ip": "192.0.2.1"}
        busy: dict[str, object] = {"code": 451, "status": "4.2.1", "reply": "busy", "attempt": 1}
        await self.ended(entry, EventKind.DELAYED, {**busy, **host, "next_attempt_at": 300.0})
        [again] = await self.queue.claim_due(300.0, 10, [])
        await self.ended(again, EventKind.DELIVERED, {"code": 250, "attempt": 2}, at=300.0)
        delayed, delivered = [json.loads(call.payload) for call in await self.due()]
        self.assertEqual(
            (delayed["type"], delayed["timestamp"], delayed["data"]["event"]),
            (
                "message.delayed",
                "1970-01-01T00:03:20Z",
                {
                    "kind": "delayed",
                    "at": "1970-01-01T00:03:20Z",
                    "code": 451,
                    "status": "4.2.1",
                    "reply": "busy",
                    "host": "mx.example.net",
                    "attempt": 1,
                    "next_attempt_at": "1970-01-01T00:05:00Z",
                    "dsn": False,
                    "suppressing": False,
                    "feedback_type": "",
                    "list": "",
                },
            ),
        )
        self.assertEqual(delayed["data"]["entry"]["state"], "waiting")
        told = delivered["data"]["entry"]
        self.assertEqual(
            [(t["result"], t["at"], t["code"], t["host"]) for t in told["attempts"]],
            [
                ("delayed", "1970-01-01T00:03:20Z", 451, "mx.example.net"),
                ("delivered", "1970-01-01T00:05:00Z", 250, ""),
            ],
        )
        self.assertEqual(
            (told["id"], told["recipient"], told["from_id"], told["state"]),
            (entry.id, "r@example.net", "abc", "delivered"),
        )
        message = delivered["data"]["message"]
        self.assertEqual(
            (message["id"], message["message_id"], message["extra"], message["tags"]),
            (entry.message.id, "<1@x>", [{"name": "k", "value": "v"}], []),
        )
        [row, _] = self.rows(tables.call)
        self.assertEqual((row.endpoint_id, row.url, row.authorization), (made.id, HOOK, ""))

    async def test_report(self) -> None:
        """A DSN's event has the attempts that were made, and is none itself."""
        await self.add(events=["failed"])
        entry = await self.entry(2)
        await self.ended(entry, EventKind.DELIVERED, {"code": 250, "attempt": 1})
        await self.happens(entry, EventKind.FAILED, dsn=True, code=550, matched_by="from_id")
        [call] = await self.due()
        data = json.loads(call.payload)["data"]
        self.assertTrue(data["event"]["dsn"])
        self.assertEqual([one["result"] for one in data["entry"]["attempts"]], ["delivered"])

    async def test_last_attempts(self) -> None:
        """Of many attempts the last are told."""
        await self.add(events=["canceled"])
        entry = await self.entry(2)
        with self.database.engine.begin() as connection:
            connection.execute(update(tables.entry).values(attempts=30))
        for number in range(1, 31):
            await self.happens(
                entry, EventKind.DELAYED, code=451, attempt=number, reply=str(number)
            )
        await self.happens(entry, EventKind.CANCELED)
        [call] = await self.due()
        told = json.loads(call.payload)["data"]["entry"]["attempts"]
        self.assertEqual([one["reply"] for one in told], [str(n) for n in range(11, 31)])

    async def test_complaints(self) -> None:
        """Complaints and unsubscriptions are told here, and not to mox's endpoints."""
        made = await self.add("a1")
        entry = await self.entry()
        for kind in (EventKind.COMPLAINED, EventKind.UNSUBSCRIBED, EventKind.HELD):
            await self.happens(entry, kind)
        told = [(call.event, call.endpoint_id) for call in await self.due()]
        self.assertEqual(told, [("complained", made.id), ("unsubscribed", made.id)])

    async def test_tags(self) -> None:
        """An endpoint with tags hears of messages that have one of them."""
        made = await self.add(tags=["welcome", "reset"])
        for tags in (["other", "reset"], ["other"], None):
            entry = await self.entry(2)
            with self.database.engine.begin() as connection:
                value = json.dumps(tags) if tags else None
                own = tables.message.c.id == entry.message.id
                connection.execute(update(tables.message).where(own).values(tags=value))
            await self.ended(entry, EventKind.DELIVERED, {"attempt": 1})
        [call] = await self.due()
        message = json.loads(call.payload)["data"]["message"]
        self.assertEqual((call.endpoint_id, message["tags"]), (made.id, ["other", "reset"]))

    async def test_no_superseding(self) -> None:
        """Each event of an entry is told; mox's newer one still supersedes mox's older."""
        await self.add("a1")
        entry = await self.entry()
        await self.ended(entry, EventKind.DELAYED, {"code": 451, "attempt": 1})
        [again] = await self.queue.claim_due(300.0, 10, [])
        await self.ended(again, EventKind.DELIVERED, {"attempt": 2}, at=300.0)
        living = [(c.event, c.endpoint_id is None) for c in await self.due()]
        self.assertEqual(
            sorted(living), [("delayed", False), ("delivered", False), ("delivered", True)]
        )

    async def test_cost(self) -> None:
        """Who has no endpoint pays one look at them, and nobody pays by the event.

        The statements of statements.py are not counted; there is one for many rows.
        """
        made: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
            if (
                statement.split(maxsplit=1)[0] in ("SELECT", "UPDATE")
                and "advisory" not in statement
            ):
                made.append(statement)

        async def statements(account_id: int, events: int) -> int:
            entries = [await self.entry(account_id) for _ in range(events)]
            told = [
                NewEvent(EventKind.DELIVERED, 1.0, e.message.id, e.id, account_id, {"attempt": 1})
                for e in entries
            ]
            made.clear()
            await self.database.write(lambda c: insert_events(c, told))
            return len(made)

        engine_event.listen(self.database.engine, "before_cursor_execute", note)
        self.assertEqual([await statements(2, n) for n in (1, 20)], [1, 1])
        await self.add()
        few, many = [await statements(2, n) for n in (1, 20)]
        self.assertEqual(few, many)
        self.assertLessEqual(many, 4)

    # Endpoints that are called no more

    async def test_disabled(self) -> None:
        """A disabled endpoint is not called, and what waited for it is retired, with the reason."""
        made, other = await self.add(), await self.add(url=f"{HOOK}2")
        for _ in range(3):
            await self.ended(await self.entry(2), EventKind.DELIVERED, {"attempt": 1})
        [claimed, *_] = await self.calls.claim_due(1000.0, 1, [])
        self.assertTrue(await self.records_of.disable(made, "it answered 410"))
        self.assertFalse(await self.records_of.disable(made, "it answered 410"))
        await self.ended(await self.entry(2), EventKind.DELIVERED, {"attempt": 1})
        retired = [row for row in self.rows(tables.call) if row.state == 2]
        self.assertEqual({row.endpoint_id for row in retired}, {made.id})
        self.assertNotIn(claimed.id, [row.id for row in retired])  # its process sees to that
        self.assertEqual(len(retired), 3 - (claimed.endpoint_id == made.id))
        self.assertEqual({(row.is_success, row.keep_until) for row in retired}, {(False, 259300.0)})
        errors = {row.error for row in self.rows(tables.call_attempt)}
        self.assertEqual(errors, {"the endpoint is disabled: it answered 410"})
        [known] = [
            one.endpoint for one in await self.control.listed(None) if one.endpoint.disabled_at
        ]
        self.assertEqual((known.disabled_at, known.disabled_because), (100.0, "it answered 410"))
        calls = [c for c in self.rows(tables.call) if c.endpoint_id == other.id]
        self.assertEqual(len(calls), 4)
        audited = self.rows(tables.audit)[-1]
        self.assertEqual(
            (audited.actor, audited.action),
            ("server", "webhook endpoint disable: it answered 410"),
        )
        enabled = await self.control.enable(made.id)
        self.assertEqual((enabled.disabled_at, enabled.disabled_because), (None, ""))

    async def test_disabled_elsewhere(self) -> None:
        """410 of a URL that the endpoint has no more says nothing of it."""
        made = await self.add()
        await self.control.change(made.id, EndpointFields(url=f"{HOOK}2"))
        self.assertFalse(await self.records_of.disable(made, "it answered 410"))

    async def test_removed(self) -> None:
        """What waited for a removed endpoint is canceled, and says so."""
        made = await self.add()
        row = {
            **{column.name: None for column in tables.call.columns if column.nullable},
            **{name: 0 for name in ("state", "attempts", "lane", "node_id", "epoch")},
            **{"account_id": 2, "url": HOOK, "authorization": "", "event": "delivered"},
            **{"payload": b"{}", "queued_at": 1.0, "next_attempt_at": 1.0},
            "endpoint_id": made.id,
        }
        with self.database.engine.begin() as connection:
            connection.execute(insert(tables.call), [row] * 450)
        await self.control.remove(made.id)
        self.assertEqual({call.state for call in self.rows(tables.call)}, {2})
        errors = [attempt.error for attempt in self.rows(tables.call_attempt)]
        self.assertEqual(errors, ["the endpoint was removed"] * 450)

    async def test_large(self) -> None:
        """What a large call says is read when it is needed."""
        await self.add()
        for characters in (100, 2000):
            entry = await self.entry(2)
            given = {f"k{n}": "v" * characters for n in range(20)}
            with self.database.engine.begin() as connection:
                own = tables.message.c.id == entry.message.id
                values = {"extra": json.dumps(given)}
                connection.execute(update(tables.message).where(own).values(values))
            await self.ended(entry, EventKind.DELIVERED, {"attempt": 1})
        small, large = await self.due()
        self.assertEqual((small.is_large, large.is_large, large.payload), (False, True, b""))
        self.assertEqual(await self.calls.payload(small.id), small.payload)
        said = json.loads(await self.calls.payload(large.id))
        self.assertEqual(len(said["data"]["message"]["extra"]), 20)
        self.assertEqual(await self.calls.payload(10**9), b"")

    async def test_postponed(self) -> None:
        """What is put off is due then, was not attempted, and is nobody's."""
        await self.add()
        await self.ended(await self.entry(2), EventKind.DELIVERED, {"attempt": 1})
        [call] = await self.due()
        await self.calls.postpone([call], 2000.0)
        self.assertEqual(await self.due(), [])
        [again] = await self.calls.claim_due(2000.0, 10, [])
        self.assertEqual((again.id, again.attempts), (call.id, 0))


class SQLiteTests(EndpointContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(EndpointContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
