"""Answers to requests that may come again, kept for a while."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from mailrelay.queue.entry import StoredAnswer
from mailrelay.storage import tables
from mailrelay.storage.statements import Insert, Prepared

_row = tables.idempotency_key
_COLUMNS = ("account_id", "key", "request_hash", "status", "answer", "expires_at")

_own = (_row.c.account_id == bindparam("b_account"), _row.c.key == bindparam("b_key"))
_find = Prepared(
    select(*(_row.c[name] for name in _COLUMNS)).where(
        *_own, _row.c.expires_at > bindparam("b_now")
    ),
    ("b_account", "b_key", "b_now"),
)
_forget = Prepared(delete(_row).where(*_own), ("b_account", "b_key"))
_insert = Insert(_row, _COLUMNS)


def find_answer(
    connection: Connection, account_id: int, key: str, now: float
) -> StoredAnswer | None:
    """What was answered to the account's request of that key, while it is kept."""
    found = _find.rows(connection, (account_id, key, now))
    if not found:
        return None
    account, key, request_hash, status, answer, expires_at = found[0]
    return StoredAnswer(account, key, bytes(request_hash), status, bytes(answer), expires_at)


def keep_answer(connection: Connection, answer: StoredAnswer) -> None:
    """Keep an answer in the transaction that makes it true; one that has expired gives way."""
    _forget.many(connection, [(answer.account_id, answer.key)])
    row = (
        answer.account_id,
        answer.key,
        answer.request_hash,
        answer.status,
        answer.answer,
        answer.expires_at,
    )
    _insert.many(connection, [row])


def sweep_answers(connection: Connection, now: float, limit: int) -> None:
    """Remove some of what has expired."""
    own = (_row.c.account_id, _row.c.key)
    expired = select(*own).where(_row.c.expires_at <= now).limit(limit)
    connection.execute(delete(_row).where(tuple_(*own).in_(expired)))
