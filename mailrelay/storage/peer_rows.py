"""Peers' rows, as the directory's snapshot has them."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from mailrelay.directory.peers import Peer, PeerKey, PeerOptions, PeerProtocol
from mailrelay.storage import tables

_peer, _key = tables.peer, tables.peer_key


def load_peers(connection: Connection) -> dict[str, Peer]:
    """All of them, by name."""
    rows = connection.execute(select(_peer)).all()
    if not rows:
        return {}
    keys: dict[int, list[PeerKey]] = {}
    newest_first = select(_key).order_by(_key.c.created_at.desc(), _key.c.id.desc())
    for row in connection.execute(newest_first):
        keys.setdefault(row.peer_id, []).append(
            PeerKey(row.key_id, bytes(row.secret), row.is_ours, row.created_at, row.expires_at)
        )
    return {row.name: _peer_of(row, keys.get(row.id, [])) for row in rows}


def _peer_of(row: Row[Any], keys: list[PeerKey]) -> Peer:
    return Peer(
        row.id,
        row.name,
        PeerProtocol(row.protocol),
        row.url,
        row.callback_url,
        row.account_id,
        row.disabled,
        row.created_at,
        msgspec.json.decode(row.options, type=PeerOptions),
        keys,
    )


def stored_options(options: PeerOptions) -> str:
    """Options as their column has them."""
    return msgspec.json.encode(options).decode()
