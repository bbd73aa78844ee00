"""Mail of a peer's that can never be delivered (control/relayed.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen
from sqlalchemy import Connection, update
from twisted.internet.defer import Deferred

from mailrelay.observe.events import NewEvent
from mailrelay.queue.entry import EntryState, NewMessage
from mailrelay.queue.store import NotStored
from mailrelay.storage import tables
from mailrelay.storage.conditions import refusal_of
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import drop_unneeded_content, insert_events, insert_messages

_entry = tables.entry


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
