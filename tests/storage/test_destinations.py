"""What waits for which domain."""

from __future__ import annotations

from attrs import evolve
from sqlalchemy import insert, update
from twisted.trial.unittest import TestCase

from mailrelay.control import destinations
from mailrelay.control.destinations import DestinationControl, DomainWaiting
from mailrelay.net.threads import AtOnce
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.destinations import DatabaseDestinations
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import DatabaseQueueStore, insert_messages
from mailrelay.storage.spool import FileSpool
from tests.storage.databases import (
    Base,
    OnPostgres,
    OnSQLite,
    database_on,
    ids_of,
    temporary_directory,
)
from tests.storage.values import new_message

RECIPIENTS = [
    *(("a", "x.test"), ("b", "x.test"), ("odd@part", "y.test")),
    *(("c", "x.test"), ("d", "z.test")),
]


class DestinationsContract(Base):
    """What a store must know of what waits."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Entries for several domains."""
        database = database_on(self, self.make_engine())
        spool = FileSpool(temporary_directory(self), AtOnce(), lambda: "x")
        store = DatabaseQueueStore(database, ids_of(database), Node(1, 1), spool)
        self.ids = []
        with database.engine.begin() as connection:
            for number, (localpart, domain) in enumerate(
                (
                    ("a", "x.test"),
                    ("b", "x.test"),
                    ("odd@part", "y.test"),
                    ("c", "x.test"),
                    ("d", "z.test"),
                )
            ):
                new = new_message(store, queued_at=10.0 + number, next_attempt_at=90.0 - number)
                [entry] = new.entries
                entry = evolve(entry, recipient=Address(localpart, domain))
                insert_messages(connection, [evolve(new, entries=[entry])], Node(1, 1))
                self.ids.append(entry.id)
            rows = tables.entry
            for index, values in ((1, {"state": 1}), (3, {"attempts": 2}), (4, {"state": 2})):
                connection.execute(update(rows).where(rows.c.id == self.ids[index]).values(values))
            for number, said in enumerate(("old", "try later")):
                data = b'{"code": 451, "status": "4.2.0", "reply": "%s"}' % said.encode()
                message = self.ids[3] - 1
                connection.execute(
                    insert(tables.event).values(
                        at=number,
                        kind="delayed",
                        message_id=message,
                        entry_id=self.ids[3],
                        data=data,
                    )
                )
        self.control = DestinationControl(DatabaseDestinations(database), lambda: 0.0, "op")
        self.x = DomainWaiting("x.test", 3, 1, 10.0, 87.0, self.ids[3], "451 4.2.0 try later")
        self.y = DomainWaiting("y.test", 1, 0, 12.0, 88.0)

    async def test_domains(self) -> None:
        """What lives, those with the most first; retired ones are not counted."""
        found = await self.control.domains()
        self.assertEqual(list(found.domains), [self.x, self.y])
        self.assertEqual((found.looked_at, found.is_whole), (4, True))
        self.assertEqual(list((await self.control.domains(shown=1)).domains), [self.x])

    async def test_in_parts(self) -> None:
        """Parts are summed up; of some of them it is said that they are not all."""
        self.patch(destinations, "LOOK", 1)
        self.assertEqual(list((await self.control.domains()).domains), [self.x, self.y])
        found = await self.control.domains(2)
        self.assertEqual((found.looked_at, found.is_whole), (2, False))
        self.assertEqual([(one.domain, one.waiting) for one in found.domains], [("x.test", 2)])

    async def test_empty(self) -> None:
        """Nothing waits behind the last."""
        found = await self.control.records.count(self.ids[-1], 5)
        self.assertEqual((list(found.domains), found.is_end), ([], True))


class SQLiteTests(DestinationsContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(DestinationsContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
