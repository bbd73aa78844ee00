"""Accounts in number, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import insert, update
from twisted.trial.unittest import TestCase

from mailrelay.control.accounts import MOST_ADDRESSES, AccountQuery, AccountsControl
from mailrelay.control.audit import ChangeFilter
from mailrelay.control.directory_checks import NEW_ACCOUNT
from mailrelay.control.errors import NoSuch
from mailrelay.control.sessions import Session
from mailrelay.directory.model import Domain
from mailrelay.storage import tables
from mailrelay.storage.accounts import DatabaseAccounts
from mailrelay.storage.audit import DatabaseAudit
from mailrelay.storage.database import Database
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.sessions import DatabaseSessions
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

NAMES = ("ann", "ben", "carl", "dora")


class AccountsContract(Base):
    """See AccountRecords."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    async def make(self) -> Database:
        """A database with NAMES; Ann has many addresses, Ben has used much."""
        database = database_on(self, self.make_engine())
        records = DatabaseDirectory(database, lambda: 1.0)
        await records.add_domain("op", Domain(0, "a.test"))
        for name in NAMES:
            await records.add_account("op", name, {**NEW_ACCOUNT, "full_name": f"{name}_x"})
        for number in range(MOST_ADDRESSES + 2):
            await records.add_address("op", f"n{number}", "a.test", "ann")
        await records.add_address("op", "", "a.test", "ben")
        account = tables.account
        used = {"used_bytes": 5, "quota_bytes": 9, "messages_per_day": 7, "login_disabled": True}
        await database.write(
            lambda c: c.execute(update(account).where(account.c.name == "ben").values(used))
        )
        return database

    async def test_listed(self) -> None:
        """By name, a page after the other, with what each has used."""
        records = DatabaseAccounts(await self.make(), lambda: 1.0)
        ann, ben = await records.listed(AccountQuery(limit=2))
        self.assertEqual((ann.name, ann.address_count), ("ann", MOST_ADDRESSES + 2))
        self.assertEqual(ann.addresses, [f"n{n}@a.test" for n in range(MOST_ADDRESSES)])
        self.assertEqual((ben.used_bytes, ben.quota_bytes, ben.messages_per_day), (5, 9, 7))
        self.assertEqual((ben.addresses, ben.login_disabled), (["@a.test"], True))
        self.assertEqual(await records.use("ben"), ben)
        rest = await records.listed(AccountQuery(after="ben"))
        self.assertEqual([one.name for one in rest], ["carl", "dora"])
        with self.assertRaises(NoSuch):
            await records.use("nobody")

    async def test_searched(self) -> None:
        """By a part of a name or of an address, whatever the case; nothing is a pattern."""
        records = DatabaseAccounts(await self.make(), lambda: 1.0)
        for text, names in {
            "AR": ["carl"],
            "N3@A": ["ann"],
            "@a.test": ["ann", "ben"],
            "a_x": ["dora"],
            "%": [],
        }.items():
            found = await records.listed(AccountQuery(text))
            self.assertEqual([one.name for one in found], names, text)

    async def test_counted(self) -> None:
        """What was sent is told with them."""
        database = await self.make()
        records = DatabaseAccounts(database, lambda: 1.0)
        control = AccountsControl(records, lambda id_: id_ * 10, "me")
        found = await control.listed(AccountQuery())
        self.assertEqual([one.sent_today for one in found], [one.id * 10 for one in found])
        one = await control.use("ann")
        self.assertEqual(one.sent_today, one.id * 10)

    async def test_sessions(self) -> None:
        """Those of one account are listed and ended, and that is audited."""
        database = await self.make()
        records, sessions = DatabaseAccounts(database, lambda: 1.0), DatabaseSessions(database)
        ann, ben = await records.listed(AccountQuery(limit=2))
        one = Session(b"a", ann.id, b"c", 1.0, 2.0, "192.0.2.1", "agent")
        two, other = evolve(one, token_hash=b"b", seen_at=3.0), evolve(one, token_hash=b"c")
        for session in (one, two, evolve(other, account_id=ben.id)):
            await sessions.add(session, 0.0)
        self.assertEqual(await records.sessions("ann"), [two, one])
        self.assertEqual(await records.end_sessions("me", "ann"), 2)
        self.assertEqual(await records.end_sessions("me", "ann"), 0)
        self.assertEqual(await records.sessions("ann"), [])
        self.assertEqual(len(await records.sessions("ben")), 1)
        changes = await DatabaseAudit(database).find(ChangeFilter(actor="me"))
        self.assertEqual([(c.action, c.subject) for c in changes], [("account logout", "ann")])
        for asked in (records.sessions("nobody"), records.end_sessions("me", "nobody")):
            with self.assertRaises(NoSuch):
                await asked

    async def test_many(self) -> None:
        """A page of 10,000 has as many as were asked for."""
        database = await self.make()
        rows = [{**NEW_ACCOUNT, "name": f"m{n:05}", "id": n + 100} for n in range(10_000)]
        await database.write(lambda c: c.execute(insert(tables.account), rows))
        found = await DatabaseAccounts(database, lambda: 1.0).listed(AccountQuery("m", "m05000"))
        self.assertEqual([one.name for one in found], [f"m{n:05}" for n in range(5001, 5101)])


class SQLiteAccountsTests(OnSQLite, AccountsContract, TestCase):
    """On SQLite."""


class PostgresAccountsTests(OnPostgres, AccountsContract, TestCase):
    """On PostgreSQL."""
