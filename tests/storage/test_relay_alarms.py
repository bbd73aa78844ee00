"""What alarms of relay hosts must do on every database."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from mailrelay.storage.database import Database
from mailrelay.storage.nodes import bury, register
from mailrelay.storage.relay_alarms import MOST_CHARACTERS, DatabaseRelayAlarms
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on


class RelayAlarmsContract(Base):
    """Two nodes."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Nothing is out."""
        self.database: Database = database_on(self, self.make_engine())
        self.at = 1.0
        with self.database.engine.begin() as connection:
            nodes = [register(connection, name) for name in ("one", "two")]
        self.nodes = [node.id for node in nodes]
        self.one, self.two = (
            DatabaseRelayAlarms(self.database, node.id, lambda: self.at) for node in nodes
        )

    async def told(self) -> list[tuple[str, str, float, str]]:
        """Everything that is out."""
        found = await self.one.load()
        return [(alarm.node, alarm.subject, alarm.since, alarm.reason) for alarm in found]

    async def test_raised_and_cleared(self) -> None:
        """Each node's own; what is raised again is told as of then."""
        self.one.raised("b", "first")
        self.at = 2.0
        self.two.raised("b", "421 busy\0")
        self.one.raised("a" * 2000, "y" * 2000)
        self.at = 3.0
        self.one.raised("b", "again")
        most = MOST_CHARACTERS
        expected = [
            ("one", "a" * most, 2.0, "y" * most),
            ("two", "b", 2.0, "421 busy?"),
            ("one", "b", 3.0, "again"),
        ]
        self.assertEqual(await self.told(), expected)
        self.one.cleared("a" * 2000)
        self.one.cleared("nothing")
        self.assertEqual(await self.told(), expected[1:])

    async def test_lives_of_nodes(self) -> None:
        """A node that begins anew, or is dead, has none out."""
        for alarms in (self.one, self.two):
            alarms.raised("a", "x")
        with self.database.engine.begin() as connection:
            register(connection, "one")
        self.assertEqual([node for node, *_ in await self.told()], ["two"])
        with self.database.engine.begin() as connection:
            bury(connection, self.nodes[1])
        self.assertEqual(await self.told(), [])


class SQLiteRelayAlarmsTests(OnSQLite, RelayAlarmsContract, TestCase):
    """On SQLite."""


class PostgresRelayAlarmsTests(OnPostgres, RelayAlarmsContract, TestCase):
    """On PostgreSQL."""
