"""What operators' suppression lists must do on every database."""

from __future__ import annotations

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
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import changes_after
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.suppression import everybody
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
        read = self.database.read(everybody)
        self.assertEqual(len(set(await read)), 6)

    async def test_import(self) -> None:
        """Many are added in small transactions; those that are there stay as they are."""
        await self.control.add("anna", "u7@example.net", "first")
        new = [
            NewSuppression(Address(f"u{at}", "example.net"), 1.0, False, "imported")
            for at in range(250)
        ]
        self.assertEqual(await self.control.import_all("anna", new), 249)
        self.assertEqual(await self.control.import_all("anna", new), 0)
        found = {o.suppression.base_address: o for o in await self.control.everything("anna")}
        self.assertEqual(len(found), 250)
        self.assertEqual(found["u7@example.net"].suppression.reason, "first")
        self.assertEqual(self.told(), ["suppression"] * 4)

    async def test_why(self) -> None:
        """What is known of an address, suppressed or not."""
        with self.database.engine.begin() as connection:
            streak = {"recipient": "a+b@example.net", "failures": 2}
            connection.execute(insert(tables.failure_streak).values(streak))
        found = await self.control.why("anna", "a+b@example.net")
        self.assertEqual(
            (found.base_address, found.suppression, found.failures_in_a_row),
            ("a@example.net", None, 2),
        )
        await self.control.add("anna", "a@example.net", "asked")
        found = await self.control.why("anna", "a+c@example.net")
        assert found.suppression is not None
        self.assertEqual((found.suppression.reason, found.failures_in_a_row), ("asked", 0))
        self.assertIsNone((await self.control.why("bert", "a@example.net")).suppression)


class SQLiteTests(SuppressionContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(SuppressionContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
