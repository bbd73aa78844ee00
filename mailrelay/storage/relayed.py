"""Mail that a peer handed to us (control/relayed.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen
from sqlalchemy import Connection, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.relayed import PeerEvent, PeerEvents
from mailrelay.observe.events import NewEvent
from mailrelay.queue.entry import EntryState, NewMessage
from mailrelay.queue.store import NotStored
from mailrelay.storage import tables
from mailrelay.storage.conditions import refusal_of
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import drop_unneeded_content, insert_events, insert_messages
from mailrelay.storage.rows import event_of

_event, _entry = tables.event, tables.entry
_mail, _state = tables.peer_message, tables.peer_state


@frozen
class DatabaseRelayedMail:
    """RelayedMail over one database.  ``committed`` is told of events that are."""

    database: Database
    node: Node
    committed: Callable[[Sequence[NewEvent]], None] = field(default=lambda events: None)

    def add_failed(self, new: NewMessage, failed: NewEvent, keep_until: float) -> Deferred[None]:
        """See RelayedMail."""
        [entry] = new.entries

        def add(connection: Connection) -> NotStored | None:
            refusal = refusal_of(connection, new)
            if refusal is not None:
                return refusal
            insert_messages(connection, [new], self.node)
            retired = {
                "state": int(EntryState.RETIRED),
                "keep_until": keep_until,
                "outcome": failed.kind.value,
                "node_id": 0,
                "epoch": 0,
            }
            connection.execute(update(_entry).where(_entry.c.id == entry.id).values(retired))
            insert_events(connection, [failed])
            drop_unneeded_content(connection, [new.message.id], [])
            return None

        def added(refusal: NotStored | None) -> None:
            if refusal is not None:
                raise refusal
            self.committed([*new.events, failed])

        return self.database.write(add).addCallback(added)

    def position(self, peer_id: int) -> Deferred[int]:
        """See RelayedMail."""
        wanted = select(_state.c.our_position).where(_state.c.peer_id == peer_id)
        return self.database.read(lambda c: int(c.execute(wanted).scalar() or 0))

    def events(self, peer_id: int, account_id: int, after: int, limit: int) -> Deferred[PeerEvents]:
        """See RelayedMail."""
        wanted = (
            select(_event)
            .where(_event.c.account_id == account_id, _event.c.position > after)
            .order_by(_event.c.position)
            .limit(limit)
        )

        def read(connection: Connection) -> PeerEvents:
            events = [event_of(tuple(row)) for row in connection.execute(wanted)]
            if not events:
                return PeerEvents((), after)
            mail = _mail_of(connection, peer_id, {event.message_id for event in events})
            told = [
                PeerEvent(event, *mail[event.message_id])
                for event in events
                if event.message_id in mail
            ]
            return PeerEvents(told, events[-1].position)

        return self.database.read(read)

    def told(self, peer_id: int, position: int, at: float) -> Deferred[None]:
        """See RelayedMail."""
        forward = update(_state).where(
            _state.c.peer_id == peer_id, _state.c.our_position < position
        )
        values = {"our_position": position, "last_contact_at": at}

        def write(connection: Connection) -> None:
            connection.execute(forward.values(values))

        return self.database.write(write)


def _mail_of(
    connection: Connection, peer_id: int, ids: set[int]
) -> dict[int, tuple[str, str | None]]:
    wanted = select(_mail.c.message_id, _mail.c.msg_id, _mail.c.webhook_url).where(
        _mail.c.peer_id == peer_id, _mail.c.message_id.in_(ids)
    )
    return {row.message_id: (row.msg_id, row.webhook_url) for row in connection.execute(wanted)}
