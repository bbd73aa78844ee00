"""What must be kept of greylisting, and of known senders, on every database."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from mailrelay.acceptance.greylisting import Triplet
from mailrelay.storage.greylist import DatabaseGreylist
from mailrelay.storage.known_senders import DatabaseKnownSenders
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

KEY = bytes(range(16))


class GreylistContract(Base):
    """Whom greylisting has met."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """An empty store."""
        self.database = database_on(self, self.make_engine())
        self.greylist = DatabaseGreylist(self.database)
        self.senders = DatabaseKnownSenders(self.database)

    async def test_kept(self) -> None:
        """What was said last is known."""
        self.assertIsNone(await self.greylist.find(KEY))
        for one in (Triplet(KEY, 1.0, 1.0), Triplet(KEY, 1.0, 70.0, 70.0), Triplet(KEY, 9.5, 9.5)):
            await self.greylist.keep(one)
            self.assertEqual(await self.greylist.find(KEY), one)
        self.assertIsNone(await self.greylist.find(KEY[::-1]))

    async def test_sweep(self) -> None:
        """What is over goes, the oldest first and so many at a time."""
        for n in range(6):
            passed = 5.0 if n % 2 else None
            await self.greylist.keep(Triplet(bytes([n]) * 16, 0.0, float(n), passed))
        self.assertEqual(await self.greylist.sweep(4.0, 1.0, 2), 2)  # 0 and 1
        self.assertEqual(await self.greylist.sweep(4.0, 1.0, 9), 2)  # 2 and 4; 3 and 5 passed
        self.assertEqual(await self.greylist.sweep(4.0, 1.0, 9), 0)
        left = [n for n in range(6) if await self.greylist.find(bytes([n]) * 16)]
        self.assertEqual(left, [3, 5])

    async def test_senders(self) -> None:
        """An account knows whom it has met, another does not; who was not met for long goes."""
        await self.senders.met([1, 2], "a@far.test", 10.0)
        await self.senders.met([2], "a@far.test", 20.0)
        await self.senders.met([2], "b@far.test", 30.0)
        self.assertEqual(await self.senders.known_to([1, 2, 3], "a@far.test"), {1: 10.0, 2: 20.0})
        self.assertEqual(await self.senders.known_to([1], "b@far.test"), {})
        self.assertEqual(await self.senders.sweep(20.0, 1), 1)
        self.assertEqual(await self.senders.sweep(20.0, 9), 1)
        self.assertEqual(await self.senders.known_to([1, 2], "b@far.test"), {2: 30.0})


class SQLiteGreylistTests(OnSQLite, GreylistContract, TestCase):
    """On SQLite."""


class PostgresGreylistTests(OnPostgres, GreylistContract, TestCase):
    """On PostgreSQL."""
