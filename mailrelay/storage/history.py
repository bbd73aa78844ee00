"""What an account hears of its own messages (control/history.py) over Core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import ColumnElement, Connection, Select, exists, func, literal, or_, select
from twisted.internet.defer import Deferred

from mailrelay.control.calls import CANCELED
from mailrelay.control.history import (
    MOST_PAYLOAD,
    WHOLE,
    CallMade,
    EventFilter,
    EventsRead,
    MessageQuery,
    SentMessage,
    SentSummary,
    Timeline,
    TimelinePart,
)
from mailrelay.control.queue import EntryView, word_of
from mailrelay.observe.events import Event
from mailrelay.queue.entry import IMPORT, EntryState, Message
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.entry_views import entry_views, every_entry
from mailrelay.storage.rows import event_of, message_of, stored_address
from mailrelay.webhooks.call import CallAttempt

_entry, _message, _event = tables.entry, tables.message, tables.event
_tag = tables.message_tag
_call, _attempt = tables.call, tables.call_attempt

LOOKED_AT = 50_000
"""Messages, for words within them: there is no index of those."""

_CALL_COLUMNS = [column for column in _call.c if column.name != "payload"]

_LIVING = {"ready": EntryState.READY, "held": EntryState.HELD}


@frozen
class DatabaseHistory:
    """AccountHistory over one database."""

    database: Database

    def messages(self, account_id: int, wanted: MessageQuery) -> Deferred[Sequence[SentMessage]]:
        """See AccountHistory."""
        return self.database.read(lambda c: _messages(c, account_id, wanted))

    def summaries(self, account_id: int, wanted: MessageQuery) -> Deferred[Sequence[SentSummary]]:
        """See AccountHistory."""
        return self.database.read(lambda c: _summaries(c, account_id, wanted))

    def message(self, account_id: int, id_: int) -> Deferred[SentMessage | None]:
        """See AccountHistory."""
        return self.database.read(lambda c: _sent(c, account_id, id_))

    def entry(self, account_id: int, id_: int) -> Deferred[EntryView | None]:
        """See AccountHistory."""

        def find(connection: Connection) -> EntryView | None:
            own = _entry.c.account_id == account_id
            return next(iter(_entries(connection, own, _entry.c.id == id_)), None)

        return self.database.read(find)

    def timeline(
        self, account_id: int, message_id: int, part: TimelinePart = WHOLE
    ) -> Deferred[Timeline | None]:
        """See AccountHistory."""
        return self.database.read(lambda c: _timeline(c, account_id, message_id, part))

    def events(
        self, account_id: int, after: int, limit: int, kinds: Sequence[str]
    ) -> Deferred[Sequence[Event]]:
        """See AccountHistory."""
        wanted = (
            select(_event)
            .where(_event.c.account_id == account_id, _event.c.position > after)
            .order_by(_event.c.position)
            .limit(limit)
        )
        if kinds:
            wanted = wanted.where(_event.c.kind.in_(kinds))
        return self.database.read(lambda c: [event_of(tuple(row)) for row in c.execute(wanted)])

    def follow(
        self, account_id: int, after: int, limit: int, wanted: EventFilter
    ) -> Deferred[EventsRead]:
        """See AccountHistory."""
        return self.database.read(lambda c: _follow(c, account_id, after, limit, wanted))

    def newest(self, account_id: int) -> Deferred[int]:
        """See AccountHistory."""
        newest = select(func.max(_event.c.position)).where(_event.c.account_id == account_id)
        return self.database.read(lambda c: c.execute(newest).scalar() or 0)


def _messages(connection: Connection, account_id: int, wanted: MessageQuery) -> list[SentMessage]:
    messages = _found(connection, account_id, wanted)
    ids = [message.id for message in messages]
    by_message: dict[int, list[EntryView]] = {id_: [] for id_ in ids}
    for view in _entries(
        connection, _entry.c.message_id.in_(ids), _entry.c.account_id == account_id
    ):
        by_message[view.entry.message.id].append(view)
    return [SentMessage(message, by_message[message.id]) for message in messages]


def _found(connection: Connection, account_id: int, wanted: MessageQuery) -> list[Message]:
    query = messages_query(account_id, wanted)
    if wanted.sender is not None or wanted.subject is not None:
        query = query.where(_message.c.id >= _last_looked_at(connection, account_id, wanted))
    return [message_of(tuple(row)) for row in connection.execute(query)]


def _summaries(connection: Connection, account_id: int, wanted: MessageQuery) -> list[SentSummary]:
    messages = _found(connection, account_id, wanted)
    groups: dict[int, Counter[str]] = {message.id: Counter() for message in messages}
    firsts: dict[int, int] = {}
    of = _entry.c.message_id.in_(list(groups)), _entry.c.account_id == account_id
    kinds = (
        _entry.c.message_id,
        _entry.c.state,
        _entry.c.outcome,
        (_entry.c.node_id != 0).label("claimed"),
        (_entry.c.attempts > 0).label("tried"),
    )
    counted = select(*kinds, func.count().label("number"), func.min(_entry.c.id).label("first"))
    for row in connection.execute(counted.where(*of).group_by(*kinds)):
        state = EntryState(row.state)
        word = word_of(state, row.outcome, claimed=bool(row.claimed), tried=bool(row.tried))
        groups[row.message_id][word] += row.number
        firsts[row.message_id] = min(row.first, firsts.get(row.message_id, row.first))
    named = select(_entry.c.message_id, _told_as).where(_entry.c.id.in_(list(firsts.values())))
    told = {id_: str(stored_address(text)) for id_, text in connection.execute(named)}
    return [
        SentSummary(one, told.get(one.id, ""), groups[one.id].most_common()) for one in messages
    ]


def _last_looked_at(connection: Connection, account_id: int, wanted: MessageQuery) -> int:
    """The oldest message of the time asked for whose text is looked at."""
    plain = MessageQuery(since=wanted.since, until=wanted.until, before_id=wanted.before_id)
    newest = select(_message.c.id).where(_message.c.account_id == account_id, *_conditions(plain))
    newest = newest.order_by(_message.c.id.desc()).offset(LOOKED_AT - 1).limit(1)
    return int(connection.execute(newest).scalar() or 0)


def messages_query(account_id: int, wanted: MessageQuery) -> Select[Any]:
    """What finds the messages that ``wanted`` fits, newest first; a tag's by their own index."""
    query = select(_message).where(
        _message.c.account_id == account_id,
        _message.c.door != IMPORT,  # a copy in a mailbox was not sent
        *_conditions(wanted),
    )
    by = _message.c.id
    if wanted.tag is not None:
        by = _tag.c.message_id
        query = query.join(_tag, by == _message.c.id)
        query = query.where(_tag.c.account_id == account_id, _tag.c.tag == wanted.tag)
        if wanted.before_id is not None:
            query = query.where(by < wanted.before_id)
    return query.order_by(by.desc()).limit(wanted.limit)


def _sent(connection: Connection, account_id: int, id_: int) -> SentMessage | None:
    query = select(_message).where(_message.c.id == id_, _message.c.account_id == account_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    own = _entry.c.account_id == account_id
    return SentMessage(
        message_of(tuple(row)), _entries(connection, own, _entry.c.message_id == id_)
    )


_told_as: ColumnElement[str] = func.coalesce(_entry.c.alias, _entry.c.recipient)
_OWN = (_entry.c.message_id == _message.c.id, _entry.c.account_id == _message.c.account_id)


def _conditions(wanted: MessageQuery) -> list[ColumnElement[bool]]:
    of_entry = [
        condition
        for condition in (_recipient_condition(wanted), _state_condition(wanted))
        if condition is not None
    ]
    conditions = [
        _message.c.id < wanted.before_id if wanted.before_id is not None else None,
        _within(_message.c.reverse_path, wanted.sender),
        _within(_message.c.subject, wanted.subject),
        _message.c.message_id == wanted.message_id if wanted.message_id is not None else None,
        _message.c.extra.contains(_json_pair(*wanted.extra), autoescape=True)
        if wanted.extra is not None
        else None,
        _message.c.received_at >= wanted.since if wanted.since is not None else None,
        _message.c.received_at < wanted.until if wanted.until is not None else None,
        exists().where(*_OWN, *of_entry) if of_entry else None,
    ]
    return [condition for condition in conditions if condition is not None]


def _within(column: ColumnElement[str], text: str | None) -> ColumnElement[bool] | None:
    return None if text is None else column.icontains(text, autoescape=True)


def _recipient_condition(wanted: MessageQuery) -> ColumnElement[bool] | None:
    if wanted.recipient is None:
        return None
    if "@" in wanted.recipient:
        return _told_as == wanted.recipient
    return _told_as.endswith(f"@{wanted.recipient}", autoescape=True)


def _state_condition(wanted: MessageQuery) -> ColumnElement[bool] | None:
    if wanted.state is None:
        return None
    state = _LIVING.get(wanted.state)
    if state is not None:
        return _entry.c.state == state.value
    return _entry.c.outcome == wanted.state


def _json_pair(name: str, value: str) -> str:
    """As it stands in the column: quotes within are escaped, so that nothing else fits."""
    return f"{msgspec.json.encode(name).decode()}:{msgspec.json.encode(value).decode()}"


def _entries(connection: Connection, *conditions: ColumnElement[bool]) -> list[EntryView]:
    return entry_views(connection, every_entry().where(*conditions))


def _timeline(
    connection: Connection, account_id: int, message_id: int, part: TimelinePart
) -> Timeline | None:
    is_own = select(_message.c.id).where(
        _message.c.id == message_id, _message.c.account_id == account_id
    )
    if connection.execute(is_own).one_or_none() is None:
        return None
    of = _event.c.message_id == message_id, _event.c.account_id == account_id
    query = select(_event).where(*of, _event.c.position > part.after).order_by(_event.c.position)
    if part.entry_id is not None:
        query = query.where(or_(_event.c.entry_id.is_(None), _event.c.entry_id == part.entry_id))
    if part.limit is not None:
        query = query.limit(part.limit + 1)
    events = [event_of(tuple(row)) for row in connection.execute(query)]
    shown = events[: part.limit]
    rest = events[len(shown) :]
    between = (
        shown[0].at if part.after and shown else None,
        rest[0].at if rest else None,
    )
    return Timeline(
        shown,
        _calls(connection, account_id, message_id, part, between),
        shown[-1].position if rest else None,
    )


def _calls(
    connection: Connection,
    account_id: int,
    message_id: int,
    part: TimelinePart,
    between: tuple[float | None, float | None],
) -> Sequence[CallMade]:
    """Those that were queued in that time: each stands with the event that it tells of."""
    since, until = between
    has_payload = part.limit is not None
    payload = func.substr(_call.c.payload, 1, MOST_PAYLOAD) if has_payload else literal(b"")
    entries = select(_entry.c.id).where(_entry.c.message_id == message_id)
    if part.entry_id is not None:
        entries = entries.where(_entry.c.id == part.entry_id)
    query = (
        select(*_CALL_COLUMNS, payload.label("payload"))
        .where(_call.c.entry_id.in_(entries))
        # With the sum they are found by entry, not among all calls of the account.
        .where(_call.c.entry_id.is_not(None), _call.c.account_id + 0 == account_id)
        .order_by(_call.c.id)
    )
    if since is not None:
        query = query.where(_call.c.queued_at >= since)
    if until is not None:
        query = query.where(_call.c.queued_at < until)
    return [_call_made(connection, row) for row in connection.execute(query).all()]


def _follow(
    connection: Connection, account_id: int, after: int, limit: int, wanted: EventFilter
) -> EventsRead:
    query = (
        select(_event, _message.c.tags)
        .outerjoin(_message, _message.c.id == _event.c.message_id)
        .where(_event.c.account_id == account_id, _event.c.position > after)
        .order_by(_event.c.position)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    events = [event_of(tuple(row)) for row in rows if _is_wanted(row, wanted)]
    return EventsRead(events, rows[-1].position if rows else after)


def _is_wanted(row: Any, wanted: EventFilter) -> bool:
    if wanted.kinds and row.kind not in wanted.kinds:
        return False
    return wanted.tag is None or wanted.tag in msgspec.json.decode(row.tags or "[]")


def _call_made(connection: Connection, row: Any) -> CallMade:
    wanted = select(_attempt).where(_attempt.c.call_id == row.id).order_by(_attempt.c.id).limit(100)
    attempts = [
        CallAttempt(a.at, a.seconds, a.is_success, a.code, a.error, a.response)
        for a in connection.execute(wanted)
    ]
    return CallMade(
        row.id,
        row.entry_id,
        row.event,
        row.url,
        row.queued_at,
        row.state == EntryState.RETIRED.value,
        row.is_success,
        row.superseded_by,
        any(one.code == 0 and one.error == CANCELED for one in attempts),
        attempts,
        bytes(row.payload),
    )
