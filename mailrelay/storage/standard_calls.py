"""What calls to standard endpoints say, read in the transaction that records their event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, select

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.rows import event_of
from mailrelay.webhooks.endpoint import StandardEndpoint
from mailrelay.webhooks.standard import ATTEMPTS, Sent, is_attempt, outgoing_body

_entry, _message, _event = tables.entry, tables.message, tables.event

_STATES = {EntryState.READY.value: "waiting", EntryState.HELD.value: "held"}


@frozen
class Asked:
    """An event that an endpoint is called for."""

    event: NewEvent
    endpoint: StandardEndpoint


def sent_of(row: Any) -> Sent:
    """From a row of an entry's and its message's columns."""
    return Sent(
        message_id=row.of_message,
        header_message_id=row.message_id or "",
        subject=row.subject,
        sender=row.reverse_path,
        tags=tuple(msgspec.json.decode(row.tags)) if row.tags else (),
        extra=msgspec.json.decode(row.extra) if row.extra else {},
        entry_id=row.id,
        recipient=row.recipient,
        from_id=row.from_id or "",
        state=_STATES.get(row.state) or row.outcome or "",
        attempts=row.attempts,
    )


def read_sent(connection: Connection, entries: Iterable[int]) -> dict[int, Sent]:
    """The entries and their messages, by the entries' ids."""
    columns = (
        *(_entry.c.id, _entry.c.recipient, _entry.c.from_id, _entry.c.state, _entry.c.outcome),
        *(_entry.c.attempts, _message.c.id.label("of_message"), _message.c.message_id),
        *(_message.c.subject, _message.c.reverse_path, _message.c.extra, _message.c.tags),
    )
    rows = connection.execute(
        select(*columns)
        .join(_message, _message.c.id == _entry.c.message_id)
        .where(_entry.c.id.in_(set(entries)))
    )
    return {row.id: sent_of(row) for row in rows}


def bodies(
    connection: Connection, asked: Sequence[Asked], sent: Mapping[int, Sent]
) -> Sequence[bytes]:
    """What the calls say.  Each event is written once, whoever is told of it."""
    events = {id(one.event): one.event for one in asked}
    histories = _histories(connection, list(events.values()), sent)
    written: dict[int, bytes] = {}
    for key, event in events.items():
        assert event.entry_id is not None
        history = histories.get(event.entry_id)
        known = [event] if history is None else history
        written[key] = outgoing_body(event, sent[event.entry_id], known)
    return [written[id(one.event)] for one in asked]


def _histories(
    connection: Connection, events: Sequence[NewEvent], sent: Mapping[int, Sent]
) -> Mapping[int, Sequence[NewEvent]]:
    """The attempts of those entries that had more than the one that is told of."""
    wanted = [e for e in events if e.entry_id and not _tells_all(e, sent[e.entry_id])]
    if not wanted:
        return {}
    entries = {event.entry_id for event in wanted if event.entry_id is not None}
    rows = connection.execute(
        select(_event)
        .where(_event.c.message_id.in_({event.message_id for event in wanted}))
        .where(_event.c.entry_id.in_(entries))
        .where(_event.c.kind.in_(_ATTEMPT_WORDS))
        .order_by(_event.c.position)
    )
    found: dict[int, list[NewEvent]] = {id_: [] for id_ in entries}
    for event in (event_of(tuple(row)) for row in rows):
        assert event.entry_id is not None
        found[event.entry_id].append(event)
    return found


_ATTEMPT_WORDS = [kind.value for kind in EventKind if kind in ATTEMPTS]


def _tells_all(event: NewEvent, sent: Sent) -> bool:
    """Whether the entry had no attempt but the one that ``event`` tells of, if any."""
    return sent.attempts <= (1 if is_attempt(event) else 0)
