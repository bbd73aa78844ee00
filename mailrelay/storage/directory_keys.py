"""The keys of a directory's snapshot."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from mailrelay.directory.keys import APIKey, Scope
from mailrelay.storage import tables


def load_keys(connection: Connection) -> list[APIKey]:
    """All keys, by id."""
    key = tables.api_key
    return [key_of(row) for row in connection.execute(select(key).order_by(key.c.id))]


def key_of(row: Row[Any]) -> APIKey:
    """The key that a row holds."""
    return APIKey(
        row.id,
        row.account_id,
        row.name,
        bytes(row.key_hash),
        frozenset(Scope(scope) for scope in row.scopes.split(",")),
        row.created_at,
        row.scram_verifier,
        frozenset(msgspec.json.decode(row.senders)),
        tuple(msgspec.json.decode(row.networks)),
        row.expires_at,
        row.requests_per_minute,
        row.last_used_at,
    )
