"""What keeping MTA-STS policies must do on every database."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailrelay.mailauth.mta_sts import Mode, Policy
from mailrelay.outbound.mta_sts import StoredPolicy
from mailrelay.storage.mta_sts import DatabaseMTASTS
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

POLICY = Policy(Mode.ENFORCE, ("mx.peer.test", "*.far.test"), 86400)
STORED = StoredPolicy("peer.test", "20260101T000000", POLICY, 1000.5)


class MTASTSContract(Base):
    """Policies of some domains."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """None is known."""
        self.records = DatabaseMTASTS(database_on(self, self.make_engine()))

    async def test_kept(self) -> None:
        """As it was put, the last one of a domain."""
        self.assertIsNone(await self.records.get("peer.test"))
        await self.records.put(STORED)
        self.assertEqual(await self.records.get("peer.test"), STORED)
        other = evolve(STORED, domain="other.test", policy=Policy(Mode.NONE, (), 60))
        await self.records.put(other)
        newer = evolve(STORED, policy_id="2", policy=evolve(POLICY, mode=Mode.TESTING))
        await self.records.put(newer)
        self.assertEqual(await self.records.get("peer.test"), newer)
        self.assertEqual(await self.records.get("other.test"), other)

    async def test_longest(self) -> None:
        """What the parser lets through fits."""
        hosts = tuple(f"{'a' * 60}{n}.{'b' * 60}.{'c' * 60}.{'d' * 60}" for n in range(100))
        domain = ".".join(["e" * 60] * 4)
        longest = StoredPolicy(domain, "9" * 32, Policy(Mode.TESTING, hosts, 31_557_600), 1e9)
        await self.records.put(longest)
        self.assertEqual(await self.records.get(domain), longest)

    async def test_expired(self) -> None:
        """Only what is over goes."""
        await self.records.put(STORED)
        await self.records.put(evolve(STORED, domain="later.test", fetched_at=2000.0))
        self.assertEqual(await self.records.forget_expired(STORED.expires_at), 1)
        self.assertIsNone(await self.records.get("peer.test"))
        self.assertIsNotNone(await self.records.get("later.test"))


class SQLiteMTASTSTests(OnSQLite, MTASTSContract, TestCase):
    """The contract on SQLite."""


class PostgresMTASTSTests(OnPostgres, MTASTSContract, TestCase):
    """The contract on PostgreSQL."""
