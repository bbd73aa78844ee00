"""Answers to requests that may come again, kept for a while."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, tuple_

from mailrelay.queue.entry import StoredAnswer
from mailrelay.storage import tables

_row = tables.idempotency_key


def find_answer(
    connection: Connection, account_id: int, key: str, now: float
) -> StoredAnswer | None:
    """What was answered to the account's request of that key, while it is kept."""
    wanted = select(_row).where(_row.c.account_id == account_id, _row.c.key == key)
    found = connection.execute(wanted.where(_row.c.expires_at > now)).first()
    if found is None:
        return None
    return StoredAnswer(
        found.account_id,
        found.key,
        bytes(found.request_hash),
        found.status,
        bytes(found.answer),
        found.expires_at,
    )


def keep_answer(connection: Connection, answer: StoredAnswer) -> None:
    """Keep an answer in the transaction that makes it true; one that has expired gives way."""
    own = (_row.c.account_id == answer.account_id, _row.c.key == answer.key)
    connection.execute(delete(_row).where(*own))
    values = {
        "account_id": answer.account_id,
        "key": answer.key,
        "request_hash": answer.request_hash,
        "status": answer.status,
        "answer": answer.answer,
        "expires_at": answer.expires_at,
    }
    connection.execute(insert(_row).values(values))


def sweep_answers(connection: Connection, now: float, limit: int) -> None:
    """Remove some of what has expired."""
    own = (_row.c.account_id, _row.c.key)
    expired = select(*own).where(_row.c.expires_at <= now).limit(limit)
    connection.execute(delete(_row).where(tuple_(*own).in_(expired)))
