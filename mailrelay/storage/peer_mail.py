"""What peers handed to us (control/peer_mail.py) over Core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, Row, delete, insert, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.peer_mail import PeerFeed, PeerMessage, SuppressionChange, ToldEvent
from mailrelay.policy.suppression import Cause, Suppression
from mailrelay.storage import suppression as lists
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import record_audit, tell
from mailrelay.storage.entry_views import entry_views, every_entry
from mailrelay.storage.rows import event_of

_event, _entry = tables.event, tables.entry
_mail, _state, _told = tables.peer_message, tables.peer_state, tables.peer_suppression


@frozen
class DatabasePeerMail:
    """PeerMail over one database."""

    database: Database

    def message(self, peer_id: int, message_id: int) -> Deferred[PeerMessage | None]:
        """See PeerMail."""

        def find(connection: Connection) -> PeerMessage | None:
            own = (_mail.c.message_id == message_id, _mail.c.peer_id == peer_id)
            msg_id = connection.execute(select(_mail.c.msg_id).where(*own)).scalar()
            if msg_id is None:
                return None
            entries = every_entry().where(_entry.c.message_id == message_id)
            views = entry_views(connection, entries.order_by(_entry.c.id))
            return PeerMessage(message_id, msg_id, views)

        return self.database.read(find)

    def events(self, peer_id: int, account_id: int, after: int, limit: int) -> Deferred[PeerFeed]:
        """See PeerMail."""
        wanted = (
            select(_event, _mail.c.msg_id, _mail.c.extra, _mail.c.webhook_url)
            .outerjoin(
                _mail,
                (_mail.c.message_id == _event.c.message_id) & (_mail.c.peer_id == peer_id),
            )
            .where(_event.c.account_id == account_id, _event.c.position > after)
            .order_by(_event.c.position)
            .limit(limit)
        )
        removed = select(_state.c.removed_position).where(_state.c.peer_id == peer_id)

        def read(connection: Connection) -> PeerFeed:
            rows = connection.execute(wanted).all()
            oldest = int(connection.execute(removed).scalar() or 0)
            position = rows[-1].position if rows else after
            return PeerFeed(_told_of(rows), position, len(rows) == limit, oldest)

        return self.database.read(read)

    def position(self, peer_id: int) -> Deferred[int]:
        """See PeerMail."""
        known = select(_state.c.our_position).where(_state.c.peer_id == peer_id)
        return self.database.read(lambda c: int(c.execute(known).scalar() or 0))

    def acknowledge(self, peer_id: int, position: int, at: float) -> Deferred[None]:
        """See PeerMail."""
        own = update(_state).where(_state.c.peer_id == peer_id)

        def write(connection: Connection) -> None:
            forward = own.where(_state.c.our_position < position)
            connection.execute(forward.values(our_position=position))
            connection.execute(own.values(last_contact_at=at))

        return self.database.write(write)

    def suppress(
        self, peer_id: int, account_id: int, change: SuppressionChange, at: float
    ) -> Deferred[bool]:
        """See PeerMail."""

        def write(connection: Connection) -> bool:
            if not _note(connection, peer_id, change):
                return False
            if _apply(connection, account_id, change, at):
                tell(connection, at, "suppression", account_id)
                action = "suppression add" if change.is_suppressed else "suppression remove"
                record_audit(connection, at, f"peer:{peer_id}", action, change.base_address)
            return True

        return self.database.write(write)


def _told_of(rows: Sequence[Row[Any]]) -> list[ToldEvent]:
    return [
        ToldEvent(
            event_of(tuple(row)[:7]), row.msg_id, msgspec.json.decode(row.extra), row.webhook_url
        )
        for row in rows
        if row.msg_id is not None
    ]


def _note(connection: Connection, peer_id: int, change: SuppressionChange) -> bool:
    """Keep the newest change of an address; False when what is known is as new."""
    own = (_told.c.peer_id == peer_id, _told.c.address == change.base_address)
    known = connection.execute(select(_told.c.changed_at).where(*own)).scalar()
    if known is not None and known >= change.changed_at:
        return False
    connection.execute(delete(_told).where(*own))
    connection.execute(
        insert(_told).values(
            peer_id=peer_id,
            address=change.base_address,
            is_suppressed=change.is_suppressed,
            reason=change.reason,
            changed_at=change.changed_at,
            is_told=True,
        )
    )
    return True


def _apply(connection: Connection, account_id: int, change: SuppressionChange, at: float) -> bool:
    """Whether the account's list is another now."""
    if not change.is_suppressed:
        return lists.remove(connection, account_id, change.base_address, at)
    new = Suppression(
        0,
        account_id,
        change.base_address,
        change.address,
        at,
        manual=True,
        reason=change.reason,
        cause=Cause.MANUAL.value,
    )
    return lists.add(connection, new)
