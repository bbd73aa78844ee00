"""AuditRecords (control/audit.py) over Core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, or_, select
from twisted.internet.defer import Deferred

from mailrelay.control.audit import MOST_LISTED, Change, ChangeFilter
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_row = tables.audit.c


@frozen
class DatabaseAudit:
    """AuditRecords over one database."""

    database: Database

    def find(self, wanted: ChangeFilter) -> Deferred[Sequence[Change]]:
        """See AuditRecords."""
        found = (
            select(tables.audit)
            .where(*_conditions(wanted))
            .order_by(_row.id.desc())
            .limit(min(wanted.limit, MOST_LISTED))
        )

        def work(connection: Connection) -> Sequence[Change]:
            rows = connection.execute(found)
            return [Change(one.id, one.at, one.actor, one.action, one.subject) for one in rows]

        return self.database.read(work)


def _conditions(wanted: ChangeFilter) -> Iterator[ColumnElement[bool]]:
    within: Sequence[tuple[Any, str | None]] = (
        (_row.actor, wanted.actor),
        (_row.subject, wanted.subject),
    )
    for column, text in within:
        if text is not None:
            yield column.icontains(text, autoescape=True)
    if wanted.action is not None:
        words = _row.action.startswith(f"{wanted.action} ", autoescape=True)
        yield or_(_row.action == wanted.action, words)
    if wanted.since is not None:
        yield _row.at >= wanted.since
    if wanted.before_id is not None:
        yield _row.id < wanted.before_id
