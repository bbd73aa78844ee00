"""The queue as ``control/`` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import evolve, field, frozen
from sqlalchemy import (
    Connection,
    Update,
    and_,
    bindparam,
    case,
    func,
    select,
    text,
    update,
)
from twisted.internet.defer import Deferred

from mailrelay.control.queue import EntryFilter, EntryView, Looked
from mailrelay.observe.events import Event, EventKind, NewEvent
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import record_audit, tell
from mailrelay.storage.entry_views import entries_query, entry_and_message, entry_views, looked
from mailrelay.storage.kept_contents import keep_contents
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import drop_unneeded_content, insert_events
from mailrelay.storage.rows import ENTRY_COLUMNS, event_of

_entry, _message = tables.entry, tables.message
_event = tables.event

BATCH = 200
"""Rows changed in one transaction: a long one would hold up the server's."""


@frozen
class _Change:
    """What is done to entries, one by one; ``own`` has what ``statement`` takes of each."""

    actor: str
    kind: EventKind
    now: float
    statement: Update
    audited: str
    own: Mapping[int, Mapping[str, object]] = field(factory=dict)
    data: Mapping[str, object] = field(factory=dict)
    tells: Sequence[str] = ("queue",)
    content_kept_until: float | None = None


@frozen
class DatabaseQueueRecords:
    """QueueRecords over one database; ``node`` is the one that ``take`` claims for."""

    database: Database
    node: Callable[[], Node]
    remove_spooled: Callable[[Sequence[str]], object]

    def find(self, wanted: EntryFilter, now: float) -> Deferred[Sequence[EntryView]]:
        """See QueueRecords."""
        return self.database.read(lambda c: entry_views(c, entries_query(wanted, now)))

    def look(
        self,
        wanted: EntryFilter,
        now: float,
        most: int,
        *,
        backwards: bool = False,
        counts: bool = False,
    ) -> Deferred[Looked]:
        """See QueueRecords."""
        return self.database.read(
            lambda c: looked(c, wanted, now, most, backwards=backwards, counts=counts)
        )

    def events(self, message_id: int) -> Deferred[Sequence[Event]]:
        """See QueueRecords."""
        wanted = select(_event).where(_event.c.message_id == message_id)
        wanted = wanted.order_by(_event.c.position)
        return self.database.read(lambda c: [event_of(tuple(row)) for row in c.execute(wanted)])

    def hold(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """See QueueRecords."""
        change = update(_entry).where(text("state = 0")).values(state=EntryState.HELD.value)
        return self._change(actor, EventKind.HELD, ids, now, change)

    def release(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """See QueueRecords."""
        is_ahead = and_(_entry.c.attempts == 0, _entry.c.queued_at > now)
        due = case((is_ahead, _entry.c.queued_at), else_=now)
        change = (
            update(_entry)
            .where(text("state = 1"))
            .values(state=EntryState.READY.value, next_attempt_at=due)
        )
        return self._change(actor, EventKind.RELEASED, ids, now, change)

    def reschedule(
        self, actor: str, ids: Sequence[int], now: float, at: float
    ) -> Deferred[Sequence[int]]:
        """See QueueRecords."""
        begins = case((_entry.c.attempts == 0, max(at, now)), else_=_entry.c.queued_at)
        change = (
            update(_entry).where(text("state = 0")).values(next_attempt_at=at, queued_at=begins)
        )
        return self._change(actor, EventKind.RESCHEDULED, ids, now, change)

    def drop(
        self,
        actor: str,
        ids: Sequence[int],
        now: float,
        keep_until: float,
        content_kept_until: float | None = None,
    ) -> Deferred[Sequence[int]]:
        """See QueueRecords."""
        statement = (
            update(_entry)
            .where(text("state <> 2"))
            .values(
                state=EntryState.RETIRED.value,
                keep_until=keep_until,
                outcome=EventKind.CANCELED.value,
                node_id=0,
                epoch=0,
            )
        )
        kind = EventKind.CANCELED
        change = _Change(
            *(actor, kind, now, statement),
            audited=f"queue {kind.value}",
            content_kept_until=content_kept_until,
        )
        return Deferred.fromCoroutine(self._in_batches(change, ids))

    def send_by(
        self, actor: str, lanes: Mapping[int, int], now: float, transport: str | None
    ) -> Deferred[Sequence[int]]:
        """See QueueRecords."""
        statement = (
            update(_entry)
            .where(text("state <> 2"))
            .values(transport=transport, lane=bindparam("b_lane"))
        )
        chosen = transport or "default"
        change = _Change(
            *(actor, EventKind.RESCHEDULED, now, statement),
            own={id_: {"b_lane": lane} for id_, lane in lanes.items()},
            data={"transport": chosen},
            audited=f"queue set transport {chosen}"[:100],
            tells=("transports", "queue"),
        )
        return Deferred.fromCoroutine(self._in_batches(change, list(lanes)))

    def _change(
        self, actor: str, kind: EventKind, ids: Sequence[int], now: float, statement: Update
    ) -> Deferred[Sequence[int]]:
        change = _Change(actor, kind, now, statement, audited=f"queue {kind.value}")
        return Deferred.fromCoroutine(self._in_batches(change, ids))

    async def _in_batches(self, change: _Change, ids: Sequence[int]) -> Sequence[int]:
        changed: list[int] = []
        for at in range(0, len(ids), BATCH):
            names: list[str] = []
            work = partial(_change_batch, change=change, ids=ids[at : at + BATCH], unneeded=names)
            changed += await self.database.write(work)
            if names:
                self.remove_spooled(names)
        return changed

    def take(self, ids: Sequence[int]) -> Deferred[Sequence[Entry]]:
        """See QueueRecords."""
        node = self.node()

        def work(connection: Connection) -> Sequence[Entry]:
            taken = []
            for at in range(0, len(ids), BATCH):
                batch = _entry.c.id.in_(ids[at : at + BATCH])
                alive = text("entry.state <> 2")
                connection.execute(
                    update(_entry).where(batch, alive).values(node_id=node.id, epoch=node.epoch)
                )
                rows = connection.execute(
                    select(*ENTRY_COLUMNS, *_message.c)
                    .join(_message, _message.c.id == _entry.c.message_id)
                    .where(batch, alive)
                )
                taken += [entry_and_message(row) for row in rows]
            return [evolve(entry, epoch=node.epoch) for entry in taken]

        return self.database.write(work)

    def told(self, actor: str, action: str, ids: Sequence[int], now: float) -> Deferred[None]:
        """See QueueRecords."""

        def work(connection: Connection) -> None:
            tell(connection, now, "queue")
            record_audit(connection, now, actor, action, _listed(ids))

        return self.database.write(work)


def _change_batch(
    connection: Connection, change: _Change, ids: Sequence[int], unneeded: list[str]
) -> Sequence[int]:
    """The ids that were changed; ``unneeded`` is filled with spooled names."""
    # RETURNING would say what changed, but SQLite before 3.35 does not know it: ask before.
    changed = []
    events = []
    messages = set()
    told_as = func.coalesce(_entry.c.alias, _entry.c.recipient).label("recipient")
    wanted = select(_entry.c.id, _entry.c.message_id, _entry.c.account_id, told_as)
    rows = {row.id: row for row in connection.execute(wanted.where(_entry.c.id.in_(ids)))}
    for id_ in ids:
        row = rows.get(id_)
        if row is None:
            continue
        statement = change.statement.where(_entry.c.id == id_)
        if connection.execute(statement, change.own.get(id_, {})).rowcount == 0:
            continue
        changed.append(id_)
        messages.add(row.message_id)
        data = {"by": change.actor, "recipient": row.recipient, **change.data}
        events.append(NewEvent(change.kind, change.now, row.message_id, id_, row.account_id, data))
    insert_events(connection, events)
    unneeded.clear()
    if change.content_kept_until is not None:
        of_accounts = {rows[id_].message_id for id_ in changed if rows[id_].account_id is not None}
        keep_contents(connection, of_accounts, change.content_kept_until)
    if change.kind is EventKind.CANCELED:
        unneeded += drop_unneeded_content(connection, sorted(messages))
    if changed:
        for kind in change.tells:
            tell(connection, change.now, kind)
        record_audit(connection, change.now, change.actor, change.audited, _listed(changed))
    return changed


def _listed(ids: Sequence[int]) -> str:
    return " ".join(str(id_) for id_ in ids)
