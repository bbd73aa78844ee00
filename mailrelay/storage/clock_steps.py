"""Stored times that move with the wall clock, in transactions so small that a crash may part them.

What is to be moved is a row of ``setting``: the step, the id up to which it is done, the last one,
and what the clock showed after the step.  It changes with each batch, in its transaction: no entry
is moved twice, none is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    Connection,
    Update,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from mailrelay.storage import tables
from mailrelay.storage.directory import read_setting, write_setting
from mailrelay.storage.nodes import Node, step_setting

BATCH = 500
"""Entries looked at in one transaction."""

_entry, _message = tables.entry, tables.message


def record_step(connection: Connection, node: Node, step: float, now: float) -> None:
    """Have ``move_batch`` move what is stored by ``step`` seconds, to ``now``.  No more is owed.

    Recorded again before anything has moved, it is the same step.
    """
    last = connection.execute(select(func.max(_entry.c.id))).scalar() or 0
    write_setting(connection, step_setting(node.id), f"{step!r} 0 {last} {now!r}")


def move_batch(connection: Connection, node: Node, now: float, longest_wait: float) -> bool:
    """Move the next BATCH entries; False when nothing is owed any more."""
    owed = read_setting(connection, step_setting(node.id))
    if owed is None:
        return False
    step, after, last, *noticed = owed.split()
    # In a later life the clock may have been set again: what was ahead then is asked of then.
    then = float(noticed[0]) if noticed else now
    living = (
        select(_entry.c.id)
        .where(text("state <> 2"), _entry.c.id > int(after), _entry.c.id <= int(last))
        .order_by(_entry.c.id)
        .limit(BATCH)
    )
    ids = connection.execute(living).scalars().all()
    if not ids:
        setting = tables.setting
        connection.execute(delete(setting).where(setting.c.name == step_setting(node.id)))
        return False
    connection.execute(_moved(ids, float(step), then, now + longest_wait))
    write_setting(connection, step_setting(node.id), f"{step} {ids[-1]} {last} {then!r}")
    return True


def _moved(ids: Sequence[int], step: float, now: float, latest: float) -> Update:
    """Move by ``step`` what was stored by the old clock.

    A time that would be later than any that is ever stored is of the new clock already, such as
    an operator's retry: it stays.  So does a release that was asked for and is ahead, by the clock
    as it is or as it was: whether it was stored just before the step or just after it is not known.
    """
    queued_at, due = _entry.c.queued_at, _entry.c.next_attempt_at
    is_later = exists().where(_message.c.id == _entry.c.message_id, _message.c.received_at < due)
    is_ahead = or_(due > now, due + step > now)
    is_release = and_(_entry.c.attempts == 0, due == queued_at, is_ahead, is_later)
    return (
        update(_entry)
        .where(_entry.c.id.in_(ids), ~is_release)
        .values(
            queued_at=case((queued_at + step <= now, queued_at + step), else_=queued_at),
            next_attempt_at=case(
                (due + step <= latest, due + step), (due <= latest, due), else_=latest
            ),
        )
    )
