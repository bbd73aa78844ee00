"""What is kept of lists that are watched, on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailrelay.control.listings import Listing
from mailrelay.storage.listings import DatabaseListings
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ONE = Listing("a.test", "192.0.2.1", 5.0, "127.0.0.2", 9.0)
TWO = Listing("b.test", "2001:db8::1", None, "", 9.0, "it refuses")


class ListingsContract(Base):
    """See ListingRecords."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    async def test_kept(self) -> None:
        """What is put replaces what was said of the same; lists that are not watched are gone."""
        records = DatabaseListings(database_on(self, self.make_engine()))
        self.assertEqual(await records.load(), [])
        zones = ["a.test", "b.test"]
        await records.put([TWO, ONE], zones)
        self.assertEqual(await records.load(), [ONE, TWO])
        off = evolve(ONE, listed_since=None, text="", checked_at=10.0)
        await records.put([off], zones)
        self.assertEqual(await records.load(), [off, TWO])
        await records.put([], ["b.test"])
        self.assertEqual(await records.load(), [TWO])


class SQLiteListingsTests(OnSQLite, ListingsContract, TestCase):
    """On SQLite."""


class PostgresListingsTests(OnPostgres, ListingsContract, TestCase):
    """On PostgreSQL."""
