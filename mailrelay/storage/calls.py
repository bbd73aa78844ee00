"""Webhook calls: made in the transaction that records their event, and their store.

Invariant: a call exists if and only if its event does.  Whoever records an event records its
calls by the same function, the command line too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from attrs import frozen
from sqlalchemy import Connection, bindparam, false, func, literal_column, select, text, update
from twisted.internet.defer import Deferred

from mailrelay.mailbox.model import Incoming
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.destination import Destination
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.group_commit import Operation
from mailrelay.storage.ids import take_ids
from mailrelay.storage.nodes import Node
from mailrelay.storage.statements import GuardedUpdate, Insert, Prepared, Row
from mailrelay.webhooks.call import INCOMING_EVENT, Call, Endpoint, EndpointKind, FinishedCall
from mailrelay.webhooks.payload import Subject, outgoing_payload

_call, _endpoint, _account = tables.call, tables.webhook_endpoint, tables.account

TOLD = frozenset(
    {
        EventKind.DELIVERED,
        EventKind.SUPPRESSED,
        EventKind.DELAYED,
        EventKind.FAILED,
        EventKind.RELAYED,
        EventKind.EXPANDED,
        EventKind.CANCELED,
        EventKind.UNRECOGNIZED,
    }
)
KEPT_FOR = 3 * 86400.0
"""How long retired calls stay visible, in seconds, unless the account says otherwise."""

_insert = Insert(_call)
_insert_attempt = Insert(
    tables.call_attempt, ("call_id", "at", "seconds", "is_success", "code", "error", "response")
)
_supersede = Prepared(
    update(_call)
    .where(_call.c.entry_id == bindparam("b_entry"), text("state = 0"))
    .where(_call.c.id < bindparam("b_call"))
    .values(
        state=literal_column("2"),
        is_success=false(),
        superseded_by=bindparam("b_by"),
        keep_until=bindparam("b_keep_until"),
    ),
    ("b_by", "b_keep_until", "b_entry", "b_call"),
)
_begin = GuardedUpdate(
    "call",
    "next_attempt_at = {1}, attempts = attempts + 1",
    "state = 0 AND node_id = {node} AND epoch = {epoch}",
    ("bigint", "double precision"),
)
# Superseded while it was in flight: it stays retired, and its attempt is recorded.
_finish = GuardedUpdate(
    "call",
    "state = CASE WHEN state = 2 THEN 2 ELSE {1} END, next_attempt_at = {2},"
    " is_success = {3}, keep_until = CASE WHEN state = 2 THEN keep_until ELSE {4} END,"
    " node_id = 0, epoch = 0",
    "node_id = {node} AND epoch = {epoch}",
    ("bigint", "int", "double precision", "boolean", "double precision"),
)
_unclaim = GuardedUpdate(
    "call", "node_id = 0, epoch = 0", "node_id = {node} AND epoch = {epoch}", ("bigint",)
)
_claim = Prepared(
    update(_call)
    .where(_call.c.id == bindparam("b_id"))
    .values({"node_id": bindparam("b_node"), "epoch": bindparam("b_epoch")}),
    ("b_node", "b_epoch", "b_id"),
)


@frozen
class _Told:
    """An account's endpoint, and how long its retired calls are kept."""

    endpoint: Endpoint
    kept_for: float


def insert_calls(connection: Connection, events: Iterable[NewEvent]) -> None:
    """The calls that ``events`` ask for."""
    asked = [e for e in events if e.account_id is not None and e.entry_id and e.kind in TOLD]
    if not asked:
        return
    accounts = {e.account_id for e in asked if e.account_id is not None}
    endpoints = _endpoints(connection, accounts, EndpointKind.OUTGOING)
    wanted = [(e, told) for e in asked for told in endpoints.get(e.account_id or 0, ())]
    wanted = [(e, told) for e, told in wanted if told.endpoint.wants(e.kind.value)]
    if not wanted:
        return
    subjects = _subjects(connection, {e.entry_id for e, _ in wanted if e.entry_id is not None})
    first = take_ids(connection, len(wanted))
    rows: list[Row] = []
    superseding: list[Row] = []
    for id_, (event, told) in enumerate(wanted, first):
        assert event.entry_id is not None and event.account_id is not None
        body = outgoing_payload(event, subjects[event.entry_id])
        rows.append(
            call_row(
                id_,
                event.account_id,
                told.endpoint,
                event.kind.value,
                body,
                event.at,
                entry_id=event.entry_id,
                message_id=event.message_id,
            )
        )
        superseding.append((id_, event.at + told.kept_for, event.entry_id, id_))
    _insert.many(connection, rows)
    _supersede.many(connection, superseding)


def insert_incoming_calls(connection: Connection, delivered: Sequence[Incoming]) -> None:
    """The calls that tell of messages put in mailboxes; none supersedes another."""
    if not delivered:
        return
    accounts = {one.account_id for one in delivered}
    endpoints = _endpoints(connection, accounts, EndpointKind.INCOMING)
    wanted = [(one, t.endpoint) for one in delivered for t in endpoints.get(one.account_id, ())]
    first = take_ids(connection, len(wanted)) if wanted else 0
    rows = []
    for id_, (one, endpoint) in enumerate(wanted, first):
        assert one.payload is not None
        at, of = one.received_at, one.message_id
        rows.append(
            call_row(id_, one.account_id, endpoint, INCOMING_EVENT, one.payload, at, message_id=of)
        )
    _insert.many(connection, rows)


def call_row(
    id_: int,
    account_id: int,
    endpoint: Endpoint,
    event: str,
    payload: bytes,
    at: float,
    *,
    entry_id: int | None = None,
    message_id: int | None = None,
) -> Row:
    """As ``tables.call`` has its columns; due at once."""
    return (
        id_,
        account_id,
        endpoint.url,
        endpoint.authorization,
        event,
        entry_id,
        message_id,
        payload,
        at,
        0,
        at,
        0,
        Destination(endpoint.url, None).lane(account_id),
        0,
        0,
        None,
        None,
        None,
        None,
        None,
    )


def endpoint_of(row: object) -> Endpoint:
    """From a row of ``tables.webhook_endpoint``."""
    kind, url, authorization, events = (
        getattr(row, name) for name in ("kind", "url", "authorization", "events")
    )
    return Endpoint(EndpointKind(kind), url, authorization, tuple(msgspec.json.decode(events)))


def _endpoints(
    connection: Connection, accounts: set[int], kind: EndpointKind
) -> Mapping[int, list[_Told]]:
    found: dict[int, list[_Told]] = {}
    wanted = (
        select(_endpoint, _account.c.calls_kept_for)
        .join(_account, _account.c.id == _endpoint.c.account_id)
        .where(_endpoint.c.account_id.in_(accounts))
        .where(_endpoint.c.kind == kind.value)
    )
    for row in connection.execute(wanted):
        kept_for = KEPT_FOR if row.calls_kept_for is None else row.calls_kept_for
        found.setdefault(row.account_id, []).append(_Told(endpoint_of(row), kept_for))
    return found


def _subjects(connection: Connection, entries: set[int]) -> dict[int, Subject]:
    entry, message = tables.entry, tables.message
    rows = connection.execute(
        select(
            entry.c.id,
            entry.c.from_id,
            message.c.message_id,
            message.c.subject,
            message.c.extra,
        )
        .join(message, message.c.id == entry.c.message_id)
        .where(entry.c.id.in_(entries))
    )
    return {
        row.id: Subject(
            row.id,
            row.from_id,
            row.message_id,
            row.subject,
            msgspec.json.decode(row.extra) if row.extra else {},
        )
        for row in rows
    }


class DatabaseCallStore:
    """CallStore over one database, as one node."""

    def __init__(self, database: Database, node: Node) -> None:
        self._database, self._node = database, node
        self._begin: Operation[tuple[Call, float], bool] = Operation("call", 4, self._apply_begin)
        self._finish: Operation[FinishedCall, bool] = Operation("called", 5, self._apply_finish)

    def claim_due(
        self, now: float, limit: int, full_lanes: Sequence[int]
    ) -> Deferred[Sequence[Call]]:
        """See CallStore."""
        return self._database.write(lambda c: self._claim_due(c, now, limit, full_lanes))

    def _claim_due(
        self, connection: Connection, now: float, limit: int, full_lanes: Sequence[int]
    ) -> Sequence[Call]:
        due = (
            select(_call)
            .where(text("state = 0 AND node_id = 0"), _call.c.next_attempt_at <= now)
            .order_by(_call.c.next_attempt_at, _call.c.id)
            .limit(limit)
        )
        if full_lanes:
            due = due.where(_call.c.lane.not_in(full_lanes))
        if connection.dialect.name == "postgresql":
            due = due.with_for_update(skip_locked=True)
        calls = [_call_of(row, self._node.epoch) for row in connection.execute(due)]
        claims = [(self._node.id, self._node.epoch, call.id) for call in calls]
        _claim.many(connection, claims)
        return calls

    def next_due_at(self) -> Deferred[float | None]:
        """See CallStore."""
        earliest = select(func.min(_call.c.next_attempt_at)).where(
            text("state = 0 AND node_id = 0")
        )
        return self._database.read(lambda c: c.execute(earliest).scalar())

    def begin(self, call: Call, next_attempt_at: float) -> Deferred[bool]:
        """See CallStore."""
        return self._database.merge(self._begin, (call, next_attempt_at))

    def _apply_begin(
        self, connection: Connection, items: Sequence[tuple[Call, float]]
    ) -> Sequence[bool]:
        node = self._node
        rows = [(call.id, due) for call, due in items]
        begun = _begin.run(connection, rows, node=node.id, epoch=node.epoch)
        lost = [(call.id,) for (call, _), may in zip(items, begun, strict=True) if not may]
        _unclaim.run(connection, lost, node=node.id, epoch=node.epoch)
        return begun

    def finish(self, finished: FinishedCall) -> Deferred[bool]:
        """See CallStore."""
        return self._database.merge(self._finish, finished)

    def _apply_finish(
        self, connection: Connection, items: Sequence[FinishedCall]
    ) -> Sequence[bool]:
        node = self._node
        recorded = _finish.run(
            connection, [_finish_row(one) for one in items], node=node.id, epoch=node.epoch
        )
        ours = [one for one, was in zip(items, recorded, strict=True) if was]
        _insert_attempt.many(connection, [_attempt_row(one) for one in ours])
        return recorded

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """See CallStore."""
        node = self._node

        def release(connection: Connection) -> None:
            _unclaim.run(connection, [(id_,) for id_ in entry_ids], node=node.id, epoch=node.epoch)

        return self._database.write(release)


def _call_of(row: object, epoch: int) -> Call:
    """From a row of ``tables.call``, claimed in ``epoch``."""
    names = (
        "id",
        "account_id",
        "url",
        "authorization",
        "event",
        "payload",
        "queued_at",
        "next_attempt_at",
        "entry_id",
        "message_id",
        "attempts",
        "lane",
    )
    values = {name: getattr(row, name) for name in names}
    values["payload"] = bytes(values["payload"])
    return Call(**values, epoch=epoch)


def _finish_row(one: FinishedCall) -> Row:
    is_over = one.next_attempt_at is None
    due = one.call.next_attempt_at if one.next_attempt_at is None else one.next_attempt_at
    return (
        one.call.id,
        2 if is_over else 0,
        due,
        one.attempt.is_success if is_over else None,
        one.keep_until if is_over else None,
    )


def _attempt_row(one: FinishedCall) -> Row:
    a = one.attempt
    return (one.call.id, a.at, a.seconds, a.is_success, a.code, a.error, a.response)
