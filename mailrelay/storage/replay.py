"""An account's webhook calls (control/replay.py) over Core."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import ColumnElement, Connection, insert, select, text
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.replay import (
    MOST_ATTEMPTS,
    AccountCall,
    CallDetails,
    CallQuery,
    Progress,
    ReplayRange,
)
from mailrelay.control.standings import Standings
from mailrelay.observe.events import Event
from mailrelay.queue.entry import StoredAnswer
from mailrelay.storage import tables
from mailrelay.storage.call_rows import call_row, endpoint_of, standard_of, was_canceled
from mailrelay.storage.calls import insert_standard_calls
from mailrelay.storage.database import Database
from mailrelay.storage.directory import record_audit, tell
from mailrelay.storage.idempotency import find_answer, keep_answer
from mailrelay.storage.ids import take_ids
from mailrelay.storage.rows import event_of
from mailrelay.storage.standard_calls import Asked, read_sent
from mailrelay.storage.standings import read_standings
from mailrelay.webhooks.call import INCOMING_EVENT, CallAttempt, Endpoint, EndpointKind
from mailrelay.webhooks.endpoint import STANDARD, StandardEndpoint

_call, _attempt, _event = tables.call, tables.call_attempt, tables.event
_endpoint = tables.webhook_endpoint

PROGRESS_KEPT_FOR = 86400.0

_COLUMNS = (
    *(_call.c.id, _call.c.endpoint_id, _call.c.event, _call.c.entry_id, _call.c.message_id),
    *(_call.c.url, _call.c.queued_at, _call.c.next_attempt_at, _call.c.attempts, _call.c.state),
    *(_call.c.is_success, _call.c.superseded_by, _call.c.replay_of),
    was_canceled().label("is_canceled"),
)

_UNTAKEN = (_call.c.state == 2, _call.c.is_success.is_(False), _call.c.superseded_by.is_(None))
_STATES: dict[str, Sequence[ColumnElement[bool]]] = {
    "waiting": (_call.c.state == 0,),
    "taken": (_call.c.state == 2, _call.c.is_success.is_(True), _call.c.superseded_by.is_(None)),
    "failed": (*_UNTAKEN, ~was_canceled()),
    "canceled": (*_UNTAKEN, was_canceled()),
    "superseded": (_call.c.superseded_by.is_not(None),),
}


@frozen
class DatabaseReplayRecords:
    """ReplayRecords over one database."""

    database: Database

    def find(self, account_id: int, wanted: CallQuery) -> Deferred[Sequence[AccountCall]]:
        """See ReplayRecords."""
        query = (
            select(*_COLUMNS)
            .where(_call.c.account_id == account_id, *_conditions(wanted))
            .order_by(_call.c.id.desc())
            .limit(wanted.limit)
        )
        return self.database.read(lambda c: [_account_call(row) for row in c.execute(query)])

    def details(self, account_id: int, call_id: int) -> Deferred[CallDetails | None]:
        """See ReplayRecords."""
        query = select(*_COLUMNS, _call.c.payload).where(*_own(account_id, call_id))
        tries = select(_attempt).where(_attempt.c.call_id == call_id)
        tries = tries.order_by(_attempt.c.id).limit(MOST_ATTEMPTS)

        def work(connection: Connection) -> CallDetails | None:
            row = connection.execute(query).first()
            if row is None:
                return None
            attempts = [
                CallAttempt(a.at, a.seconds, a.is_success, a.code, a.error, a.response)
                for a in connection.execute(tries)
            ]
            return CallDetails(_account_call(row), bytes(row.payload), attempts)

        return self.database.read(work)

    def standings(self, account_id: int, endpoint_ids: Sequence[int]) -> Deferred[Standings]:
        """See ReplayRecords."""
        return self.database.read(lambda c: read_standings(c, account_id, endpoint_ids))

    def again(self, actor: str, account_id: int, call_id: int, now: float) -> Deferred[int]:
        """See ReplayRecords."""

        def work(connection: Connection) -> int:
            row = connection.execute(select(_call).where(*_own(account_id, call_id))).first()
            if row is None:
                raise NoSuch(f"no call {call_id}")
            if row.state == 0:
                raise Refusal("the call is still to be made")
            endpoint = _endpoint_of_call(connection, row)
            given = {"entry_id": row.entry_id, "message_id": row.message_id}
            id_ = take_ids(connection, 1)
            made = call_row(
                id_,
                account_id,
                endpoint,
                row.event,
                bytes(row.payload),
                now,
                **given,
                replay_of=call_id,
            )
            connection.execute(insert(_call).values(made))
            tell(connection, now, "calls")
            record_audit(connection, now, actor, "webhook replay", str(call_id))
            return id_

        return self.database.write(work)

    def example(
        self, actor: str, account_id: int, endpoint_id: int, event: str, payload: bytes, now: float
    ) -> Deferred[int]:
        """See ReplayRecords."""

        def work(connection: Connection) -> int:
            endpoint = _enabled(connection, account_id, endpoint_id)
            id_ = take_ids(connection, 1)
            row = call_row(id_, account_id, endpoint, event, payload, now)
            connection.execute(insert(_call).values(row))
            tell(connection, now, "calls")
            record_audit(connection, now, actor, "webhook endpoint test", str(endpoint_id))
            return id_

        return self.database.write(work)

    def events(self, account_id: int, wanted: ReplayRange, limit: int) -> Deferred[Sequence[Event]]:
        """See ReplayRecords."""
        query = (
            select(_event)
            .where(_event.c.account_id == account_id, _event.c.position > wanted.after)
            .where(_event.c.at >= wanted.since, _event.c.at < wanted.until)
            .where(_event.c.kind.in_(wanted.kinds), _event.c.entry_id.is_not(None))
            .order_by(_event.c.position)
            .limit(limit)
        )
        return self.database.read(lambda c: [event_of(tuple(row)) for row in c.execute(query)])

    def progress(self, account_id: int, key: str, now: float) -> Deferred[Progress]:
        """See ReplayRecords."""
        return self.database.read(lambda c: _progress(c, account_id, key, now))

    def tell_again(
        self,
        actor: str,
        account_id: int,
        endpoint_id: int,
        events: Sequence[Event],
        key: str | None,
        now: float,
    ) -> Deferred[int]:
        """See ReplayRecords."""

        def work(connection: Connection) -> int:
            endpoint = _enabled(connection, account_id, endpoint_id)
            if not events:
                return 0
            before = Progress()
            if key is not None:
                before = _progress(connection, account_id, key, now)
                if before.position >= events[-1].position:
                    return 0  # another process has done it meanwhile
            made = _told_again(connection, endpoint, events, now)
            if key is not None:
                done = Progress(events[-1].position, before.calls + made)
                keep_answer(connection, _kept(account_id, key, done, now))
            if made:
                tell(connection, now, "calls")
            subject = f"{endpoint_id} {events[0].position}-{events[-1].position}"
            record_audit(connection, now, actor, "webhook endpoint replay", subject)
            return made

        return self.database.write(work)


def _own(account_id: int, call_id: int) -> Sequence[ColumnElement[bool]]:
    return (_call.c.id == call_id, _call.c.account_id == account_id)


def _conditions(wanted: CallQuery) -> list[ColumnElement[bool]]:
    conditions = [
        _call.c.endpoint_id == wanted.endpoint_id if wanted.endpoint_id is not None else None,
        _call.c.event == wanted.event if wanted.event is not None else None,
        _call.c.queued_at >= wanted.since if wanted.since is not None else None,
        _call.c.queued_at < wanted.until if wanted.until is not None else None,
        _call.c.id < wanted.before_id if wanted.before_id is not None else None,
        *(_STATES[wanted.state] if wanted.state is not None else ()),
    ]
    return [condition for condition in conditions if condition is not None]


def _account_call(row: Any) -> AccountCall:
    return AccountCall(
        row.id,
        row.endpoint_id,
        row.event,
        row.entry_id,
        row.message_id,
        row.url,
        row.queued_at,
        row.next_attempt_at,
        row.attempts,
        row.state == 2,
        row.is_success,
        row.superseded_by,
        row.is_canceled,
        row.replay_of,
    )


def _endpoint_of_call(connection: Connection, row: Any) -> Endpoint | StandardEndpoint:
    """Where a call would go now.  Raises: Refusal."""
    if row.endpoint_id is not None:
        try:
            return _enabled(connection, row.account_id, row.endpoint_id)
        except NoSuch:
            raise Refusal("the call's endpoint was removed") from None
    is_incoming = row.event == INCOMING_EVENT
    kind = EndpointKind.INCOMING if is_incoming else EndpointKind.OUTGOING
    of_kind = (_endpoint.c.account_id == row.account_id, _endpoint.c.kind == kind.value)
    found = connection.execute(select(_endpoint).where(*of_kind)).first()
    if found is None:
        raise Refusal(f"the account has no {kind.value} webhook any more")
    return endpoint_of(found)


def _enabled(connection: Connection, account_id: int, endpoint_id: int) -> StandardEndpoint:
    """A standard endpoint that is called.  Raises: NoSuch, Refusal."""
    own = (_endpoint.c.id == endpoint_id, _endpoint.c.account_id == account_id)
    row = connection.execute(select(_endpoint).where(*own, _endpoint.c.kind == STANDARD)).first()
    if row is None:
        raise NoSuch(f"no endpoint {endpoint_id}")
    if row.disabled_at is not None:
        raise Refusal(f"the endpoint is disabled: {row.disabled_because}; enable it first")
    return standard_of(row)


def _told_again(
    connection: Connection, endpoint: StandardEndpoint, events: Sequence[Event], now: float
) -> int:
    wanted = [e for e in events if endpoint.wants(e.kind.value)]
    sent = read_sent(connection, [e.entry_id for e in wanted if e.entry_id is not None])
    # Of an entry that is swept nothing is known any more.
    asked = [Asked(event, endpoint) for event in wanted if event.entry_id in sent]
    earlier = _earlier_calls(connection, endpoint, wanted)
    return insert_standard_calls(connection, asked, sent, at=now, earlier=earlier)


def _earlier_calls(
    connection: Connection, endpoint: StandardEndpoint, events: Sequence[Event]
) -> dict[tuple[int | None, str, float], int]:
    """The endpoint's first calls of ``events``, by entry, kind and time."""
    entries = {event.entry_id for event in events}
    # The endpoint is looked at here, so that they are found by entry, of which each has few.
    rows = connection.execute(
        select(
            _call.c.id, _call.c.entry_id, _call.c.event, _call.c.queued_at, _call.c.endpoint_id
        ).where(_call.c.entry_id.in_(entries), text("entry_id IS NOT NULL"))
    )
    own = [row for row in rows if row.endpoint_id == endpoint.id]
    return {(row.entry_id, row.event, row.queued_at): row.id for row in own}


# Progress stands where answers do, under a key that no request can have: with a space in it.


def _progress_key(key: str) -> str:
    return f"replay {hashlib.sha256(key.encode()).hexdigest()}"


def _progress(connection: Connection, account_id: int, key: str, now: float) -> Progress:
    found = find_answer(connection, account_id, _progress_key(key), now)
    return Progress(*msgspec.json.decode(found.answer)) if found is not None else Progress()


def _kept(account_id: int, key: str, done: Progress, now: float) -> StoredAnswer:
    answer = msgspec.json.encode([done.position, done.calls])
    until = now + PROGRESS_KEPT_FOR
    return StoredAnswer(account_id, _progress_key(key), b"", 0, answer, until)
