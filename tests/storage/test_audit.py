"""The audit log, on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from twisted.trial.unittest import TestCase

from mailrelay.control.audit import MOST_LISTED, ChangeFilter
from mailrelay.storage import tables
from mailrelay.storage.audit import DatabaseAudit
from mailrelay.storage.directory import record_audit
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

CHANGES = (
    (10.0, "cli:root", "alias add", "team@a.test x@a.test"),
    (20.0, "api:user@a.test", "alias set", "team@a.test"),
    (30.0, "page of user", "aliasing", "50%_off"),
    (40.0, "cli:Ann", "queue retry", "1 2 3"),
)


class AuditContract(Base):
    """See AuditRecords."""

    def make_engine(self) -> Any:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    async def make_records(self) -> DatabaseAudit:
        """What has CHANGES."""
        database = database_on(self, self.make_engine())

        def work(connection: Any) -> None:
            connection.execute(delete(tables.audit))
            for change in CHANGES:
                record_audit(connection, *change)

        await database.write(work)
        return DatabaseAudit(database)

    async def test_all(self) -> None:
        """The newest first, with everything that was kept; by id, page after page."""
        records = await self.make_records()
        found = await records.find(ChangeFilter())
        self.assertEqual(
            [(one.at, one.actor, one.action, one.subject) for one in found], [*reversed(CHANGES)]
        )
        first = await records.find(ChangeFilter(limit=3))
        rest = await records.find(ChangeFilter(limit=3, before_id=first[-1].id))
        self.assertEqual([*first, *rest], [*found])
        self.assertEqual(len(await records.find(ChangeFilter(limit=MOST_LISTED + 1))), 4)

    async def test_filters(self) -> None:
        """Parts of who and what, whole words of how; nothing in a filter is a pattern."""
        records = await self.make_records()
        cases: list[tuple[dict[str, Any], list[float]]] = [
            ({"actor": "CLI:"}, [40.0, 10.0]),
            ({"action": "alias"}, [20.0, 10.0]),
            ({"action": "alias set"}, [20.0]),
            ({"action": "ali"}, []),
            ({"subject": "TEAM@"}, [20.0, 10.0]),
            ({"subject": "%_o"}, [30.0]),
            ({"subject": "50__"}, []),
            ({"since": 30.0}, [40.0, 30.0]),
            ({"actor": "cli", "action": "queue", "subject": "2", "since": 1.0}, [40.0]),
        ]
        for given, expected in cases:
            found = await records.find(ChangeFilter(**given))
            self.assertEqual([one.at for one in found], expected, given)


class SQLiteAuditTests(OnSQLite, AuditContract, TestCase):
    """On SQLite."""


class PostgresAuditTests(OnPostgres, AuditContract, TestCase):
    """On PostgreSQL."""
