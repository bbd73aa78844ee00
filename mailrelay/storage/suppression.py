"""Suppression lists: grown in the transaction that records the failure, and asked for."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from sqlalchemy import Connection, delete, insert, select, update

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.suppression import (
    FAILURES_IN_A_ROW,
    Suppression,
    base_address,
    is_immediate,
    reason_of,
)
from mailrelay.smtp.reply import EnhancedStatus, Reply
from mailrelay.storage import tables
from mailrelay.storage.rows import stored_address
from mailrelay.storage.statements import delete_listed

_suppression, _streak = tables.suppression, tables.failure_streak

_UNSUCCESSFUL = (EventKind.FAILED, EventKind.SUPPRESSED)


def after_outcomes(connection: Connection, events: Sequence[NewEvent]) -> list[NewEvent]:
    """``events`` with those marked that put their recipient on the account's list.

    Called in the transaction that records them.
    """
    delivered = [str(e.data["recipient"]) for e in events if _is_of_account(e, EventKind.DELIVERED)]
    if delivered and connection.execute(select(_streak.c.failures).limit(1)).first():
        delete_listed(connection, "failure_streak", "recipient", delivered, "1 = 0")
    return [
        _after_failure(connection, event) if _is_of_account(event, *_UNSUCCESSFUL) else event
        for event in events
    ]


def _is_of_account(event: NewEvent, *kinds: EventKind) -> bool:
    return event.kind in kinds and event.account_id is not None


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
    added = add(
        connection,
        Suppression(
            0,
            event.account_id or 0,
            "",
            str(event.data["recipient"]),
            event.at,
            reason=reason_of(answer, source, in_a_row=in_a_row),
        ),
    )
    return evolve(event, data={**event.data, "suppressing": True}) if added else event


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


def add(connection: Connection, new: Suppression) -> bool:
    """Put an address on its account's list; False when it is there already."""
    base = base_address(stored_address(new.original_address))
    if present(connection, new.account_id, base):
        return False
    connection.execute(
        insert(_suppression).values(
            account_id=new.account_id,
            base_address=base,
            original_address=new.original_address,
            added_at=new.added_at,
            manual=new.manual,
            reason=new.reason,
            cause=new.cause,
            evidence=new.evidence,
            entry_id=new.entry_id,
            expires_at=new.expires_at,
        )
    )
    return True


def remove(connection: Connection, account_id: int, base: str) -> bool:
    """Take a base address off the account's list; False when it is not there."""
    gone = delete(_suppression).where(
        _suppression.c.account_id == account_id, _suppression.c.base_address == base
    )
    return connection.execute(gone).rowcount > 0


def present(connection: Connection, account_id: int, base: str) -> bool:
    """Whether a base address is on the account's list."""
    found = select(_suppression.c.id).where(
        _suppression.c.account_id == account_id, _suppression.c.base_address == base
    )
    return connection.execute(found).first() is not None


def everybody(connection: Connection) -> list[tuple[int, str]]:
    """Account and base address of all lists."""
    wanted = select(_suppression.c.account_id, _suppression.c.base_address)
    return [(row.account_id, row.base_address) for row in connection.execute(wanted)]
