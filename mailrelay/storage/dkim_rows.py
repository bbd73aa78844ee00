"""DKIM keys' rows, as the directory's snapshot has them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.storage import tables

_key = tables.dkim_key


def load_dkim_keys(connection: Connection) -> dict[str, list[StoredKey]]:
    """All of them by domain, in the order in which they were made."""
    found: dict[str, list[StoredKey]] = {}
    for row in connection.execute(select(_key).order_by(_key.c.id)):
        found.setdefault(row.domain, []).append(
            StoredKey(
                row.domain,
                row.selector,
                row.algorithm,
                bytes(row.pem),
                row.record,
                KeyState(row.state),
                row.created_at,
                row.removed_at,
            )
        )
    return found
