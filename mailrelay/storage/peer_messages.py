"""What peers handed to us, as they call it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, exists, func, select, update

from mailrelay.queue.entry import NewMessage
from mailrelay.storage import tables
from mailrelay.storage.statements import Insert

EVENTS_KEPT_FOR = 14 * 86400.0
UNSEEN_KEPT_FOR = 30 * 86400.0
"""Seconds for which a peer's events are kept, when it has seen them, and when not."""

LOOKED_AT_AGAIN_AFTER = 3600.0

_encode = msgspec.json.Encoder().encode
_insert = Insert(tables.peer_message)


def insert_of_peers(connection: Connection, messages: Sequence[NewMessage]) -> None:
    """Note whose they are, of those that came from peers."""
    rows = [
        (
            new.message.id,
            peer.peer_id,
            peer.msg_id,
            _encode(peer.hops).decode(),
            _encode(peer.extra).decode(),
            peer.webhook_url,
            new.message.received_at,
        )
        for new in messages
        if (peer := new.of_peer) is not None
    ]
    _insert.many(connection, rows)


def kept_for_peers(connection: Connection, message_ids: Sequence[int], now: float) -> set[int]:
    """Those that are kept because their peers may have to be told what became of them.

    Their retired entries are looked at again later.
    """
    mail, event, state, entry = tables.peer_message, tables.event, tables.peer_state, tables.entry
    newest = (
        select(
            mail.c.message_id,
            func.max(event.c.at).label("at"),
            func.max(event.c.position).label("position"),
            func.coalesce(func.max(state.c.our_position), 0).label("seen"),
        )
        .join(event, event.c.message_id == mail.c.message_id)
        .outerjoin(state, state.c.peer_id == mail.c.peer_id)
        .where(mail.c.message_id.in_(message_ids))
        .group_by(mail.c.message_id)
    )
    kept = set()
    for row in connection.execute(newest).all():
        is_seen = row.position <= row.seen
        until = row.at + (EVENTS_KEPT_FOR if is_seen else UNSEEN_KEPT_FOR)
        if until > now:
            kept.add(row.message_id)
            own = (entry.c.message_id == row.message_id, entry.c.keep_until <= now)
            again = until if is_seen else min(until, now + LOOKED_AT_AGAIN_AFTER)
            connection.execute(update(entry).where(*own).values(keep_until=again))
    return kept


def note_removal(connection: Connection, message_ids: Sequence[int]) -> None:
    """Note up to where the events of each peer are gone, whose messages are about to be.

    Of those that still have entries, nothing goes.
    """
    mail, event, state = tables.peer_message, tables.event, tables.peer_state
    entry, box = tables.entry, tables.mailbox_message
    gone = (
        select(mail.c.peer_id, func.max(event.c.position).label("position"))
        .join(event, event.c.message_id == mail.c.message_id)
        .where(mail.c.message_id.in_(message_ids))
        .where(~exists().where(entry.c.message_id == mail.c.message_id))
        .where(~exists().where(box.c.message_id == mail.c.message_id))
        .group_by(mail.c.peer_id)
    )
    for row in connection.execute(gone).all():
        own = (state.c.peer_id == row.peer_id, state.c.removed_position < row.position)
        connection.execute(update(state).where(*own).values(removed_position=row.position))
