"""What operators see and change of webhook calls, on every database; and their sweeping."""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import insert, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.account import EndpointChange
from mailrelay.control.calls import (
    CANCELED,
    LONGEST_WAIT,
    CallControl,
    CallFilter,
    Relative,
    call_word,
)
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.storage import tables
from mailrelay.storage.call_records import (
    BATCH,
    DatabaseCallRecords,
    calls_query,
    sweep_calls,
)
from mailrelay.storage.calls import KEPT_FOR, DatabaseCallStore
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.nodes import register
from mailrelay.webhooks.call import CallAttempt, EndpointKind, FinishedCall
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}
NOW = 10_000.0
PAYLOAD = b'{"Event":"delivered"}'
INDEXES = {"call_due", "call_claimed"}


class CallRecordsContract(Base):
    """Calls of two accounts."""

    explain: str
    whole: str

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts without calls; the first keeps them for a minute."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            self.node = register(connection, "main")
        self.directory = DatabaseDirectory(self.database, lambda: 1.0)
        kept = {**ACCOUNT, "calls_kept_for": 60.0}
        self.anna = self.successResultOf(self.directory.add_account("op", "anna", kept))
        self.bert = self.successResultOf(self.directory.add_account("op", "bert", ACCOUNT))
        self.calls = DatabaseCallStore(self.database, self.node)
        self.control = CallControl(DatabaseCallRecords(self.database), lambda: NOW, "op")

    def add(self, *ids: int, **given: Any) -> None:
        """Calls that are due, with columns that differ."""
        row = {
            "account_id": self.anna,
            "url": "https://app.example.org/",
            "authorization": "secret",
            "event": "delivered",
            "payload": PAYLOAD,
            "queued_at": NOW,
            "state": 0,
            "next_attempt_at": NOW,
            "attempts": 0,
            "lane": 1,
            "node_id": 0,
            "epoch": 0,
            **given,
        }
        with self.database.engine.begin() as connection:
            connection.execute(insert(tables.call), [{**row, "id": id_} for id_ in ids])

    def rows(self, table: Any = tables.call) -> dict[int, Any]:
        """All rows of a table by id."""
        with self.database.engine.connect() as connection:
            return {row.id: row for row in connection.execute(select(table))}

    async def found(self, **given: Any) -> list[int]:
        """The ids that fit."""
        return [view.id for view in await self.control.find(CallFilter(**given))]

    # Seeing

    async def test_filters(self) -> None:
        """Each filter narrows, all together too; retired calls only when asked for."""
        self.add(1)
        self.add(2, account_id=self.bert, event="failed", queued_at=NOW - 7200.0)
        self.add(3, next_attempt_at=NOW + 600.0)
        self.add(4, state=2, is_success=True, keep_until=NOW)
        hour_ago = Relative(True, -3600.0)
        for given, ids in (
            ({}, [1, 2, 3]),
            ({"retired": True}, [4]),
            ({"ids": [2, 3, 4]}, [2, 3]),
            ({"account": "bert"}, [2]),
            ({"event": "failed"}, [2]),
            ({"submitted": hour_ago}, [2]),
            ({"submitted": Relative(False, -3600.0)}, [1, 3]),
            ({"next_attempt": Relative(False, 0.0)}, [3]),
            ({"next_attempt": Relative(True, 300.0)}, [1, 2]),
            ({"account": "anna", "submitted": hour_ago}, []),
            ({"limit": 2}, [1, 2]),
            ({"after_id": 2}, [3]),
        ):
            self.assertEqual(await self.found(**given), ids, given)

    async def test_states(self) -> None:
        """One word for where a call stands."""
        self.add(1)
        self.add(2, attempts=1)
        self.add(3, node_id=self.node.id, epoch=self.node.epoch)
        self.add(4, state=2, is_success=True)
        self.add(5, state=2, is_success=False)
        self.add(6, state=2, is_success=False, superseded_by=1)
        found = [*await self.control.find(CallFilter())]
        found += await self.control.find(CallFilter(retired=True))
        self.assertEqual(
            [call_word(view) for view in found],
            ["ready", "waiting", "active", "delivered", "failed", "superseded"],
        )
        self.assertEqual({view.has_authorization for view in found}, {True})
        self.assertNotIn("secret", repr(found))

    async def test_history(self) -> None:
        """A call with its attempts, retired or not; or none."""
        self.add(1)
        [call] = await self.calls.claim_due(NOW, 1, [])
        await self.calls.begin(call, NOW + 60.0)
        attempt = CallAttempt(NOW, 0.5, False, 500, "", "oops")
        await self.calls.finish(FinishedCall(call, attempt, NOW + 60.0))
        history = await self.control.history(1)
        self.assertEqual((history.payload, history.attempts), (PAYLOAD, [attempt]))
        self.assertEqual((history.view.account, history.view.attempts), ("anna", 1))
        await self.assertFailure(Deferred.fromCoroutine(self.control.history(2)), NoSuch)

    def test_retired_are_not_looked_at(self) -> None:
        """However many are retired, only the indexes of the living are walked."""
        self.add(*range(1, 3000), state=2, keep_until=1.0)
        self.add(3000)
        with self.database.engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # which does it by itself, in time
                connection.exec_driver_sql("ANALYZE")
            query = calls_query(CallFilter(), 0.0).compile(connection)
            names = query.positiontup
            values = query.params if names is None else tuple(query.params[n] for n in names)
            plan = connection.exec_driver_sql(f"{self.explain} {query}", values)
            text = "\n".join(str(row) for row in plan)
        self.assertEqual(set(re.findall("call_due|call_claimed", text)), INDEXES, text)
        self.assertNotRegex(text, self.whole)

    # Changing

    async def test_schedule(self) -> None:
        """Living calls are made now, at a time, or later than they would be; not too late."""
        self.add(1, 2, next_attempt_at=NOW + 100.0)
        self.add(3, state=2)
        self.assertEqual(await self.control.retry(CallFilter(ids=[1, 3, 9])), [1])
        self.assertEqual(self.rows()[1].next_attempt_at, NOW)
        self.assertEqual(await self.control.schedule(CallFilter(account="anna"), 30.0), [1, 2])
        due = [self.rows()[id_].next_attempt_at for id_ in (1, 2, 3)]
        self.assertEqual(due, [NOW + 30.0, NOW + 30.0, NOW])
        self.assertEqual(await self.control.postpone(CallFilter(ids=[2]), 5.0), [2])
        self.assertEqual(self.rows()[2].next_attempt_at, NOW + 35.0)
        await self.control.postpone(CallFilter(ids=[2]), LONGEST_WAIT)
        self.assertEqual(self.rows()[2].next_attempt_at, NOW + LONGEST_WAIT)
        for wait in (-1.0, LONGEST_WAIT + 1.0, float("nan")):
            for work in (self.control.schedule, self.control.postpone):
                asked = Deferred.fromCoroutine(work(CallFilter(ids=[2]), wait))
                await self.assertFailure(asked, Refusal)
        changes = await self.database.read(lambda c: changes_after(c, 0))
        self.assertEqual([k for _, k in changes if k != "directory"], ["calls"] * 4)

    async def test_cancel(self) -> None:
        """A canceled call is never made, says why, and is kept as its account wants."""
        self.add(1)
        self.add(2, account_id=self.bert)
        self.add(3, state=2, is_success=True, keep_until=5.0)
        self.assertEqual(await self.control.cancel(CallFilter(ids=[1, 2, 3])), [1, 2])
        self.assertEqual(await self.calls.claim_due(NOW + 1e6, 9, []), [])
        rows = self.rows()
        self.assertEqual(
            [(rows[i].state, rows[i].is_success, rows[i].keep_until) for i in (1, 2, 3)],
            [(2, False, NOW + 60.0), (2, False, NOW + KEPT_FOR), (2, True, 5.0)],
        )
        [attempt] = (await self.control.history(1)).attempts
        self.assertEqual(attempt, CallAttempt(NOW, 0.0, False, 0, CANCELED, ""))
        self.assertEqual((await self.control.history(3)).attempts, [])
        self.assertEqual(list(await self.control.cancel(CallFilter(ids=[1]))), [])
        # Retired between being found and being changed.
        self.assertEqual(await self.control.records.cancel("op", [3], NOW + 5.0), [])
        self.assertEqual(self.rows()[3], rows[3])

    async def test_canceled_in_flight(self) -> None:
        """What is under way is recorded when it ends, and the call is not made again."""
        self.add(1)
        [call] = await self.calls.claim_due(NOW, 1, [])
        self.assertTrue(await self.calls.begin(call, NOW + 60.0))
        await self.control.cancel(CallFilter(ids=[1]))
        attempt = CallAttempt(NOW, 0.5, False, 500, "", "oops")
        self.assertTrue(await self.calls.finish(FinishedCall(call, attempt, NOW + 60.0)))
        self.assertEqual(await self.calls.claim_due(NOW + 1e6, 9, []), [])
        history = await self.control.history(1)
        self.assertEqual([one.error for one in history.attempts], [CANCELED, ""])
        self.assertTrue(history.view.is_retired)

    async def test_many(self) -> None:
        """More than fit in one transaction are all changed."""
        self.add(*range(1, 2 * BATCH + 2))
        self.assertEqual(len(await self.control.cancel(CallFilter(account="anna"))), 2 * BATCH + 1)
        self.assertEqual(await self.found(), [])

    async def test_example(self) -> None:
        """A call with an example goes to the webhook that there is, as a call of its own."""
        for kind in EndpointKind:
            work = Deferred.fromCoroutine(self.control.test("anna", kind))
            await self.assertFailure(work, NoSuch)
        change = EndpointChange(EndpointKind.OUTGOING, "https://out.example/", "secret")
        come = EndpointChange(EndpointKind.INCOMING, "https://in.example/")
        await self.directory.set_account("op", "anna", {}, [change, come])
        first, payload = await self.control.test("anna", EndpointKind.OUTGOING, "failed")
        second, _ = await self.control.test("anna", EndpointKind.INCOMING)
        calls = {call.id: call for call in await self.calls.claim_due(NOW, 9, [])}
        self.assertEqual(
            [
                (c.url, c.authorization, c.event, c.account_id, c.entry_id, c.message_id)
                for c in (calls[first], calls[second])
            ],
            [
                ("https://out.example/", "secret", "failed", self.anna, None, None),
                ("https://in.example/", "", "incoming", self.anna, None, None),
            ],
        )
        self.assertEqual(calls[first].payload, payload)
        said = json.loads(payload)
        self.assertEqual((said["Event"], said["SMTPCode"]), ("failed", 550))
        self.assertEqual(json.loads(calls[second].payload)["Meta"]["MailboxName"], "Inbox")
        wrong = self.control.test("anna", EndpointKind.OUTGOING, "sent")
        await self.assertFailure(Deferred.fromCoroutine(wrong), Refusal)

    # Sweeping

    async def test_swept(self) -> None:
        """Retired calls go when their time is over, with their attempts, so many at once."""
        self.add(1, 2, 3)
        await self.control.cancel(CallFilter(ids=[1, 2, 3]))
        self.add(4, state=2, keep_until=NOW)
        self.add(5)
        self.assertEqual(self.sweep(NOW - 1.0, 9), 0)
        self.assertEqual(self.sweep(NOW, 9), 1)
        self.assertEqual(self.sweep(NOW + 60.0, 2), 2)
        self.assertEqual(len(self.rows(tables.call_attempt)), 1)
        self.assertEqual(self.sweep(1e9, 2), 1)
        self.assertEqual((list(self.rows()), self.rows(tables.call_attempt)), ([5], {}))

    def sweep(self, now: float, limit: int) -> int:
        """Sweep once."""
        swept: int = self.successResultOf(self.database.write(lambda c: sweep_calls(c, now, limit)))
        return swept


class SQLiteTests(CallRecordsContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine
    explain = "EXPLAIN QUERY PLAN"
    whole = r"SCAN call\b(?! USING)"


class PostgresTests(CallRecordsContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
    explain = "EXPLAIN"
    whole = r"Seq Scan on call\b"
