"""What is done to peers' rows at intervals: all in small batches, none while another waits long.

A message's own rows, what its peer calls it included, go with its last entry (upkeep.py), answers
that may be asked for again when they expire (idempotency.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen
from sqlalchemy import Connection, Row, delete, exists, or_, select, tuple_, update
from twisted.internet.defer import Deferred

from mailrelay.directory.peers import Peer
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.queue import insert_events
from mailrelay.storage.rows import event_of

BATCH = 200
NO_BOUNCE_AFTER = 4 * 3600.0
"""Seconds after which what the next hop took, and nothing came back of, is taken for delivered."""

LIFTED_KEPT_FOR = 90 * 86400.0
"""Seconds that is kept of an address that it is suppressed no longer."""

_event, _mail = tables.event, tables.peer_message
_state, _told = tables.peer_state, tables.peer_suppression
_peer = tables.peer


@frozen
class PeerUpkeep:
    """``committed`` is told of what was recorded; ``now`` is since the epoch."""

    database: Database
    now: Callable[[], float]
    committed: Callable[[Sequence[NewEvent]], None] = field(default=lambda events: None)

    def settle(self, peer: Peer) -> Deferred[int]:
        """Record of the peer's next delivered recipients that no bounce came; 0 at the end.

        Each is recorded once: the transaction moves the place from which is looked next.
        """
        before = self.now() - NO_BOUNCE_AFTER

        def write(connection: Connection) -> tuple[int, list[NewEvent]]:
            rows = _next(connection, peer, before)
            events = _no_bounces(connection, rows, self.now())
            insert_events(connection, events)
            if rows:
                own = update(_state).where(_state.c.peer_id == peer.id)
                connection.execute(own.values(settled_position=rows[-1].position))
            return len(rows), events

        def written(result: tuple[int, list[NewEvent]]) -> int:
            count, events = result
            if events:
                self.committed(events)
            return count

        looked = self.database.read(lambda c: bool(_next(c, peer, before, 1)))
        return looked.addCallback(
            lambda there: self.database.write(write).addCallback(written) if there else 0
        )

    def sweep(self) -> Deferred[int]:
        """Remove some of what is kept of peers that are gone, and of old changes; how many rows."""
        before = self.now() - LIFTED_KEPT_FOR

        def write(connection: Connection) -> int:
            own = (_told.c.peer_id, _told.c.address)
            is_gone = ~exists().where(_peer.c.id == _told.c.peer_id)
            is_over = (_told.c.changed_at < before) & ~_told.c.is_suppressed & _told.c.is_told
            over = select(*own).where(or_(is_gone, is_over)).limit(BATCH)
            return connection.execute(delete(_told).where(tuple_(*own).in_(over))).rowcount

        return self.database.write(write)


def _next(
    connection: Connection, peer: Peer, before: float, limit: int = BATCH
) -> Sequence[Row[Any]]:
    """Events of the peer's account that are to be looked at, up to the first that is too new."""
    place = select(_state.c.settled_position).where(_state.c.peer_id == peer.id)
    wanted = (
        select(_event, _mail.c.peer_id)
        .outerjoin(
            _mail, (_mail.c.message_id == _event.c.message_id) & (_mail.c.peer_id == peer.id)
        )
        .where(_event.c.account_id == peer.account_id, _event.c.position > place.scalar_subquery())
        .order_by(_event.c.position)
        .limit(limit)
    )
    rows = connection.execute(wanted).all()
    return rows[: next((n for n, row in enumerate(rows) if row.at > before), len(rows))]


def _no_bounces(connection: Connection, rows: Sequence[Row[Any]], now: float) -> list[NewEvent]:
    events = [event_of(tuple(row)[:7]) for row in rows if row.peer_id is not None]
    delivered = [
        event
        for event in events
        if event.kind is EventKind.DELIVERED
        and not event.data.get("dsn")
        and event.data.get("destination") != "mailbox"
    ]
    if not delivered:
        return []
    bounced = select(_event.c.entry_id).where(
        _event.c.message_id.in_({event.message_id for event in delivered}),
        _event.c.kind.in_((EventKind.FAILED.value, EventKind.NO_BOUNCE.value)),
    )
    failed = set(connection.execute(bounced).scalars())
    return [
        NewEvent(
            EventKind.NO_BOUNCE,
            now,
            event.message_id,
            event.entry_id,
            event.account_id,
            {"recipient": event.data.get("recipient", "")},
        )
        for event in delivered
        if event.entry_id not in failed
    ]
