"""What an account sent, as what comes back names it (webhooks/arrival.py)."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Select, false, or_, select
from twisted.internet.defer import Deferred

from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.webhooks.arrival import SentEntry

_entry, _message = tables.entry, tables.message


@frozen
class DatabaseSentEntries:
    """SentEntries over one database."""

    database: Database

    def by_from_id(self, account_id: int, from_id: str) -> Deferred[SentEntry | None]:
        """See SentEntries."""
        wanted = select(_entry.c.id, _entry.c.message_id, _entry.c.recipient).where(
            _entry.c.from_id == from_id, _entry.c.account_id == account_id
        )
        return self.database.read(lambda c: _newest(c, wanted))

    def by_message(
        self, account_id: int, envid: str, message_id: str, recipients: list[str]
    ) -> Deferred[SentEntry | None]:
        """See SentEntries."""
        named = [
            column == value
            for column, value in ((_message.c.envid, envid), (_message.c.message_id, message_id))
            if value
        ]
        wanted = (
            select(_entry.c.id, _entry.c.message_id, _entry.c.recipient)
            .join(_message, _message.c.id == _entry.c.message_id)
            .where(_message.c.account_id == account_id, or_(false(), *named))
            .where(_entry.c.recipient.in_(recipients))
        )

        def find(connection: Connection) -> SentEntry | None:
            return _newest(connection, wanted) if named else None

        return self.database.read(find)


def _newest(connection: Connection, wanted: Select[Any]) -> SentEntry | None:
    row = connection.execute(wanted.order_by(_entry.c.id.desc()).limit(1)).one_or_none()
    return SentEntry(row.id, row.message_id, row.recipient) if row is not None else None
