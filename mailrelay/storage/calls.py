"""Webhook calls: made in the transaction that records their event, and their store.

Invariant: a call exists if and only if its event does.  Whoever records an event records its
calls by the same function, the command line too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, bindparam, false, func, literal_column, select, text, update
from twisted.internet.defer import Deferred

from mailrelay.mailbox.model import Incoming
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.storage import tables
from mailrelay.storage.call_rows import CALL_COLUMNS, call_of, call_row, endpoint_of, standard_of
from mailrelay.storage.database import Database
from mailrelay.storage.group_commit import Operation
from mailrelay.storage.ids import take_ids
from mailrelay.storage.nodes import Node
from mailrelay.storage.standard_calls import Asked, bodies, read_sent
from mailrelay.storage.statements import GuardedUpdate, Insert, Prepared, Row
from mailrelay.webhooks.call import INCOMING_EVENT, Call, Endpoint, EndpointKind, FinishedCall
from mailrelay.webhooks.endpoint import STANDARD, StandardEndpoint
from mailrelay.webhooks.payload import Subject, outgoing_payload
from mailrelay.webhooks.standard import Sent

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
_ANY_TOLD = TOLD | {EventKind.COMPLAINED, EventKind.UNSUBSCRIBED}
KEPT_FOR = 3 * 86400.0
"""How long retired calls stay visible, in seconds, unless the account says otherwise."""

_insert = Insert(_call)
_insert_attempt = Insert(
    tables.call_attempt, ("call_id", "at", "seconds", "is_success", "code", "error", "response")
)
_supersede = Prepared(
    update(_call)
    .where(_call.c.entry_id == bindparam("b_entry"), text("state = 0 AND endpoint_id IS NULL"))
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
_postpone = GuardedUpdate(
    "call",
    "next_attempt_at = {1}, node_id = 0, epoch = 0",
    "node_id = {node} AND epoch = {epoch}",
    ("bigint", "double precision"),
)
_claim = Prepared(
    update(_call)
    .where(_call.c.id == bindparam("b_id"))
    .values({"node_id": bindparam("b_node"), "epoch": bindparam("b_epoch")}),
    ("b_node", "b_epoch", "b_id"),
)


@frozen
class _Told:
    """An account's endpoint in mox's shape, and how long its retired calls are kept."""

    endpoint: Endpoint
    kept_for: float


def insert_calls(connection: Connection, events: Iterable[NewEvent]) -> None:
    """The calls that ``events`` ask for.

    An account without endpoints costs one look at them, for all events together.
    """
    asked = [e for e in events if e.account_id is not None and e.entry_id and e.kind in _ANY_TOLD]
    if not asked:
        return
    accounts = {e.account_id for e in asked if e.account_id is not None}
    mox, standard = _outgoing_endpoints(connection, accounts)
    told = [(e, t) for e in asked for t in mox.get(e.account_id or 0, ()) if _wants(t, e)]
    signed = [
        Asked(e, endpoint)
        for e in asked
        for endpoint in standard.get(e.account_id or 0, ())
        if endpoint.wants(e.kind.value)
    ]
    if not told and not signed:
        return
    of_entries = {e.entry_id for e in (*(e for e, _ in told), *(a.event for a in signed))}
    sent = read_sent(connection, [id_ for id_ in of_entries if id_ is not None])
    if len(sent) < len(of_entries):
        sent = {event.entry_id or 0: _unknown(event) for event in asked} | sent
    _insert_mox_calls(connection, told, sent)
    insert_standard_calls(connection, signed, sent)


def _unknown(event: NewEvent) -> Sent:
    """What the event alone says of an entry that was swept: one may unsubscribe a year later."""
    return Sent(
        message_id=event.message_id,
        header_message_id="",
        subject="",
        sender="",
        tags=(),
        extra={},
        entry_id=event.entry_id or 0,
        recipient=str(event.data.get("recipient", "")),
        from_id="",
        state="",
        attempts=0,
    )


def _wants(told: _Told, event: NewEvent) -> bool:
    return event.kind in TOLD and told.endpoint.wants(event.kind.value)


def _insert_mox_calls(
    connection: Connection, wanted: Sequence[tuple[NewEvent, _Told]], sent: Mapping[int, Sent]
) -> None:
    first = take_ids(connection, len(wanted)) if wanted else 0
    rows: list[Row] = []
    superseding: list[Row] = []
    for id_, (event, told) in enumerate(wanted, first):
        assert event.entry_id is not None and event.account_id is not None
        about = sent[event.entry_id]
        subject = Subject(
            about.entry_id, about.from_id, about.header_message_id, about.subject, about.extra
        )
        rows.append(
            call_row(
                id_,
                event.account_id,
                told.endpoint,
                event.kind.value,
                outgoing_payload(event, subject),
                event.at,
                entry_id=event.entry_id,
                message_id=event.message_id,
            )
        )
        if not told.endpoint.has_every_event:
            superseding.append((id_, event.at + told.kept_for, event.entry_id, id_))
    _insert.many(connection, rows)
    _supersede.many(connection, superseding)


def insert_standard_calls(
    connection: Connection,
    asked: Sequence[Asked],
    sent: Mapping[int, Sent],
    *,
    at: float | None = None,
    earlier: Mapping[tuple[int | None, str, float], int] | None = None,
) -> int:
    """Calls to those of the endpoints that want the messages' tags; none supersedes another.

    Events that are told again are so ``at`` a later time; ``earlier`` has the first calls, by
    entry, kind and time.
    """
    wanted = [one for one in asked if one.endpoint.wants_tags(sent[one.event.entry_id or 0].tags)]
    if not wanted:
        return 0
    first = take_ids(connection, len(wanted))
    said = bodies(connection, wanted, sent)
    rows: list[Row] = []
    for id_, one, body in zip(range(first, first + len(wanted)), wanted, said, strict=True):
        event, endpoint = one.event, one.endpoint
        rows.append(
            call_row(
                id_,
                endpoint.account_id,
                endpoint,
                event.kind.value,
                body,
                event.at if at is None else at,
                entry_id=event.entry_id,
                message_id=event.message_id,
                replay_of=(earlier or {}).get((event.entry_id, event.kind.value, event.at)),
            )
        )
    _insert.many(connection, rows)
    return len(rows)


def insert_incoming_calls(connection: Connection, delivered: Sequence[Incoming]) -> None:
    """The calls that tell of messages put in mailboxes; none supersedes another."""
    if not delivered:
        return
    of_accounts = _endpoint.c.account_id.in_({one.account_id for one in delivered})
    kinds = _endpoint.c.kind.in_((EndpointKind.INCOMING.value, STANDARD))
    enabled = _endpoint.c.disabled_at.is_(None)
    endpoints = connection.execute(
        select(_endpoint).where(of_accounts, kinds, enabled).order_by(_endpoint.c.id)
    ).all()
    wanted = [
        (one, endpoint, payload)
        for one in delivered
        for endpoint, payload in _told_of(one, endpoints)
    ]
    first = take_ids(connection, len(wanted)) if wanted else 0
    rows = []
    for id_, (one, endpoint, payload) in enumerate(wanted, first):
        at, of = one.received_at, one.message_id
        row = call_row(id_, one.account_id, endpoint, INCOMING_EVENT, payload, at, message_id=of)
        rows.append(row)
    _insert.many(connection, rows)


def _told_of(
    one: Incoming, endpoints: Sequence[Any]
) -> Iterator[tuple[Endpoint | StandardEndpoint, bytes]]:
    """Whom to call for a message, and what with; one that is new since it was read is not."""
    for row in endpoints:
        if row.account_id != one.account_id:
            continue
        if row.kind != STANDARD:
            if one.payload is not None:
                yield endpoint_of(row), one.payload
        elif one.signed_payload is not None:
            endpoint = standard_of(row)
            if endpoint.wants_received:
                yield endpoint, one.signed_payload


def _outgoing_endpoints(
    connection: Connection, accounts: set[int]
) -> tuple[Mapping[int, list[_Told]], Mapping[int, list[StandardEndpoint]]]:
    """Who is called of what becomes of the accounts' messages: in mox's shape, and signed."""
    mox: dict[int, list[_Told]] = {}
    standard: dict[int, list[StandardEndpoint]] = {}
    wanted = (
        select(_endpoint, _account.c.calls_kept_for)
        .join(_account, _account.c.id == _endpoint.c.account_id)
        .where(_endpoint.c.account_id.in_(accounts))
        .where(_endpoint.c.kind.in_((EndpointKind.OUTGOING.value, STANDARD)))
        .where(_endpoint.c.disabled_at.is_(None))
        .order_by(_endpoint.c.id)
    )
    for row in connection.execute(wanted):
        if row.kind == STANDARD:
            standard.setdefault(row.account_id, []).append(standard_of(row))
        else:
            kept_for = KEPT_FOR if row.calls_kept_for is None else row.calls_kept_for
            mox.setdefault(row.account_id, []).append(_Told(endpoint_of(row), kept_for))
    return mox, standard


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
            select(*CALL_COLUMNS)
            .where(text("state = 0 AND node_id = 0"), _call.c.next_attempt_at <= now)
            .order_by(_call.c.next_attempt_at, _call.c.id)
            .limit(limit)
        )
        if full_lanes:
            due = due.where(_call.c.lane.not_in(full_lanes))
        if connection.dialect.name == "postgresql":
            due = due.with_for_update(skip_locked=True)
        calls = [call_of(row, self._node.epoch) for row in connection.execute(due)]
        claims = [(self._node.id, self._node.epoch, call.id) for call in calls]
        _claim.many(connection, claims)
        return calls

    def next_due_at(self) -> Deferred[float | None]:
        """See CallStore."""
        earliest = select(func.min(_call.c.next_attempt_at)).where(
            text("state = 0 AND node_id = 0")
        )
        return self._database.read(lambda c: c.execute(earliest).scalar())

    def payload(self, call_id: int) -> Deferred[bytes]:
        """See CallStore."""
        wanted = select(_call.c.payload).where(_call.c.id == call_id)
        return self._database.read(lambda c: bytes(c.execute(wanted).scalar() or b""))

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

    def postpone(self, calls: Sequence[Call], until: float) -> Deferred[None]:
        """See CallStore."""
        node, rows = self._node, [(call.id, until) for call in calls]

        def work(connection: Connection) -> None:
            _postpone.run(connection, rows, node=node.id, epoch=node.epoch)

        return self._database.write(work)

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """See CallStore."""
        node = self._node

        def release(connection: Connection) -> None:
            _unclaim.run(connection, [(id_,) for id_ in entry_ids], node=node.id, epoch=node.epoch)

        return self._database.write(release)


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
