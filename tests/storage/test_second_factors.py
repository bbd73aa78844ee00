"""FactorRecords on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select
from twisted.trial.unittest import TestCase

from mailrelay.control.second_factor import Factor
from mailrelay.storage import tables
from mailrelay.storage.directory import load
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.second_factors import DatabaseFactors
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on
from tests.storage.test_holds import ACCOUNT

FIRST, SECOND = Factor("AAAA", 1, ("x", "y")), Factor("AAAA", 2, ("x",))


class FactorContract(Base):
    """An account's, and the administrator's."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    async def test_life(self) -> None:
        """On, used by who read it as it is, off; others have nothing of it."""
        database = database_on(self, self.make_engine())
        directory = DatabaseDirectory(database, lambda: 1.0)
        anna = await directory.add_account("op", "anna", ACCOUNT)
        bert = await directory.add_account("op", "bert", ACCOUNT)
        records = DatabaseFactors(database, lambda: 5.0)
        for whose, name in ((anna, "anna"), (None, "administrator")):
            self.assertIsNone(await records.find(whose))
            self.assertTrue(await records.turn_on("anna herself", whose, FIRST))
            self.assertFalse(await records.turn_on("op", whose, SECOND))
            self.assertEqual(await records.find(whose), FIRST)
            self.assertIsNone(await records.find(bert))
            self.assertFalse(await records.use(bert, FIRST, SECOND))
            self.assertTrue(await records.use(whose, FIRST, SECOND))
            self.assertFalse(await records.use(whose, FIRST, SECOND), "it was used")
            self.assertEqual(await records.find(whose), SECOND)
            accounts = (await database.read(load)).accounts
            self.assertTrue(accounts[anna].has_second_factor)
            self.assertFalse(accounts[bert].has_second_factor)
            row = await database.read(_last_audited)
            self.assertEqual(
                (row.actor, row.action, row.subject), ("anna herself", "second factor on", name)
            )
        for whose in (anna, None):
            self.assertTrue(await records.turn_off("op", whose))
            self.assertFalse(await records.turn_off("op", whose))
            self.assertIsNone(await records.find(whose))
        self.assertFalse(await records.turn_on("op", 99, FIRST))


def _last_audited(connection: Connection) -> Any:
    return connection.execute(select(tables.audit).order_by(tables.audit.c.id.desc())).first()


class SQLiteTests(OnSQLite, FactorContract, TestCase):
    """In a file."""


class PostgresTests(OnPostgres, FactorContract, TestCase):
    """On the server that is given."""
