"""What waits for which domain (control/destinations.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, case, func, select, text
from twisted.internet.defer import Deferred

from mailrelay.control.destinations import DomainPart, DomainWaiting
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import record_audit

_entry, _event = tables.entry, tables.event

MOST_REPLY_CHARACTERS = 500


@frozen
class DatabaseDestinations:
    """DestinationRecords over one database."""

    database: Database

    def count(self, after_id: int, most: int) -> Deferred[DomainPart]:
        """See DestinationRecords."""
        return self.database.read(lambda c: _count(c, after_id, most))

    def replies(self, entry_ids: Sequence[int]) -> Deferred[Mapping[int, str]]:
        """See DestinationRecords."""
        return self.database.read(lambda c: _replies(c, entry_ids))

    def resumed(self, actor: str, key: str, now: float) -> Deferred[None]:
        """See DestinationRecords."""
        return self.database.write(
            lambda c: record_audit(c, now, actor, "destination resume", key[:1000])
        )


def _count(connection: Connection, after_id: int, most: int) -> DomainPart:
    alive = text("entry.state <> 2")
    part = select(_entry.c.id).where(_entry.c.id > after_id, alive)
    ids = part.order_by(_entry.c.id).limit(most).subquery()
    looked_at, to_id = connection.execute(select(func.count(), func.max(ids.c.id))).one()
    if not looked_at:
        return DomainPart([], 0, after_id, is_end=True)
    # What stands before the last @ is all that has no @ in it, from the right, and goes.
    whole = _entry.c.recipient
    local = func.length(func.rtrim(whole, func.replace(whole, "@", "")))
    domain = func.substr(whole, local + 1).label("domain")
    columns: list[Any] = [
        domain,
        func.count().label("waiting"),
        func.sum(case((_entry.c.state == 1, 1), else_=0)).label("held"),
        func.min(_entry.c.queued_at).label("oldest_at"),
        func.min(case((_entry.c.state == 0, _entry.c.next_attempt_at))).label("next_at"),
        func.max(case((_entry.c.attempts > 0, _entry.c.id))).label("tried_id"),
    ]
    bounds = (_entry.c.id > after_id, _entry.c.id <= to_id, alive)
    rows = connection.execute(select(*columns).where(*bounds).group_by(domain))
    domains = [
        DomainWaiting(
            row.domain, row.waiting, int(row.held), row.oldest_at, row.next_at, row.tried_id
        )
        for row in rows
    ]
    return DomainPart(domains, looked_at, to_id, is_end=looked_at < most)


def _replies(connection: Connection, entry_ids: Sequence[int]) -> Mapping[int, str]:
    """The message's events are few, and have an index."""
    of = select(_entry.c.message_id).where(_entry.c.id.in_(entry_ids))
    wanted = (
        select(_event.c.entry_id, _event.c.data)
        .where(_event.c.message_id.in_(of), _event.c.entry_id.in_(entry_ids))
        .where(_event.c.kind == "delayed")
        .order_by(_event.c.position)
    )
    return {row.entry_id: _reply_of(bytes(row.data)) for row in connection.execute(wanted)}


def _reply_of(data: bytes) -> str:
    said = msgspec.json.decode(data)
    parts = (said.get("code"), said.get("status"), said.get("reply"))
    return " ".join(str(part) for part in parts if part)[:MOST_REPLY_CHARACTERS]
