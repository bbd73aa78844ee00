"""Webhook calls as ``control/`` asks for them, and their sweeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TextClause,
    case,
    false,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from twisted.internet.defer import Deferred

from mailrelay.control.calls import (
    CANCELED,
    LONGEST_WAIT,
    CallFilter,
    CallHistory,
    CallView,
    Relative,
)
from mailrelay.control.errors import NoSuch
from mailrelay.storage import tables
from mailrelay.storage.call_rows import call_row, was_canceled
from mailrelay.storage.calls import KEPT_FOR
from mailrelay.storage.database import Database
from mailrelay.storage.directory import account_id, endpoints_of, record_audit, tell
from mailrelay.storage.ids import take_ids
from mailrelay.storage.statements import delete_listed
from mailrelay.webhooks.call import CallAttempt, EndpointKind

_call, _attempt, _account = tables.call, tables.call_attempt, tables.account

BATCH = 200
"""Rows changed in one transaction: a long one would hold up the server's."""

# Each half has a partial index; of "state = 0" alone there is none, and retired ones are many.
_LIVING = text(
    "call.state = 0 AND call.id IN (SELECT id FROM call WHERE state = 0 AND node_id = 0"
    " UNION ALL SELECT id FROM call WHERE node_id <> 0)"
)

Change = Callable[[Connection, Sequence[int]], None]


@frozen
class DatabaseCallRecords:
    """CallRecords over one database."""

    database: Database

    def find(self, wanted: CallFilter, now: float) -> Deferred[Sequence[CallView]]:
        """See CallRecords."""
        return self.database.read(lambda c: _find(c, wanted, now))

    def history(self, call_id: int) -> Deferred[CallHistory | None]:
        """See CallRecords."""
        return self.database.read(lambda c: _history(c, call_id))

    def schedule(
        self, actor: str, ids: Sequence[int], now: float, at: float
    ) -> Deferred[Sequence[int]]:
        """See CallRecords."""

        def change(connection: Connection, ids: Sequence[int]) -> None:
            connection.execute(update(_call).where(_call.c.id.in_(ids)).values(next_attempt_at=at))

        return self._change(actor, "webhook schedule", ids, now, change)

    def postpone(
        self, actor: str, ids: Sequence[int], now: float, by: float
    ) -> Deferred[Sequence[int]]:
        """See CallRecords."""
        later, longest = _call.c.next_attempt_at + by, literal(now + LONGEST_WAIT)
        due = case((later < longest, later), else_=longest)

        def change(connection: Connection, ids: Sequence[int]) -> None:
            connection.execute(update(_call).where(_call.c.id.in_(ids)).values(next_attempt_at=due))

        return self._change(actor, "webhook postpone", ids, now, change)

    def cancel(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """See CallRecords."""

        def change(connection: Connection, ids: Sequence[int]) -> None:
            own = select(_account.c.calls_kept_for).where(_account.c.id == _call.c.account_id)
            kept_for = func.coalesce(own.scalar_subquery(), KEPT_FOR)
            # The claim stays: so what is in flight is recorded.
            retired = {"state": 2, "is_success": false(), "keep_until": literal(now) + kept_for}
            connection.execute(update(_call).where(_call.c.id.in_(ids)).values(retired))
            row = {"at": now, "seconds": 0.0, "is_success": False, "code": 0, "response": ""}
            canceled = [{**row, "call_id": id_, "error": CANCELED} for id_ in ids]
            connection.execute(insert(_attempt), canceled)

        return self._change(actor, "webhook cancel", ids, now, change)

    def _change(
        self, actor: str, action: str, ids: Sequence[int], now: float, change: Change
    ) -> Deferred[Sequence[int]]:
        return Deferred.fromCoroutine(self._in_batches(actor, action, ids, now, change))

    async def _in_batches(
        self, actor: str, action: str, ids: Sequence[int], now: float, change: Change
    ) -> Sequence[int]:
        changed: list[int] = []
        for at in range(0, len(ids), BATCH):
            batch = ids[at : at + BATCH]
            work = partial(
                _change_batch, actor=actor, action=action, ids=batch, now=now, change=change
            )
            changed += await self.database.write(work)
        return changed

    def queue_example(
        self, actor: str, account: str, kind: EndpointKind, event: str, payload: bytes, now: float
    ) -> Deferred[int]:
        """See CallRecords."""

        def work(connection: Connection) -> int:
            found = [one for one in endpoints_of(connection, account) if one.kind is kind]
            if not found:
                raise NoSuch(
                    f"account {account} has no {kind.value} webhook:"
                    f" mailrelay account set {account} --{kind.value}-webhook URL"
                )
            id_ = take_ids(connection, 1)
            owner = account_id(connection, account)
            # It tells of no entry, so that nothing supersedes it.
            row = call_row(id_, owner, found[0], event, payload, now)
            connection.execute(insert(_call).values(row))
            tell(connection, now, "calls")
            record_audit(connection, now, actor, "webhook test", f"{account} {kind.value}")
            return id_

        return self.database.write(work)


def _change_batch(
    connection: Connection,
    actor: str,
    action: str,
    ids: Sequence[int],
    now: float,
    change: Change,
) -> list[int]:
    wanted = select(_call.c.id).where(_call.c.id.in_(ids), text("state = 0"))
    living = sorted(connection.execute(wanted).scalars())
    if living:
        change(connection, living)
        tell(connection, now, "calls")
        record_audit(connection, now, actor, action, " ".join(str(id_) for id_ in living))
    return living


_SHOWN = (
    *("id", "url", "event", "entry_id", "message_id", "queued_at", "next_attempt_at"),
    *("attempts", "is_success", "superseded_by", "keep_until"),
)
_VIEW: list[ColumnElement[Any]] = [
    *(_call.c[name] for name in _SHOWN),
    _account.c.name.label("account"),
    (_call.c.authorization != "").label("has_authorization"),
    (_call.c.state == 2).label("is_retired"),
    (_call.c.node_id != 0).label("is_claimed"),
    was_canceled().label("is_canceled"),
]


def _view(row: Any) -> CallView:
    return CallView(**{name: row._mapping[name] for name in _FIELDS})


_FIELDS = (*_SHOWN, "account", "has_authorization", "is_retired", "is_claimed", "is_canceled")


def _find(connection: Connection, wanted: CallFilter, now: float) -> list[CallView]:
    return [_view(row) for row in connection.execute(calls_query(wanted, now))]


def calls_query(wanted: CallFilter, now: float) -> Select[Any]:
    """What finds the calls that ``wanted`` fits, by id."""
    return (
        select(*_VIEW)
        .outerjoin(_account, _account.c.id == _call.c.account_id)
        .where(*_conditions(wanted, now))
        .order_by(_call.c.id)
        .limit(wanted.limit)
    )


def _conditions(wanted: CallFilter, now: float) -> list[ColumnElement[bool] | TextClause]:
    conditions: list[ColumnElement[bool] | TextClause | None] = [
        _call.c.id > wanted.after_id,
        text("call.state = 2") if wanted.retired else _LIVING,
        _call.c.id.in_(wanted.ids) if wanted.ids is not None else None,
        _account.c.name == wanted.account if wanted.account is not None else None,
        _call.c.event == wanted.event if wanted.event is not None else None,
        _relative(_call.c.queued_at, wanted.submitted, now),
        _relative(_call.c.next_attempt_at, wanted.next_attempt, now),
    ]
    return [condition for condition in conditions if condition is not None]


def _relative(
    column: ColumnElement[Any], wanted: Relative | None, now: float
) -> ColumnElement[bool] | None:
    if wanted is None:
        return None
    at = now + wanted.offset
    return column < at if wanted.is_before else column > at


def _history(connection: Connection, call_id: int) -> CallHistory | None:
    query = (
        select(*_VIEW, _call.c.payload)
        .outerjoin(_account, _account.c.id == _call.c.account_id)
        .where(_call.c.id == call_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    wanted = select(_attempt).where(_attempt.c.call_id == call_id).order_by(_attempt.c.id)
    attempts = [
        CallAttempt(one.at, one.seconds, one.is_success, one.code, one.error, one.response)
        for one in connection.execute(wanted)
    ]
    return CallHistory(_view(row), bytes(row.payload), attempts)


def sweep_calls(connection: Connection, now: float, limit: int) -> int:
    """Remove up to ``limit`` retired calls whose time is over, with their attempts; how many."""
    due = (
        select(_call.c.id)
        .where(text("state = 2"), _call.c.keep_until <= now)
        .order_by(_call.c.keep_until)
        .limit(limit)
    )
    ids = list(connection.execute(due).scalars())
    delete_listed(connection, "call", "id", ids, "1 = 0")
    delete_listed(connection, "call_attempt", "call_id", ids, "1 = 0")
    return len(ids)
