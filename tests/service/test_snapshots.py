"""The suppression lists that a process has in memory stay what the store says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.suppression import Listed, lists_of
from mailrelay.service.snapshots import Snapshots
from mailrelay.smtp.address import Address
from mailrelay.storage.directory import changes_after
from mailrelay.storage.suppression import MORE, after_outcomes, everybody, remove
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

JOE = Address.parse("joe@example.net")


def unsubscribed(recipient: Address = JOE) -> NewEvent:
    """An event that suppresses."""
    data: dict[str, object] = {"recipient": str(recipient)}
    return NewEvent(EventKind.UNSUBSCRIBED, 1.0, 65, 66, 1, data)


def snapshots_over(database: Any, lists: Any = None) -> Snapshots:
    """Those of a process that started now."""
    stores: Any = SimpleNamespace(
        database=database,
        directory=None,
        endpoints={},
        hold_rules=[],
        suppressed=lists or {},
        newest_change=0,
        sent_before=[],
    )
    return Snapshots(stores, lambda: 5.0)


class OtherProcessContract(Base):
    """What one process records, others read."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two processes."""
        self.database: Any = database_on(self, self.make_engine())
        self.one, self.other = snapshots_over(self.database), snapshots_over(self.database)

    async def unsubscribe(self, recipient: Address = JOE) -> None:
        """The first process records that somebody unsubscribed."""
        events = await self.database.write(lambda c: after_outcomes(c, [unsubscribed(recipient)]))
        self.one.committed(events)

    async def test_others_know(self) -> None:
        """It is told as one address, which others read; the whole of the lists is not."""
        await self.unsubscribe()
        self.assertTrue(self.one.suppressed(1, JOE))
        self.assertFalse(self.other.suppressed(1, JOE))
        changes = await self.database.read(lambda c: changes_after(c, 0))
        self.assertEqual([kind for _, kind in changes], [MORE])
        self.other.changed({MORE})
        self.assertTrue(self.other.suppressed(1, JOE))
        self.assertFalse(self.other.suppressed(2, JOE))

    async def test_taken_off_meanwhile(self) -> None:
        """What is off the list again is not put on it, and what was told before is not again."""
        await self.unsubscribe()
        await self.database.write(lambda c: remove(c, 1, str(JOE), 1.0))
        self.other.changed({MORE})
        self.assertFalse(self.other.suppressed(1, JOE))
        await self.unsubscribe(Address.parse("ann@example.net"))
        await self.unsubscribe()
        self.other.changed({MORE, "suppression"})
        self.assertEqual(self.other.suppressed._lists, await self.database.read(everybody))


class SQLiteTests(OtherProcessContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(OtherProcessContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine


class ReadingTests(TestCase):
    """While the lists are read."""

    def test_committed_meanwhile(self) -> None:
        """What is committed after the lists were read, and before they are here, is not lost."""
        reading: list[Deferred[Any]] = []

        def read(work: object) -> Deferred[Any]:
            reading.append(Deferred())
            return reading[-1]

        snapshots = snapshots_over(SimpleNamespace(read=read), lists_of([Listed(2, "old@x")]))
        snapshots.changed({"suppression"})
        snapshots.changed({"suppression"})
        event = unsubscribed()
        snapshots.committed(
            [NewEvent(event.kind, 1.0, 65, 66, 1, {**event.data, "suppressing": True})]
        )
        for one in reading:
            one.callback({})
            self.assertTrue(snapshots.suppressed(1, JOE))
        self.assertFalse(snapshots.suppressed(2, Address("old", "x")))
        snapshots.changed({"suppression"})
        reading[-1].callback({})
        self.assertFalse(snapshots.suppressed(1, JOE))
