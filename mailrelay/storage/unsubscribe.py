"""UnsubscribeRecords (control/unsubscribe.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.suppression import base_address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.queue import insert_events
from mailrelay.storage.rows import stored_address
from mailrelay.storage.suppression import after_outcomes, listed

_account, _event = tables.account, tables.event


@frozen
class DatabaseUnsubscribes:
    """UnsubscribeRecords over one database.  ``committed`` is told of what was recorded."""

    database: Database
    committed: Callable[[Sequence[NewEvent]], None]

    def record(self, event: NewEvent) -> Deferred[bool]:
        """See UnsubscribeRecords."""

        def done(events: Sequence[NewEvent]) -> bool:
            if events:
                self.committed(events)
            return bool(events)

        return self.database.write(lambda c: _recorded(c, event)).addCallback(done)


def _recorded(connection: Connection, event: NewEvent) -> Sequence[NewEvent]:
    """What was recorded: nothing when it was before."""
    there = connection.execute(select(_account.c.id).where(_account.c.id == event.account_id))
    if there.first() is None or _was_recorded(connection, event):
        return []
    events = after_outcomes(connection, [event])
    insert_events(connection, events)
    return events


def _was_recorded(connection: Connection, event: NewEvent) -> bool:
    base = base_address(stored_address(str(event.data["recipient"])))
    kept = listed(connection, event.account_id or 0, base)
    if kept is None or not kept.holds(event.at):
        return False
    same = select(_event.c.position).where(
        _event.c.message_id == event.message_id,
        _event.c.entry_id == event.entry_id,
        _event.c.kind == EventKind.UNSUBSCRIBED.value,
    )
    return connection.execute(same.limit(1)).first() is not None
