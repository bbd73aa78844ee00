"""What peers handed to us, as they call it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

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
