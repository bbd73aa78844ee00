"""What hold rules must do on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control import holds
from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.holds import AccountHolds, HoldControl, OwnRule
from mailrelay.control.queue import EntryFilter
from mailrelay.directory.model import Account
from mailrelay.observe.events import EventKind
from mailrelay.policy.holds import HoldRule
from mailrelay.smtp.address import Address
from mailrelay.storage import holds as storage
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.holds import DatabaseHoldRecords, load
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import delivered, new_message

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}


class HoldContract(Base):
    """Rules beside a queue."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """One account, an empty queue, no rules."""
        self.database: Database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "main")
        directory = DatabaseDirectory(self.database, lambda: 1.0)
        self.account_id = self.successResultOf(directory.add_account("op", "anna", ACCOUNT))
        spool = RowSpool(self.database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(self.database, ids_of(self.database), node, spool)
        self.records = DatabaseQueueRecords(self.database, lambda: node, lambda names: None)
        rules = DatabaseHoldRecords(self.database, lambda: 7.0)
        self.control = HoldControl(rules, self.records, lambda: 300.0, "op")

    async def add(
        self, recipient: str, sender: str | None = "s@client.test", **message: Any
    ) -> int:
        """An entry that is ready; its id."""
        reverse_path = Address.parse(sender) if sender else None
        new = new_message(
            self.queue,
            message={"reverse_path": reverse_path, **message},
            recipient=Address.parse(recipient),
        )
        await self.queue.add(new)
        return new.entries[0].id

    async def test_everything_given_must_fit(self) -> None:
        """Account, sender and recipient, as domain or address; each one narrows."""
        mine = {"account_id": self.account_id}
        first = await self.add("r@a.test", "s@b.test", **mine)
        second = await self.add("r@a.test", "s@sub.b.test")
        third = await self.add("R@xa.test", None)
        ids = [first, second, third]
        for given, expected in (
            ((None, None, None), ids),
            (("anna", None, None), [first]),
            ((None, "B.test", None), [first]),
            ((None, "s@sub.b.test", None), [second]),
            ((None, "", None), [third]),
            ((None, None, "a.test"), [first, second]),
            ((None, None, "r@A.TEST"), [first, second]),
            ((None, None, "r@xa.test"), []),
            (("anna", "sub.b.test", None), []),
            (("anna", "b.test", "r@a.test"), [first]),
        ):
            _, held = await self.control.add(*given)
            self.assertEqual(list(held), expected, given)
            await self.records.release("op", held, 100.0)

    async def test_what_is_no_longer_ready(self) -> None:
        """Held before, delivered, claimed: the first two stay as they are, the last is held."""
        held, done, claimed = [await self.add(f"u{i}@a.test") for i in range(3)]
        await self.records.hold("op", [held], 1.0)
        entries = {e.id: e for e in await self.queue.claim_due(1e9, 10, [])}
        await self.queue.finish_attempts([delivered(entries[done])], [])
        self.assertEqual(list((await self.control.add(None, None, "a.test"))[1]), [claimed])
        found = await self.records.find(EntryFilter(ids=[claimed]), 0.0)
        events = await self.records.events(found[0].entry.message.id)
        self.assertEqual(
            (events[-1].kind, events[-1].data["by"], events[-1].at), (EventKind.HELD, "op", 300.0)
        )

    async def test_many(self) -> None:
        """More entries than fit in one page are all held."""
        self.patch(holds, "_PAGE", 100)
        new = new_message(self.queue, 301)
        entries = [
            evolve(entry, recipient=Address(f"u{at}", "a.test" if at % 7 else "b.test"))
            for at, entry in enumerate(new.entries)
        ]
        await self.queue.add(evolve(new, entries=entries))
        _, held = await self.control.add(None, None, "a.test")
        self.assertEqual(len(held), 258)

    async def test_rules(self) -> None:
        """Rules are loaded as stored, listed with their account, told of and audited."""
        await self.control.add("anna", "", None)
        rule, _ = await self.control.add(None, "Example.ORG", "J.Doe@example.NET")
        expected = [
            HoldRule(rule.id - 1, self.account_id, "", None),
            HoldRule(rule.id, None, "example.org", "J.Doe@example.net"),
        ]
        self.assertEqual(await self.database.read(load), expected)
        listed = await self.control.rules()
        self.assertEqual(
            [(one.rule, one.account) for one in listed],
            [
                (expected[0], "anna"),
                (expected[1], None),
            ],
        )
        held = await self.add("r@a.test", None, account_id=self.account_id)
        await self.control.remove(rule.id)
        self.assertEqual(await self.database.read(load), expected[:1])
        self.assertEqual(len(await self.records.find(EntryFilter(ids=[held]), 0.0)), 1)
        changes = await self.database.read(lambda c: changes_after(c, 0))
        self.assertEqual([kind for _, kind in changes][1:], ["holds"] * 3)
        wanted = select(tables.audit.c.action).order_by(tables.audit.c.id)
        actions = await self.database.read(lambda c: list(c.execute(wanted).scalars()))
        self.assertEqual(actions[1:], ["holdrule add", "holdrule add", "holdrule remove"])

    async def test_removal_leaves_holds(self) -> None:
        """What a rule has held stays held."""
        id_ = await self.add("r@a.test")
        rule, _ = await self.control.add(None, None, None)
        await self.control.remove(rule.id)
        [view] = await self.records.find(EntryFilter(held=True), 0.0)
        self.assertEqual(view.entry.id, id_)

    async def test_own(self) -> None:
        """An account sees and removes its own rules alone; what no other holds is released."""
        holds = AccountHolds(self.control, Account(self.account_id, "anna"))
        first = await self.add("r@a.test", account_id=self.account_id)
        second = await self.add("r@b.test", account_id=self.account_id)
        others = await self.add("r@a.test")
        everybodys, held = await self.control.add(None, None, "b.test")
        self.assertEqual(list(held), [second])
        self.assertEqual(list(await holds.rules()), [])
        rule, count = await holds.add(None, None)
        self.assertEqual((rule.account_id, count), (self.account_id, 1))
        self.assertEqual(list(await holds.rules()), [OwnRule(rule, 2, is_more=False)])
        other = AccountHolds(self.control, Account(self.account_id + 1, "bert"))
        for of, id_ in ((other, rule.id), (holds, everybodys.id), (holds, 99)):
            await self.assertFailure(Deferred.fromCoroutine(of.remove(id_)), NoSuch)
        self.assertEqual(await holds.remove(rule.id, releases=True), 1)
        ready = await self.records.find(EntryFilter(held=False), 0.0)
        self.assertEqual([view.entry.id for view in ready], [first, others])

    async def test_own_that_stays_held(self) -> None:
        """A rule that is removed releases nothing unless that is asked for."""
        holds = AccountHolds(self.control, Account(self.account_id, "anna"))
        id_ = await self.add("r@a.test", account_id=self.account_id)
        rule, _ = await holds.add("client.test", None)
        self.assertEqual(await holds.remove(rule.id), 0)
        [view] = await self.records.find(EntryFilter(held=True), 0.0)
        self.assertEqual(view.entry.id, id_)

    async def test_not_too_many_of_an_account(self) -> None:
        """Each is compared with all that the account sends."""
        self.patch(storage, "MOST_RULES", 2)
        for domain in ("a.test", "b.test"):
            await self.control.add("anna", None, domain)
            await self.control.add(None, None, domain)
        more = self.control.add("anna", None, "c.test")
        await self.assertFailure(Deferred.fromCoroutine(more), Refusal)
        await self.control.add(None, None, "c.test")

    async def test_refused(self) -> None:
        """The same again, of nobody, of nothing that is there, no address."""
        rule, _ = await self.control.add(None, None, "a.test")
        for work, error in (
            (self.control.add(None, None, "A.test"), AlreadyThere),
            (self.control.add("nobody", None, None), NoSuch),
            (self.control.remove(rule.id + 1), NoSuch),
            (self.control.add(None, "a@b@c", None), Refusal),
            (self.control.add(None, None, "no domain"), Refusal),
        ):
            await self.assertFailure(Deferred.fromCoroutine(work), error)
        self.assertEqual(len(await self.control.rules()), 1)


class SQLiteTests(HoldContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(HoldContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
