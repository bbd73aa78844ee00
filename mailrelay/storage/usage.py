"""What an account uses (control/usage.py) over Core."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection, func, select, text
from twisted.internet.defer import Deferred

from mailrelay.control.usage import Waiting
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.database import Database

LOOKED_AT = 50_000
"""Entries that are not over, of all accounts, the newest first: there is no index by account."""

_entry, _account = tables.entry, tables.account


@frozen
class DatabaseUsage:
    """UsageRecords over one database."""

    database: Database

    def storage(self, account_id: int) -> Deferred[int]:
        """See UsageRecords."""
        used = select(_account.c.used_bytes).where(_account.c.id == account_id)
        return self.database.read(lambda c: int(c.execute(used).scalar() or 0))

    def waiting(self, account_id: int) -> Deferred[Waiting]:
        """See UsageRecords."""
        return self.database.read(lambda c: waiting(c, account_id, LOOKED_AT))


def waiting(connection: Connection, account_id: int, looked_at: int) -> Waiting:
    """What is not over among the newest ``looked_at`` entries."""
    living = (
        select(_entry.c.state, _entry.c.account_id)
        .where(text("entry.state <> 2"))
        .order_by(_entry.c.id.desc())
        .limit(looked_at)
        .subquery()
    )
    counted = select(living.c.account_id, living.c.state, func.count()).group_by(
        living.c.account_id, living.c.state
    )
    rows = connection.execute(counted).all()
    of = {row.state: int(row[2]) for row in rows if row.account_id == account_id}
    return Waiting(
        of.get(EntryState.READY.value, 0),
        of.get(EntryState.HELD.value, 0),
        is_all=sum(int(row[2]) for row in rows) < looked_at,
    )
