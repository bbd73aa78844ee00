"""What an account sent, as what comes back names it (webhooks/sent.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Select, case, exists, false, or_, select
from twisted.internet.defer import Deferred

from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.webhooks.sent import SentEntry

_entry, _message = tables.entry, tables.message

_at_a_peer = exists().where(tables.peer_request.c.message_id == _entry.c.message_id)
_COLUMNS = (
    *(_entry.c.id, _entry.c.message_id, _entry.c.recipient),
    case((_at_a_peer, _entry.c.outcome)).label("ended_as"),
)


@frozen
class DatabaseSentEntries:
    """SentEntries over one database."""

    database: Database

    def by_from_id(self, account_id: int, from_id: str) -> Deferred[SentEntry | None]:
        """See SentEntries."""
        wanted = select(*_COLUMNS).where(
            _entry.c.from_id == from_id, _entry.c.account_id == account_id
        )
        return self.database.read(lambda c: _newest(c, wanted))

    def by_message(
        self, account_id: int, envid: str, message_id: str, recipients: Sequence[str]
    ) -> Deferred[SentEntry | None]:
        """See SentEntries."""
        named = [
            column == value
            for column, value in ((_message.c.envid, envid), (_message.c.message_id, message_id))
            if value and "\0" not in value  # which a report in base64 may have, and no column
        ]
        wanted = (
            select(*_COLUMNS)
            .join(_message, _message.c.id == _entry.c.message_id)
            .where(_message.c.account_id == account_id, or_(false(), *named))
        )

        def find(connection: Connection) -> SentEntry | None:
            if not named:
                return None
            if not recipients:
                return _only(connection, wanted)
            return _newest(connection, wanted.where(_entry.c.recipient.in_(recipients)))

        return self.database.read(find)


def _only(connection: Connection, wanted: Select[Any]) -> SentEntry | None:
    """The entry, when there is no other."""
    rows = connection.execute(wanted.limit(2)).all()
    return _sent_entry(rows[0]) if len(rows) == 1 else None


def _newest(connection: Connection, wanted: Select[Any]) -> SentEntry | None:
    row = connection.execute(wanted.order_by(_entry.c.id.desc()).limit(1)).one_or_none()
    return _sent_entry(row) if row is not None else None


def _sent_entry(row: Any) -> SentEntry:
    return SentEntry(row.id, row.message_id, row.recipient, row.ended_as or "")
