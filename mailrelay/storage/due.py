"""Claims of entries that are due: earliest first, urgent ones before all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, Select, bindparam, func, select, text, update

from mailrelay.queue.destination import URGENT_LANES
from mailrelay.queue.entry import Entry, Message
from mailrelay.storage import tables
from mailrelay.storage.nodes import Node
from mailrelay.storage.rows import ENTRY_COLUMNS, entry_of, message_of
from mailrelay.storage.statements import Prepared

_entry, _message = tables.entry, tables.message

# As text: with parameters the partial indexes are not used.
_IS_DUE = "entry.state = 0 AND entry.node_id = 0"
IS_URGENT, IS_NOT_URGENT = (f" AND entry.lane {sign} {URGENT_LANES}" for sign in (">=", "<"))

_claim = Prepared(
    update(_entry)
    .where(_entry.c.id == bindparam("b_id"))
    .values({"node_id": bindparam("b_node"), "epoch": bindparam("b_epoch")}),
    ("b_node", "b_epoch", "b_id"),
)


def claim_due(
    connection: Connection,
    node: Node,
    now: float,
    limit: int,
    full_lanes: Sequence[int],
    urgent: int,
) -> Sequence[Entry]:
    """See QueueStore."""
    rows = _due_rows(connection, now, urgent, full_lanes, IS_URGENT) if urgent else []
    if len(rows) < limit:
        others = IS_NOT_URGENT if urgent else ""
        rows += _due_rows(connection, now, limit - len(rows), full_lanes, others)
    _claim.many(connection, [(node.id, node.epoch, row[0]) for row in rows])
    return [evolve(entry, epoch=node.epoch) for entry in _entries(rows)]


def earliest_due(connection: Connection, *, urgent: bool) -> float | None:
    """See QueueStore.next_due_at."""
    condition = text(_IS_DUE + (IS_URGENT if urgent else ""))
    return connection.execute(select(func.min(_entry.c.next_attempt_at)).where(condition)).scalar()


def due_query(now: float, limit: int, full_lanes: Sequence[int], which: str) -> Select[Any]:
    """What finds entries that are due and nobody's; ``which`` is a condition on their lane."""
    due = (
        select(*ENTRY_COLUMNS, *_message.c)
        .join(_message, _message.c.id == _entry.c.message_id)
        .where(text(_IS_DUE + which))
        .where(_entry.c.next_attempt_at <= now)
        .order_by(_entry.c.next_attempt_at)
        .limit(limit)
    )
    return due.where(_entry.c.lane.not_in(full_lanes)) if full_lanes else due


def _due_rows(
    connection: Connection, now: float, limit: int, full_lanes: Sequence[int], which: str
) -> list[Any]:
    due = due_query(now, limit, full_lanes, which)
    if connection.dialect.name == "postgresql":
        due = due.with_for_update(of=_entry, skip_locked=True)
    return list(connection.execute(due))


def _entries(rows: Sequence[Any]) -> list[Entry]:
    """Entries from rows of ENTRY_COLUMNS and the message's; one Message for those that share it."""
    messages: dict[int, Message] = {}
    entries = []
    width = len(ENTRY_COLUMNS)
    for row in rows:
        message = messages.get(row[width])
        if message is None:
            message = messages[row[width]] = message_of(tuple(row[width:]))
        entries.append(entry_of(row, message))
    return entries
