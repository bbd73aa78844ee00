"""What must hold of a message when it is stored, looked at in the transaction that stores it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import AnsweredBefore, FromIDTaken, NotStored, TooManyNewRecipients
from mailrelay.storage import tables
from mailrelay.storage.idempotency import find_answer, keep_answer
from mailrelay.storage.statements import Insert, chunked

DAY = 86400.0

_entry, _sent_to = tables.entry, tables.sent_to
_insert = Insert(_sent_to)


def refusal_of(connection: Connection, new: NewMessage) -> NotStored | None:
    """Why ``new`` must not be stored; if it may be, whom it is for is noted, and its answer."""
    conditions = new.conditions
    if conditions is None:
        return None
    chosen = conditions.unique_from_id
    if chosen is not None and _is_taken(connection, chosen):
        return FromIDTaken(chosen)
    answer = conditions.answer
    if answer is not None:
        now = new.message.received_at
        if find_answer(connection, answer.account_id, answer.key, now) is not None:
            return AnsweredBefore(answer.key)
    if conditions.new_recipients is not None:
        refusal = _note_recipients(connection, new, conditions.new_recipients)
        if refusal is not None:
            return refusal
    if answer is not None:
        keep_answer(connection, answer)
    return None


def _is_taken(connection: Connection, from_id: str) -> bool:
    found = connection.execute(select(_entry.c.id).where(_entry.c.from_id == from_id).limit(1))
    return found.first() is not None


def _note_recipients(connection: Connection, new: NewMessage, most: int) -> NotStored | None:
    message = new.message
    account_id = message.account_id
    assert account_id is not None
    recipients = list(dict.fromkeys(str(entry.recipient).lower() for entry in new.entries))
    known = _known(connection, account_id, recipients)
    fresh = [one for one in recipients if one not in known]
    if not fresh:
        return None
    used = connection.execute(
        select(func.count()).where(
            _sent_to.c.account_id == account_id, _sent_to.c.first_at > message.received_at - DAY
        )
    ).scalar_one()
    if used + len(fresh) > most:
        return TooManyNewRecipients()
    _insert.many(connection, [(account_id, one, message.received_at) for one in fresh])
    return None


def _known(connection: Connection, account_id: int, recipients: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for chunk in chunked([(one,) for one in recipients]):
        rows = connection.execute(
            select(_sent_to.c.recipient).where(
                _sent_to.c.account_id == account_id,
                _sent_to.c.recipient.in_([one for (one,) in chunk]),
            )
        )
        found.update(rows.scalars())
    return found
