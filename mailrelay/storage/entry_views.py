"""Entries as operators look at them: which fit a filter, a bounded part of the queue at a time."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import ColumnElement, Connection, Select, TextClause, func, select, text

from mailrelay.control.queue import EntryFilter, EntryView, Looked
from mailrelay.queue.entry import Entry
from mailrelay.storage import tables
from mailrelay.storage.rows import ENTRY_COLUMNS, entry_of, message_of

_entry, _message, _account = tables.entry, tables.message, tables.account
_is_of = _message.c.id == _entry.c.message_id


def entries_query(wanted: EntryFilter, now: float) -> Select[Any]:
    """What finds the entries that ``wanted`` fits, by id, without a look at other states' rows."""
    return every_entry().where(*_conditions(wanted, now)).limit(wanted.limit)


def every_entry() -> Select[Any]:
    """All that an EntryView is made of, by id."""
    return (
        select(
            *ENTRY_COLUMNS,
            *_message.c,
            _account.c.name.label("account_name"),
            _entry.c.outcome,
            _entry.c.keep_until,
            _entry.c.node_id,
        )
        .join(_message, _is_of)
        .outerjoin(_account, _account.c.id == _entry.c.account_id)
        .order_by(_entry.c.id)
    )


def entry_views(connection: Connection, query: Select[Any]) -> list[EntryView]:
    """What ``query``, made of ``every_entry``, finds."""
    return [
        EntryView(
            entry_and_message(row), row.account_name, row.outcome, row.keep_until, row.node_id != 0
        )
        for row in connection.execute(query)
    ]


def looked(
    connection: Connection,
    wanted: EntryFilter,
    now: float,
    most: int,
    *,
    backwards: bool,
    counts: bool,
) -> Looked:
    """See QueueRecords.look."""
    if wanted.message_id is not None and wanted.messages is None:
        wanted = _of_message_id(connection, wanted)
    if wanted.ids is not None or wanted.messages is not None:
        to_id, is_end = wanted.after_id, True
    else:
        to_id, is_end = _part(connection, wanted, most, backwards=backwards)
    if not is_end:
        behind, before = (
            (to_id - 1, wanted.before_id) if backwards else (wanted.after_id, to_id + 1)
        )
        wanted = evolve(wanted, after_id=behind, before_id=before)
    order = _entry.c.id.desc() if backwards else _entry.c.id
    query = entries_query(wanted, now).order_by(None).order_by(order)
    views = entry_views(connection, query)
    fitting = len(views)
    if counts and fitting == wanted.limit:
        fitting = _count(connection, wanted, now)
    return Looked(views, to_id, is_end, fitting)


def _count(connection: Connection, wanted: EntryFilter, now: float) -> int:
    of_message = (wanted.sender, wanted.subject, wanted.message_id, wanted.received_by)
    counted = select(func.count()).select_from(_entry)
    if any(one is not None for one in of_message):
        counted = counted.join(_message, _is_of)
    return int(connection.execute(counted.where(*_conditions(wanted, now))).scalar_one())


def _part(
    connection: Connection, wanted: EntryFilter, most: int, *, backwards: bool
) -> tuple[int, bool]:
    """The id up to which ``most`` entries of the wanted state are, and whether those are all."""
    part = select(_entry.c.id).where(_entry.c.id > wanted.after_id)
    if wanted.before_id is not None:
        part = part.where(_entry.c.id < wanted.before_id)
    if not wanted.retired:  # of those by id there is no index, and they are most
        part = part.where(_state_condition(wanted))
    part = part.order_by(_entry.c.id.desc() if backwards else _entry.c.id).limit(most)
    ids = part.subquery()
    last = func.min(ids.c.id) if backwards else func.max(ids.c.id)
    count, to_id = connection.execute(select(func.count(), last)).one()
    return to_id or 0, count < most


def _of_message_id(connection: Connection, wanted: EntryFilter) -> EntryFilter:
    """Submitted ones are found by an index; if there is none, it is looked for."""
    known = select(_message.c.id).where(
        _message.c.message_id == wanted.message_id, text("message.account_id IS NOT NULL")
    )
    ids = [row.id for row in connection.execute(known.limit(100))]
    return evolve(wanted, messages=ids) if ids else wanted


def _conditions(wanted: EntryFilter, now: float) -> list[ColumnElement[bool] | TextClause]:
    conditions: list[ColumnElement[bool] | TextClause | None] = [
        _entry.c.id > wanted.after_id,
        _state_condition(wanted),
        _entry.c.id.in_(wanted.ids) if wanted.ids is not None else None,
        _entry.c.account_id == _account_id(wanted.account) if wanted.account is not None else None,
        _entry.c.message_id.in_(wanted.messages) if wanted.messages is not None else None,
        _message.c.reverse_path.contains(wanted.sender, autoescape=True)
        if wanted.sender
        else _message.c.reverse_path == ""
        if wanted.sender == ""
        else None,
        _entry.c.recipient.contains(wanted.recipient, autoescape=True)
        if wanted.recipient
        else None,
        _entry.c.recipient.endswith(f"@{wanted.domain}", autoescape=True)
        if wanted.domain
        else None,
        _message.c.subject.contains(wanted.subject, autoescape=True) if wanted.subject else None,
        _message.c.message_id == wanted.message_id if wanted.message_id is not None else None,
        _entry.c.transport == wanted.transport if wanted.transport is not None else None,
        _entry.c.lane.in_(wanted.lanes) if wanted.lanes is not None else None,
        _message.c.received_at <= wanted.received_by if wanted.received_by is not None else None,
        _entry.c.id < wanted.before_id if wanted.before_id is not None else None,
        _entry.c.outcome == wanted.outcome if wanted.outcome is not None else None,
        _entry.c.queued_at <= now - wanted.older_than if wanted.older_than is not None else None,
        _entry.c.queued_at >= now - wanted.newer_than if wanted.newer_than is not None else None,
    ]
    return [condition for condition in conditions if condition is not None]


def _account_id(name: str) -> Any:
    return select(_account.c.id).where(_account.c.name == name).scalar_subquery()


def _state_condition(wanted: EntryFilter) -> TextClause:
    """As text: with parameters the partial indexes are not used."""
    if wanted.retired:
        return text("entry.state = 2")
    if wanted.held is None:
        return text("entry.state <> 2")
    return text("entry.state = 1" if wanted.held else "entry.state <> 2 AND entry.state <> 1")


def entry_and_message(row: Any) -> Entry:
    """Of a row of ENTRY_COLUMNS and the message's."""
    width = len(ENTRY_COLUMNS)
    end = width + len(_message.c)
    return entry_of(tuple(row), message_of(tuple(row[width:end])))
