"""What operators' suppression lists must do on every database."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import insert, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.suppression import (
    NewSuppression,
    SuppressionControl,
    SuppressionFilter,
    SuppressionRecords,
)
from mailrelay.policy.suppression import Cause
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.suppression import KEPT_AFTER_END, everybody, sweep_suppressions
from mailrelay.storage.suppression_records import DatabaseSuppressionRecords
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}


class SuppressionContract(Base):
    """Lists of two accounts."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two accounts, with nothing suppressed."""
        self.database: Database = database_on(self, self.make_engine())
        directory = DatabaseDirectory(self.database, lambda: 1.0)
        for name in ("anna", "bert"):
            self.successResultOf(directory.add_account("op", name, ACCOUNT))
        records: SuppressionRecords = DatabaseSuppressionRecords(self.database, lambda: 7.0)
        self.records = records
        self.control = SuppressionControl(records, lambda: 5.0, "op")

    def told(self) -> list[str]:
        """The kinds of changes that running processes are told of, but the directory's."""
        read: Deferred[list[tuple[int, str]]] = self.database.read(lambda c: changes_after(c, 0))
        return [kind for _, kind in self.successResultOf(read) if kind != "directory"]

    def audit(self) -> list[tuple[Any, ...]]:
        """Who did what with the lists."""
        audit = tables.audit.c
        wanted = select(audit.at, audit.actor, audit.action, audit.subject).order_by(audit.id)
        read = self.database.read(lambda c: [tuple(row) for row in c.execute(wanted)])
        rows: list[tuple[Any, ...]] = self.successResultOf(read)
        return [row for row in rows if row[2].startswith("suppression")]

    async def test_added_and_removed(self) -> None:
        """A change is told and audited; every spelling is the same address."""
        self.assertEqual(
            await self.control.add("anna", "J.Doe+x@Example.org", "asked"), "jdoe@example.org"
        )
        [one] = await self.control.find(SuppressionFilter("anna"))
        kept = one.suppression
        self.assertEqual(
            (one.account, kept.base_address, kept.original_address, kept.added_at),
            ("anna", "jdoe@example.org", "J.Doe+x@example.org", 5.0),
        )
        self.assertEqual((kept.manual, kept.reason), (True, "asked"))
        self.assertEqual(await self.control.remove("anna", "JDOE@example.org"), "jdoe@example.org")
        self.assertEqual(await self.control.find(SuppressionFilter()), [])
        self.assertEqual(self.told(), ["suppression"] * 2)
        self.assertEqual(
            self.audit(),
            [
                (7.0, "op", "suppression add", "anna jdoe@example.org"),
                (7.0, "op", "suppression remove", "anna jdoe@example.org"),
            ],
        )

    async def test_refused(self) -> None:
        """Twice, absent, of nobody, no address: an error that says so, and no change."""
        await self.control.add("anna", "a@example.net")
        before = (self.told(), self.audit())
        for work, error in (
            (self.control.add("anna", "A+b@example.net"), AlreadyThere),
            (self.control.remove("bert", "a@example.net"), NoSuch),
            (self.control.add("nobody", "a@example.net"), NoSuch),
            (self.control.remove("nobody", "a@example.net"), NoSuch),
            (self.control.why("nobody", "a@example.net"), NoSuch),
            (self.control.find(SuppressionFilter("nobody")), NoSuch),
            (self.control.add("anna", "a@"), Refusal),
            (self.control.add("anna", "b@example.net", "two\nlines"), Refusal),
            (self.control.add("anna", "b@example.net", "x" * 501), Refusal),
        ):
            await self.assertFailure(Deferred.fromCoroutine(work), error)
        self.assertEqual((self.told(), self.audit()), before)

    async def test_pages_and_accounts(self) -> None:
        """Lists are apart, and page after page gives every address once."""
        for at in range(5):
            await self.control.add("anna", f"u{at}@example.net")
        await self.control.add("bert", "u1@example.net")
        seen: list[int] = []
        while page := await self.control.find(
            SuppressionFilter(limit=2, after_id=seen[-1] if seen else 0)
        ):
            self.assertLessEqual(len(page), 2)
            seen += [one.suppression.id for one in page]
        self.assertEqual(len(set(seen)), 6)
        of_anna = [one.suppression.base_address for one in await self.control.everything("anna")]
        self.assertEqual(of_anna, [f"u{at}@example.net" for at in range(5)])
        lists = await self.database.read(everybody)
        self.assertEqual(sum(map(len, lists.values())), 6)

    async def test_import(self) -> None:
        """Many are added in small transactions; those that are there stay as they are."""
        await self.control.add("anna", "u7@example.net", "first")
        new = [
            NewSuppression(Address(f"u{at}", "example.net"), 1.0, False, "imported")
            for at in range(250)
        ]
        self.assertEqual(sum(await self.control.import_all("anna", new)), 249)
        self.assertEqual(sum(await self.control.import_all("anna", new)), 0)
        found = {o.suppression.base_address: o for o in await self.control.everything("anna")}
        self.assertEqual(len(found), 250)
        self.assertEqual(found["u7@example.net"].suppression.reason, "first")
        self.assertEqual(self.told(), ["suppression"] * 4)

    async def test_replacing(self) -> None:
        """What takes another's place does so in one transaction: the address stays suppressed."""
        await self.control.add("anna", "u1@example.net", "first")
        new = [NewSuppression(Address("u1", "example.net"), 1.0, True, "second")]
        self.assertEqual(list(await self.control.import_all("anna", new)), [False])
        self.assertEqual(list(await self.control.import_all("anna", new, replacing=True)), [True])
        [found] = await self.control.everything("anna")
        self.assertEqual(found.suppression.reason, "second")
        self.assertEqual([action for _, _, action, _ in self.audit()], ["suppression add"] * 2)

    async def test_why(self) -> None:
        """What is known of an address, suppressed or not."""
        with self.database.engine.begin() as connection:
            streak = {"recipient": "a+b@example.net", "failures": 2}
            connection.execute(insert(tables.failure_streak).values(streak))
        found = await self.control.why("anna", "a+b@example.net")
        self.assertEqual(
            (found.base_address, found.suppressions, found.failures_in_a_row, found.is_suppressed),
            ("a@example.net", [], 2, False),
        )
        await self.control.add("anna", "a@example.net", "asked")
        found = await self.control.why("anna", "a+c@example.net")
        assert found.own is not None
        self.assertEqual((found.own.reason, found.failures_in_a_row), ("asked", 0))
        self.assertTrue(found.is_suppressed)
        self.assertFalse((await self.control.why("bert", "a@example.net")).is_suppressed)

    async def test_why_of_all_lists(self) -> None:
        """The account's own, its whole domain, and both of the server: in that order."""
        await self.control.add(None, "*@example.net", "the server's domain")
        await self.control.add(None, "a@example.net", "the server's")
        await self.control.add("anna", "*@example.net", "the domain")
        await self.control.add("anna", "a+x@example.net", "own")
        await self.control.add("bert", "b@example.net", "somebody else's")
        found = await self.control.why("anna", "a@example.net")
        self.assertEqual(
            [(one.account, one.suppression.reason) for one in found.suppressions],
            [
                ("anna", "own"),
                ("anna", "the domain"),
                (None, "the server's"),
                (None, "the server's domain"),
            ],
        )
        found = await self.control.why("bert", "a@example.net")
        self.assertEqual([one.account for one in found.suppressions], [None, None])
        self.assertEqual((found.own, found.is_suppressed), (None, True))
        self.assertEqual([one.account for one in await self.control.everything(None)], [None, None])
        self.assertEqual(await self.control.remove(None, "*@example.net"), "*@example.net")
        self.assertEqual(len((await self.control.why("bert", "a@example.net")).suppressions), 1)

    async def test_ended(self) -> None:
        """What has ended is shown as such, gives way to what is new, and is swept in time."""
        await self.control.add("anna", "a@example.net", "for a second", expires_at=6.0)
        [one] = await self.control.find(SuppressionFilter("anna", has_ended=True))  # it is 7
        self.assertTrue(one.has_ended)
        found = await self.control.why("anna", "a@example.net")
        self.assertEqual((found.is_suppressed, found.own), (False, None))
        self.assertEqual(len(found.suppressions), 1)
        self.assertEqual(await self.database.read(everybody), {1: {"a@example.net": 6.0}})
        await self.control.add("anna", "a@example.net", "for good")
        [one] = await self.control.find(SuppressionFilter("anna"))
        self.assertEqual((one.suppression.reason, one.has_ended), ("for good", False))
        again = self.control.add("anna", "a@example.net", "shorter", expires_at=9.0)
        await self.assertFailure(Deferred.fromCoroutine(again), AlreadyThere)
        for expires_at in (5.0, 4.0, 1e11):
            work = self.control.add("anna", "b@example.net", expires_at=expires_at)
            await self.assertFailure(Deferred.fromCoroutine(work), Refusal)

    async def test_swept(self) -> None:
        """Some at a time, thirty days after the end; what does not end stays."""
        for at in range(5):
            await self.control.add("anna", f"u{at}@example.net", expires_at=10.0 + at)
        await self.control.add("anna", "stays@example.net")
        for now, limit, left in (
            (10.0 + KEPT_AFTER_END - 1, 9, 6),
            (10.0 + KEPT_AFTER_END + 9, 2, 4),
            (10.0 + KEPT_AFTER_END + 9, 9, 1),
            (1e12, 9, 1),
        ):
            await self.database.write(partial(sweep_suppressions, now=now, limit=limit))
            self.assertEqual(len(await self.control.find(SuppressionFilter("anna"))), left)

    async def test_filters(self) -> None:
        """By list, cause, text, whole domains, and what has ended; all must fit."""
        address = Address("x", "example.net")
        new = [
            NewSuppression(address, 1.0, False, cause=Cause.BOUNCE, evidence="550 no"),
            NewSuppression(Address("Y_z", "other.example"), 1.0, cause=Cause.COMPLAINT),
            NewSuppression(address, 1.0, expires_at=2.0, is_domain=True),
        ]
        await self.control.import_all("anna", new)
        await self.control.import_all(None, new[:1])
        for wanted, bases in (
            (SuppressionFilter("anna"), ["x@example.net", "y_z@other.example", "*@example.net"]),
            (SuppressionFilter(is_servers=True), ["x@example.net"]),
            (SuppressionFilter(cause=Cause.BOUNCE), ["x@example.net"] * 2),
            (SuppressionFilter("anna", cause=Cause.COMPLAINT), ["y_z@other.example"]),
            (SuppressionFilter("anna", text="y_Z@"), ["y_z@other.example"]),
            (SuppressionFilter("anna", text="X_"), []),
            (SuppressionFilter(is_domain=True), ["*@example.net"]),
            (SuppressionFilter("anna", is_domain=False, has_ended=True), []),
            (SuppressionFilter("anna", has_ended=False), ["x@example.net", "y_z@other.example"]),
        ):
            found = await self.control.find(wanted)
            self.assertEqual([one.suppression.base_address for one in found], bases, wanted)
        [one] = await self.control.find(SuppressionFilter("anna", cause=Cause.BOUNCE))
        self.assertEqual((one.suppression.evidence, one.suppression.manual), ("550 no", False))


class SQLiteTests(SuppressionContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(SuppressionContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
