"""Suppression lists: grown in the transaction that records the failure, and asked for."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from attrs import asdict, evolve
from sqlalchemy import Connection, delete, insert, select, update

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.suppression import (
    FAILURES_IN_A_ROW,
    MAX_EVIDENCE_CHARACTERS,
    UNWANTED,
    Cause,
    Listed,
    Lists,
    Suppression,
    base_address,
    is_immediate,
    lists_of,
    reason_of,
)
from mailrelay.smtp.reply import EnhancedStatus, Reply, printable
from mailrelay.storage import tables
from mailrelay.storage.directory import tell
from mailrelay.storage.peer_sharing import share
from mailrelay.storage.rows import stored_address
from mailrelay.storage.statements import delete_listed

_suppression, _streak = tables.suppression, tables.failure_streak

KEPT_AFTER_END = 30 * 86400.0
"""How long a suppression that ended is still shown, in seconds."""

MORE = "suppressed"
"""A change of this kind is one address: running processes read that, and not all lists again."""

_UNSUCCESSFUL = (EventKind.FAILED, EventKind.SUPPRESSED)


def after_outcomes(connection: Connection, events: Sequence[NewEvent]) -> list[NewEvent]:
    """``events`` with those marked that put their recipient on the account's list.

    Called in the transaction that records them.
    """
    delivered = [
        str(e.data["recipient"])
        for e in events
        if e.account_id is not None and e.kind is EventKind.DELIVERED
    ]
    if delivered and connection.execute(select(_streak.c.failures).limit(1)).first():
        delete_listed(connection, "failure_streak", "recipient", delivered, "1 = 0")
    return [_after(connection, event) if event.account_id else event for event in events]


def _after(connection: Connection, event: NewEvent) -> NewEvent:
    if event.kind in _UNSUCCESSFUL:
        return _after_failure(connection, event)
    if event.kind is EventKind.UNSUBSCRIBED:
        name = str(event.data.get("list", ""))
        reason = f"unsubscribed from {name}" if name else "unsubscribed"
        return _suppressing(connection, event, Cause.UNSUBSCRIBE, reason, "")
    if event.kind is EventKind.COMPLAINED:
        return _after_complaint(connection, event)
    return event


def _after_complaint(connection: Connection, event: NewEvent) -> NewEvent:
    """Only who knows the FromID is believed so far (threat 14)."""
    said = str(event.data.get("feedback_type", ""))
    if event.data.get("matched_by") != "from_id" or said not in UNWANTED:
        return event
    reporter, agent = event.data.get("by") or "nobody", event.data.get("user_agent")
    evidence = f"{said}, reported by {reporter}" + (f" with {agent}" if agent else "")
    return _suppressing(connection, event, Cause.COMPLAINT, f"complaint: {said}", evidence)


def _after_failure(connection: Connection, event: NewEvent) -> NewEvent:
    failures = _count_failure(connection, str(event.data["recipient"]))
    is_believed = event.data.get("answered") and event.data.get("matched_by") != "message"
    if event.kind is not EventKind.FAILED or not is_believed:
        return event
    answer = _answer(event)
    in_a_row = not is_immediate(answer)
    if in_a_row and failures < FAILURES_IN_A_ROW:
        return event
    source = "DSN" if event.data.get("dsn") else "queue"
    reason = reason_of(answer, source, in_a_row=in_a_row)
    return _suppressing(connection, event, Cause.BOUNCE, reason, str(answer))


def _suppressing(
    connection: Connection, event: NewEvent, cause: Cause, reason: str, evidence: str
) -> NewEvent:
    """``event``, marked when its recipient comes on its account's list by it."""
    recipient = str(event.data["recipient"])
    new = Suppression(
        0,
        event.account_id or 0,
        base_address(stored_address(recipient)),
        recipient,
        event.at,
        reason=reason,
        cause=cause.value,
        evidence=printable(evidence, MAX_EVIDENCE_CHARACTERS),
        entry_id=event.entry_id,
    )
    if not add(connection, new, came_from=str(event.data.get("peer", ""))):
        return event
    tell(connection, event.at, MORE, [new.account_id, new.base_address])
    return evolve(event, data={**event.data, "suppressing": True})


def _count_failure(connection: Connection, recipient: str) -> int:
    where = _streak.c.recipient == recipient
    raised = connection.execute(
        update(_streak).where(where).values(failures=_streak.c.failures + 1)
    )
    if raised.rowcount == 0:
        connection.execute(insert(_streak).values(recipient=recipient, failures=1))
    return int(connection.execute(select(_streak.c.failures).where(where)).scalar_one())


def _answer(event: NewEvent) -> Reply:
    code = int(str(event.data.get("code", 0)))
    status = EnhancedStatus.parse(str(event.data.get("status", "")))
    if status is not None and status.class_ != code // 100:
        status = None
    return Reply(code, str(event.data.get("reply", "")), status)


def add(
    connection: Connection, new: Suppression, *, replacing: bool = False, came_from: str = ""
) -> bool:
    """Put an address on its list; False when it is there already, and stays as it is.

    Peers hear of it, but for the one that it ``came_from``.
    """
    before = listed(connection, new.account_id, new.base_address)
    if before is not None:
        if not replacing and not before.gives_way_to(new):
            return False
        connection.execute(delete(_suppression).where(_suppression.c.id == before.id))
    values = asdict(new)
    del values["id"]
    connection.execute(insert(_suppression).values(**values))
    if new.expires_at is None:
        share(
            *(connection, new.account_id, new.base_address, new.added_at),
            is_suppressed=True,
            reason=new.reason,
            but=came_from,
            is_manual=new.manual,
        )
    return True


def remove(connection: Connection, account_id: int, base: str, at: float) -> bool:
    """Take a base address off the account's list; False when it is not there."""
    gone = delete(_suppression).where(
        _suppression.c.account_id == account_id, _suppression.c.base_address == base
    )
    was_there = connection.execute(gone).rowcount > 0
    if was_there:
        share(connection, account_id, base, at, is_suppressed=False)
    return was_there


def listed(connection: Connection, account_id: int, base: str) -> Suppression | None:
    """What is on a list for exactly this base address, ended or not."""
    wanted = select(_suppression).where(
        _suppression.c.account_id == account_id, _suppression.c.base_address == base
    )
    row = connection.execute(wanted).first()
    return Suppression(**row._mapping) if row is not None else None


def everybody(connection: Connection) -> Lists:
    """All lists, as memory has them."""
    columns = _suppression.c.account_id, _suppression.c.base_address, _suppression.c.expires_at
    return lists_of(Listed(*row) for row in connection.execute(select(*columns)))


def told_since(connection: Connection, position: int) -> tuple[int, list[Listed]]:
    """What events put on lists behind that change, if it is still there; and the last change."""
    change = tables.change
    wanted = select(change.c.id, change.c.subject).where(
        change.c.id > position, change.c.kind == MORE
    )
    rows = connection.execute(wanted.order_by(change.c.id)).all()
    found = [listed(connection, *msgspec.json.decode(row.subject)) for row in rows]
    return (
        rows[-1].id if rows else position,
        [Listed(one.account_id, one.base_address, one.expires_at) for one in found if one],
    )


def sweep_suppressions(connection: Connection, now: float, limit: int) -> None:
    """Remove up to ``limit`` of those that ended KEPT_AFTER_END seconds ago."""
    over = (
        select(_suppression.c.id)
        .where(_suppression.c.expires_at <= now - KEPT_AFTER_END)
        .order_by(_suppression.c.expires_at)
        .limit(limit)
    )
    ids = [row.id for row in connection.execute(over)]
    if ids:
        delete_listed(connection, "suppression", "id", ids, "1 = 0")
