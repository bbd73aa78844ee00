"""What peers handed to us, as they call it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, exists, func, select, update

from mailrelay.queue.entry import NewMessage
from mailrelay.storage import tables
from mailrelay.storage.statements import Insert

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
