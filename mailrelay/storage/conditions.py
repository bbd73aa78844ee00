"""What must hold of a message when it is stored, looked at in the transaction that stores it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from sqlalchemy import Connection, func, select

from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import (
    AllOverQuota,
    AnsweredBefore,
    FromIDTaken,
    NotStored,
    TooManyNewRecipients,
)
from mailrelay.storage import tables
from mailrelay.storage.idempotency import find_answer, keep_answer
from mailrelay.storage.statements import Insert, chunked

DAY = 86400.0

_account, _entry, _sent_to = tables.account, tables.entry, tables.sent_to
_insert = Insert(_sent_to)


def refusal_of(connection: Connection, new: NewMessage) -> NotStored | None:
    """Why ``new`` must not be stored; if it may be, whom it is for is noted, and its answer."""
    conditions = new.conditions
    if conditions is None:
        return None
    chosen = conditions.unique_from_id
    if chosen is not None and _is_taken(connection, chosen):
        return FromIDTaken(chosen)
    if conditions.room_in and not _is_room(connection, new, conditions.room_in):
        return AllOverQuota()
    kept = [conditions.answer] if conditions.answer is not None else []
    kept += conditions.notes
    for one in kept:
        found = find_answer(connection, one.account_id, one.key, new.message.received_at)
        if found is not None:
            return AnsweredBefore(one.key, found)
    if conditions.new_recipients is not None:
        refusal = _note_recipients(connection, new, conditions.new_recipients)
        if refusal is not None:
            return refusal
    for one in kept:
        keep_answer(connection, one)
    return None


def expected_refusal(connection: Connection, new: NewMessage) -> NotStored | None:
    """Why ``new`` would not be stored now; nothing is noted."""
    conditions = new.conditions
    if conditions is None:
        return None
    chosen, answer, most = (
        conditions.unique_from_id,
        conditions.answer,
        conditions.new_recipients,
    )
    if chosen is not None and _is_taken(connection, chosen):
        return FromIDTaken(chosen)
    message = new.message
    if answer is not None:
        found = find_answer(connection, answer.account_id, answer.key, message.received_at)
        if found is not None:
            return AnsweredBefore(answer.key, found)
    if most is None or message.account_id is None:
        return None
    recipients = list(dict.fromkeys(str(entry.told_as).lower() for entry in new.entries))
    fresh = len(recipients) - len(_known(connection, message.account_id, recipients))
    room = most - used_new_recipients(connection, message.account_id, message.received_at)
    return TooManyNewRecipients() if fresh > max(room, 0) else None


def knows_recipient(connection: Connection, account_id: int, recipient: str) -> bool:
    """Whether an account has sent to ``recipient``, in lower case, before."""
    return bool(_known(connection, account_id, [recipient]))


def refusals_of(connection: Connection, messages: Sequence[NewMessage]) -> list[NotStored | None]:
    """Why each of several messages of one account must not be stored; recipients are noted.

    Each counts with those before it.  Answers are not theirs.
    """
    refusals: list[NotStored | None] = [None] * len(messages)
    limited = []
    for at, new in enumerate(messages):
        conditions = new.conditions
        if conditions is None:
            continue
        chosen = conditions.unique_from_id
        if chosen is not None and _is_taken(connection, chosen):
            refusals[at] = FromIDTaken(chosen)
        elif conditions.new_recipients is not None:
            limited.append(at)
    if limited:
        most = min(_limit_of(messages[at]) for at in limited)
        several = _note_several(connection, [messages[at] for at in limited], most)
        for at, refusal in zip(limited, several, strict=True):
            refusals[at] = refusal
    return refusals


def _limit_of(new: NewMessage) -> int:
    assert new.conditions is not None and new.conditions.new_recipients is not None
    return new.conditions.new_recipients


def _is_room(connection: Connection, new: NewMessage, accounts: Iterable[int]) -> bool:
    """Whether one of ``accounts`` has room; one that is gone is judged at delivery."""
    wanted = select(_account.c.id, _account.c.quota_bytes, _account.c.used_bytes)
    size, listed = new.message.size_bytes, [(id_,) for id_ in sorted(accounts)]
    rows = [
        row
        for some in chunked(listed)
        for row in connection.execute(wanted.where(_account.c.id.in_([id_ for (id_,) in some])))
    ]
    return len(rows) < len(listed) or any(
        row.quota_bytes is None or row.used_bytes + size <= row.quota_bytes for row in rows
    )


def _is_taken(connection: Connection, from_id: str) -> bool:
    found = connection.execute(select(_entry.c.id).where(_entry.c.from_id == from_id).limit(1))
    return found.first() is not None


def _note_recipients(connection: Connection, new: NewMessage, most: int) -> NotStored | None:
    return _note_several(connection, [new], most)[0]


def _note_several(
    connection: Connection, messages: Sequence[NewMessage], most: int
) -> list[NotStored | None]:
    message = messages[0].message
    account_id = message.account_id
    assert account_id is not None
    of_each = [
        dict.fromkeys(str(entry.told_as).lower() for entry in new.entries) for new in messages
    ]
    known = _known(connection, account_id, list(dict.fromkeys(chain(*of_each))))
    room: int | None = None
    refusals: list[NotStored | None] = []
    noted: list[str] = []
    for recipients in of_each:
        fresh = [one for one in recipients if one not in known]
        if fresh and room is None:
            room = most - used_new_recipients(connection, account_id, message.received_at)
        if fresh and room is not None and len(noted) + len(fresh) > room:
            refusals.append(TooManyNewRecipients())
            continue
        known.update(fresh)
        noted += fresh
        refusals.append(None)
    _insert.many(connection, [(account_id, one, message.received_at) for one in noted])
    return refusals


def used_new_recipients(connection: Connection, account_id: int, now: float) -> int:
    """To how many an account has sent for the first time in the last 24 hours."""
    counted = select(func.count()).where(
        _sent_to.c.account_id == account_id, _sent_to.c.first_at > now - DAY
    )
    return int(connection.execute(counted).scalar_one())


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
