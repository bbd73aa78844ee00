"""Webhook calls and suppression lists, made with the events that ask for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from typing import Any

from attrs import evolve
from sqlalchemy import func, insert, select, update
from twisted.trial.unittest import TestCase

from mailrelay.control.queue import EntryFilter
from mailrelay.control.suppression import SuppressionFilter
from mailrelay.mailbox.model import Incoming
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.suppression import Suppression
from mailrelay.queue.entry import Entry
from mailrelay.storage import suppression, tables
from mailrelay.storage.sent import DatabaseSentEntries
from mailrelay.storage.suppression_records import DatabaseSuppressionRecords
from mailrelay.webhooks.call import Call, CallAttempt, FinishedCall
from mailrelay.webhooks.endpoint import STANDARD
from mailrelay.webhooks.sent import SentEntry
from tests.storage.calling import URL, Calling
from tests.storage.databases import OnPostgres, OnSQLite

REFUSED: dict[str, object] = {"code": 550, "status": "5.1.1", "reply": "no", "answered": True}


class CallContract(Calling):
    """What is promised of calls on every database."""

    async def due(self, now: float = 1000.0) -> Sequence[Call]:
        """The calls that are due, claimed."""
        return await self.calls.claim_due(now, 100, [])

    async def payloads(self) -> Sequence[dict[str, Any]]:
        """What the due calls say."""
        return [json.loads(call.payload) for call in await self.due()]

    # Calls with their events

    async def test_delivered(self) -> None:
        """An outcome makes one call, which says what it is of."""
        entry = await self.entry()
        self.assertEqual(await self.due(), [])  # accepting is not told
        await self.ended(entry, EventKind.DELIVERED, {"code": 250, "status": "2.0.0"})
        [call] = await self.due()
        said = json.loads(call.payload)
        self.assertEqual(
            (call.url, call.authorization, call.account_id, call.entry_id, call.attempts),
            (URL, "x", 1, entry.id, 0),
        )
        self.assertEqual(
            (said["Event"], said["QueueMsgID"], said["FromID"], said["MessageID"], said["Extra"]),
            ("delivered", entry.id, "abc", "<1@x>", {"k": "v"}),
        )
        self.assertEqual((said["SMTPCode"], said["SMTPEnhancedCode"], said["Error"]), (0, "", ""))

    async def test_failed(self) -> None:
        """A refusal has its code; what was no answer of the next hop has none."""
        for data, expected in (
            (REFUSED, (550, "5.1.1", "no", True)),
            ({**REFUSED, "answered": False}, (0, "", "no", False)),
        ):
            await self.ended(await self.entry(), EventKind.FAILED, data)
            [said] = await self.payloads()
            found = [said[k] for k in ("SMTPCode", "SMTPEnhancedCode", "Error", "Suppressing")]
            self.assertEqual(tuple(found), expected)

    async def test_nobody_to_tell(self) -> None:
        """No call without an endpoint, an account, or a claim; none for what was not asked for."""
        with self.database.engine.begin() as connection:
            self.add_account(connection, 3, URL, '["delivered"]')
        await self.ended(await self.entry(2), EventKind.DELIVERED)
        await self.ended(await self.entry(3), EventKind.FAILED, REFUSED)
        entry = await self.entry()
        await self.records.drop("cli", [entry.id], 100.0, 1000.0)
        self.assertEqual([said["Event"] for said in await self.payloads()], ["canceled"])
        self.assertFalse(await self.ended(entry, EventKind.DELIVERED))
        self.assertEqual(await self.due(), [])

    # The calls' own life

    async def test_claimed_once(self) -> None:
        """A claimed call is nobody else's; a released one is due again; nothing is due early."""
        await self.ended(await self.entry(), EventKind.DELIVERED)
        self.assertEqual(await self.due(199.0), [])
        self.assertEqual(await self.calls.next_due_at(), 200.0)
        [call] = await self.due()
        self.assertEqual((await self.due(), await self.calls.next_due_at()), ([], None))
        await self.calls.release_claims([call.id])
        self.assertEqual(await self.due(), [call])

    async def test_attempts(self) -> None:
        """An attempt is counted before it is made, and recorded after it."""
        await self.ended(await self.entry(), EventKind.DELIVERED)
        [call] = await self.due()
        self.assertTrue(await self.calls.begin(call, 2000.0))
        attempt = CallAttempt(1000.0, 0.5, False, 500, "", "oops")
        self.assertTrue(await self.calls.finish(FinishedCall(call, attempt, 2000.0)))
        self.assertEqual(await self.due(1999.0), [])
        [again] = await self.due(2000.0)
        self.assertEqual((again.id, again.attempts), (call.id, 1))
        await self.calls.begin(again, 3000.0)
        done = FinishedCall(again, CallAttempt(2000.0, 0.1, True, 200), None, 9000.0)
        self.assertTrue(await self.calls.finish(done))
        self.assertEqual(await self.due(9000.0), [])
        self.assertFalse(await self.calls.finish(done))
        tried = [(r.code, r.is_success, r.response) for r in self.rows(tables.call_attempt)]
        self.assertEqual(tried, [(500, False, "oops"), (200, True, "")])
        [row] = self.rows(tables.call)
        self.assertEqual(
            (row.state, row.is_success, row.attempts, row.keep_until), (2, True, 2, 9000.0)
        )

    async def test_superseded(self) -> None:
        """A newer event of the entry retires the older call, unless that is of another entry."""
        other, entry = await self.entry(), await self.entry()
        await self.ended(other, EventKind.DELAYED, {"code": 451})
        await self.ended(entry, EventKind.DELAYED, {"code": 451})
        [_, call] = await self.due()
        self.assertTrue(await self.calls.begin(call, 2000.0))
        claimed = {e.id: e for e in await self.queue.claim_due(300.0, 10, [])}
        await self.ended(claimed[entry.id], EventKind.DELIVERED)
        newer = self.rows(tables.call)[-1]
        # It is in flight: its attempt is recorded, and it stays retired.
        self.assertTrue(
            await self.calls.finish(FinishedCall(call, CallAttempt(1.0, 1.0, False), 2000.0))
        )
        states = {row.id: (row.state, row.superseded_by) for row in self.rows(tables.call)}
        self.assertEqual(states[call.id], (2, newer.id))
        self.assertEqual([s for id_, s in states.items() if id_ != call.id], [(0, None), (0, None)])
        self.assertFalse(await self.calls.begin(call, 3000.0))

    async def test_every_event(self) -> None:
        """An account that wants every event has a call for each, in their order."""
        with self.database.engine.begin() as connection:
            connection.execute(update(tables.webhook_endpoint).values(has_every_event=True))
        entry = await self.entry()
        await self.ended(entry, EventKind.DELAYED, {"code": 451})
        [again] = await self.queue.claim_due(300.0, 10, [])
        await self.ended(again, EventKind.DELIVERED)
        said = [call.event for call in await self.due()]
        self.assertEqual(said, ["delayed", "delivered"])
        self.assertEqual({row.superseded_by for row in self.rows(tables.call)}, {None})

    def rows(self, table: Any) -> Sequence[Any]:
        """All rows of ``table``."""
        with self.database.engine.connect() as connection:
            return connection.execute(select(table).order_by(table.c.id)).all()

    # Suppression

    async def test_suppressing(self) -> None:
        """The failure that adds an address is marked, the next one is not."""
        first = await self.entry(2)
        for expected, entry in ((True, first), (False, await self.entry(2))):
            await self.ended(entry, EventKind.FAILED, REFUSED)
            self.assertEqual(bool(self.told[-1].data.get("suppressing")), expected)
        [one] = self.listed(2)
        self.assertEqual(
            (one.base_address, one.original_address, one.added_at, one.manual, one.reason),
            (
                "r@example.net",
                "r@example.net",
                200.0,
                False,
                'delivery failure from queue with smtp code 550, enhanced code "1.1"',
            ),
        )
        self.assertEqual((one.cause, one.entry_id), ("bounce", first.id))
        self.assertTrue(one.evidence.startswith("550 5.1.1"), one.evidence)
        self.assertEqual(self.listed(1), [])

    async def test_three_in_a_row(self) -> None:
        """The third failure in a row suppresses; a delivery, or no answer, does not count so."""
        soft: dict[str, object] = {"code": 554, "status": "5.6.0", "answered": True}
        silent = {**soft, "answered": False}
        sequence = [soft, soft, None, soft, silent, silent, soft]
        for data in sequence:
            kind = EventKind.FAILED if data else EventKind.DELIVERED
            await self.ended(await self.entry(2), kind, data)
        marks = [bool(e.data.get("suppressing")) for e in self.told if "recipient" in e.data]
        self.assertEqual(marks, [False] * 6 + [True])
        [one] = self.listed(2)
        self.assertEqual(one.reason, "delivery failure from queue and three consecutive failures")

    async def test_not_of_strangers(self) -> None:
        """Mail of no account suppresses nothing and leaves no trace."""
        entry = await self.entry(2)
        event = NewEvent(
            EventKind.FAILED, 1.0, entry.message.id, entry.id, None, {"recipient": "x", **REFUSED}
        )
        with self.database.engine.begin() as connection:
            self.assertEqual(suppression.after_outcomes(connection, [event]), [event])
            streaks = select(func.count()).select_from(tables.failure_streak)
            self.assertEqual(connection.execute(streaks).scalar_one(), 0)

    async def test_list(self) -> None:
        """Adding twice and removing what is not there say so; spellings are one address."""
        base = "jdoe@example.org"
        spelled = Suppression(0, 1, base, "J.Doe+x@example.org", 5.0, True, "asked")
        with self.database.engine.begin() as connection:
            self.assertTrue(suppression.add(connection, spelled))
            self.assertFalse(suppression.add(connection, spelled))
            self.assertIsNotNone(suppression.listed(connection, 1, base))
            self.assertIsNone(suppression.listed(connection, 2, base))
            self.assertEqual(suppression.everybody(connection), {1: {base: inf}})
            self.assertFalse(suppression.remove(connection, 2, base, 1.0))
            self.assertTrue(suppression.remove(connection, 1, base, 1.0))
            self.assertFalse(suppression.remove(connection, 1, base, 1.0))

    def listed(self, account_id: int) -> list[Suppression]:
        """An account's list."""
        records = DatabaseSuppressionRecords(self.database, lambda: 0.0)
        found = self.successResultOf(records.find(SuppressionFilter(f"a{account_id}")))
        return [one.suppression for one in found]

    # Arrivals

    async def test_incoming(self) -> None:
        """A message put in a mailbox is told of once, with its event or its body."""
        self.add_incoming_endpoint()
        sent = await self.entry(2)
        answer = await self.entry()
        failed = NewEvent(
            EventKind.FAILED,
            300.0,
            sent.message.id,
            sent.id,
            2,
            {"recipient": "r@example.net", "dsn": True, "matched_by": "from_id", **REFUSED},
        )
        told: list[NewEvent] = []
        self.mailboxes.committed = told.extend
        arriving = evolve(self.incoming(answer), event=failed, payload=b"{}")
        for _ in range(2):
            self.assertTrue(await self.mailboxes.deliver(arriving))
        [call] = await self.due()
        self.assertEqual((call.url, call.event, call.payload), (f"{URL}/in", "incoming", b"{}"))
        self.assertIsNone(call.entry_id)
        self.assertEqual([event.data.get("suppressing") for event in told], [True])
        events = await self.records.events(sent.message.id)
        self.assertEqual([event.kind for event in events if event.data.get("dsn")], [failed.kind])
        self.assertEqual(
            [one.reason[:26] for one in self.listed(2)], ["delivery failure from DSN "]
        )

    async def test_received(self) -> None:
        """Signed endpoints are called once with their own body: those that want messages."""
        self.add_incoming_endpoint()
        with self.database.engine.begin() as connection:
            for account_id, name, more in (
                (1, "all", {}),
                (1, "failures", {"events": '["failed"]'}),
                (1, "tagged", {"tags": '["a"]'}),
                (1, "gone", {"disabled_at": 1.0}),
                (2, "foreign", {}),
            ):
                plain = {"kind": STANDARD, "url": name, "authorization": "", "events": "[]"}
                connection.execute(
                    insert(tables.webhook_endpoint).values(
                        account_id=account_id, name=name, created_at=0.0, **{**plain, **more}
                    )
                )
        arriving = evolve(self.incoming(await self.entry()), signed_payload=b'{"type":"x"}')
        for _ in range(2):
            self.assertTrue(await self.mailboxes.deliver(arriving))
        [call] = await self.due()
        self.assertEqual((call.url, call.payload), ("all", b'{"type":"x"}'))
        self.assertIsNotNone(call.endpoint_id)
        both = evolve(
            self.incoming(await self.entry()), payload=b"{}", signed_payload=b'{"type":"x"}'
        )
        await self.mailboxes.deliver(both)
        self.assertEqual({one.url for one in await self.due()}, {"all", f"{URL}/in"})

    async def test_report_that_is_not_believed(self) -> None:
        """A DSN that is known by its message alone suppresses nobody."""
        sent = await self.entry(2)
        data = {"recipient": "r@example.net", "dsn": True, "matched_by": "message", **REFUSED}
        event = NewEvent(EventKind.FAILED, 300.0, sent.message.id, sent.id, 2, data)
        arriving = evolve(self.incoming(await self.entry()), event=event)
        self.assertTrue(await self.mailboxes.deliver(arriving))
        self.assertEqual(self.listed(2), [])

    def add_incoming_endpoint(self) -> None:
        """Have account 1 called for incoming mail."""
        with self.database.engine.begin() as connection:
            connection.execute(
                insert(tables.webhook_endpoint).values(
                    account_id=1, kind="incoming", url=f"{URL}/in", authorization="", events="[]"
                )
            )

    def incoming(self, entry: Entry) -> Incoming:
        """The delivery of ``entry`` into account 1's inbox."""
        return Incoming(
            self.queue.new_id(),
            1,
            "Inbox",
            entry.message.id,
            entry.id,
            None,
            entry.recipient,
            300.0,
            10,
            "",
            b"",
        )

    async def test_sent_entries(self) -> None:
        """What came back is found by FromID, ENVID or Message-ID, for its account alone."""
        sent = DatabaseSentEntries(self.database)
        entry = await self.entry(2)
        found = SentEntry(entry.id, entry.message.id, "r@example.net")
        self.assertEqual(await sent.by_from_id(2, "abc"), found)
        self.assertIsNone(await sent.by_from_id(1, "abc"))
        self.assertIsNone(await sent.by_from_id(2, "abd"))
        recipients = ["r@example.net"]
        self.assertEqual(await sent.by_message(2, "", "<1@x>", recipients), found)
        self.assertIsNone(await sent.by_message(1, "", "<1@x>", recipients))
        self.assertIsNone(await sent.by_message(2, "", "<1@x>", ["s@example.net"]))
        self.assertIsNone(await sent.by_message(2, "", "", recipients))

    async def test_only_recipient(self) -> None:
        """Where no recipient is named, a message of one is about that one."""
        sent = DatabaseSentEntries(self.database)
        entry = await self.entry(2)
        found = SentEntry(entry.id, entry.message.id, "r@example.net")
        self.assertEqual(await sent.by_message(2, "", "<1@x>", []), found)
        self.assertIsNone(await sent.by_message(1, "", "<1@x>", []))
        self.assertIsNone(await sent.by_message(2, "", "", []))
        for nul in (("a\0b", "<2@x>"), ("", "<1\0@x>")):  # not every store can be asked
            self.assertIsNone(await sent.by_message(2, *nul, []))
        self.assertEqual(await sent.by_message(2, "a\0b", "<1@x>", []), found)
        await self.entry(2)  # another of that Message-ID
        self.assertIsNone(await sent.by_message(2, "", "<1@x>", []))

    async def test_complaints(self) -> None:
        """Only one that is about unwanted mail, and knows the FromID, suppresses."""
        entry = await self.entry(2)
        told = {"recipient": "r@example.net", "by": "fbl@x.example", "user_agent": "Loop/1"}
        for type_, matched_by, suppresses in (
            ("abuse", "message", False),
            ("other", "from_id", False),
            ("not-spam", "from_id", False),
            ("abuse", "from_id", True),
            ("opt-out", "from_id", False),  # it is there
        ):
            data = {**told, "feedback_type": type_, "matched_by": matched_by}
            event = NewEvent(EventKind.COMPLAINED, 9.0, entry.message.id, entry.id, 2, data)
            with self.database.engine.begin() as connection:
                [after] = suppression.after_outcomes(connection, [event])
            self.assertEqual(bool(after.data.get("suppressing")), suppresses, data)
        [one] = self.listed(2)
        self.assertEqual((one.cause, one.reason), ("complaint", "complaint: abuse"))
        self.assertEqual(one.evidence, "abuse, reported by fbl@x.example with Loop/1")
        self.assertEqual((one.entry_id, one.manual), (entry.id, False))

    async def test_operator_fails(self) -> None:
        """The history of an entry has what was recorded of it, marks and all."""
        entry = await self.entry()
        await self.ended(entry, EventKind.FAILED, REFUSED)
        [view] = await self.records.find(EntryFilter(ids=[entry.id], retired=True), 0.0)
        self.assertEqual(view.outcome, "failed")
        events = await self.records.events(entry.message.id)
        self.assertTrue(events[-1].data["suppressing"])


class SQLiteTests(CallContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(CallContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
