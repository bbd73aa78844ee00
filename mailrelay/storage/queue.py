"""The queue's store (queue/store.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from attrs import evolve, frozen
from sqlalchemy import (
    Connection,
    bindparam,
    select,
    text,
)
from twisted.internet.defer import Deferred

from mailrelay.observe.events import NewEvent
from mailrelay.queue.entry import (
    Begun,
    Content,
    Entry,
    EntryState,
    Finished,
    NewMessage,
)
from mailrelay.queue.store import ContentGone, NotStored, Together
from mailrelay.storage import tables
from mailrelay.storage.calls import insert_calls
from mailrelay.storage.clock_steps import move_batch, record_step
from mailrelay.storage.conditions import expected_refusal, refusal_of
from mailrelay.storage.database import Database
from mailrelay.storage.due import claim_due, earliest_due
from mailrelay.storage.group_commit import Operation
from mailrelay.storage.ids import IdBlocks
from mailrelay.storage.kept_contents import keep_failed
from mailrelay.storage.member_failures import after_members
from mailrelay.storage.nodes import Node
from mailrelay.storage.peer_messages import insert_of_peers
from mailrelay.storage.rows import (
    NEVER_AT_FIRST,
    content_of,
    content_row,
    entry_row,
    event_row,
    message_row,
    tag_rows,
)
from mailrelay.storage.several import judged
from mailrelay.storage.spool import Spool
from mailrelay.storage.statements import GuardedUpdate, Insert, Prepared, Row, delete_listed
from mailrelay.storage.suppression import after_outcomes

T = TypeVar("T")

_entry, _message, _event = tables.entry, tables.message, tables.event

_insert_message = Insert(tables.message)
_insert_content = Insert(tables.content, but=NEVER_AT_FIRST)
_insert_entry = Insert(tables.entry, but=NEVER_AT_FIRST)
_insert_tag = Insert(tables.message_tag)
_insert_event = Insert(_event, ("at", "kind", "message_id", "entry_id", "account_id", "data"))
_begin = GuardedUpdate(
    "entry",
    "next_attempt_at = {1}, last_attempt_at = {2}, attempts = attempts + 1",
    "state = 0 AND node_id = {node} AND epoch = {epoch}",
    ("bigint", "double precision", "double precision"),
)
_finish = GuardedUpdate(
    "entry",
    "state = CASE WHEN {1} = 1 THEN 2 ELSE state END, next_attempt_at = {2},"
    " attempts = attempts + {3}, last_attempt_at = {7}, delay_reported = {4},"
    " keep_until = {5}, outcome = {6},"
    " node_id = 0, epoch = 0",
    "state <= {most:d} AND node_id = {node} AND epoch = {epoch}",
    (
        "bigint",
        "int",
        "double precision",
        "int",
        "smallint",
        "double precision",
        "text",
        "double precision",
    ),
)
_MOST_STATE = {False: EntryState.HELD, True: EntryState.READY}
"""Up to which state an outcome is recorded, by ``unbegun``: what was begun may be held since."""

_unclaim = GuardedUpdate(
    "entry",
    "node_id = 0, epoch = 0",
    "node_id = {node} AND epoch = {epoch}",
    ("bigint",),
)


def insert_messages(connection: Connection, messages: Sequence[NewMessage], node: Node) -> None:
    """Messages whole: content, entries, events, and their reports; all ids are fresh."""
    if any(m.reports for m in messages):
        messages = [one for m in messages for one in m.with_reports]
    _insert_message.many(connection, [message_row(m.message) for m in messages])
    _insert_content.many(connection, [content_row(m.message.id, m.content) for m in messages])
    _insert_entry.many(
        connection, [entry_row(entry, node.id) for m in messages for entry in m.entries]
    )
    _insert_tag.many(connection, [row for m in messages for row in tag_rows(m.message)])
    insert_of_peers(connection, messages)
    insert_events(connection, [event for m in messages for event in m.events])


def insert_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Events, their positions in commit order: there is one writer at a time (database.py).

    With them, the calls that tell of them.
    """
    _insert_event.many(connection, [event_row(event) for event in events])
    insert_calls(connection, events)


class DatabaseQueueStore:
    """QueueStore over one database, as one node."""

    def __init__(self, database: Database, ids: IdBlocks, node: Node, spool: Spool) -> None:
        self._database, self._ids, self._node, self._spool = database, ids, node, spool
        self.committed: Callable[[Sequence[NewEvent]], None] = lambda events: None
        self._add = Operation("add", 0, self._apply_add)
        self._begin = Operation("begin", 1, self._apply_begin)
        self._finish = Operation("finish", 2, self._apply_finish)

    @property
    def epoch(self) -> int:
        """The epoch of this node's claims."""
        return self._node.epoch

    def new_id(self) -> int:
        """See QueueStore."""
        return self._ids.new_id()

    def add(self, message: NewMessage) -> Deferred[None]:
        """See QueueStore."""
        added = self._database.merge(self._add, message).addCallback(_unless_refused)
        return added.addCallback(self._announce, message.all_events)

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        """See QueueStore."""

        def add(connection: Connection) -> Sequence[NotStored | None]:
            refusals = judged(connection, messages, together)
            insert_messages(connection, _accepted(messages, refusals), self._node)
            return refusals

        def announce(refusals: Sequence[NotStored | None]) -> Sequence[NotStored | None]:
            stored = _accepted(messages, refusals)
            return self._announce(refusals, [event for one in stored for event in one.all_events])

        return self._database.write(add).addCallback(announce)

    def refusal(self, message: NewMessage) -> Deferred[NotStored | None]:
        """See FinishedStore."""
        return self._database.read(lambda c: expected_refusal(c, message))

    def add_finished(
        self, message: NewMessage, finished: Finished, reports: Sequence[NewMessage]
    ) -> Deferred[None]:
        """See FinishedStore."""
        claimed = [evolve(entry, epoch=self._node.epoch) for entry in message.entries]
        new = evolve(message, entries=claimed)

        def add(connection: Connection) -> NotStored | _Recorded:
            refusal = refusal_of(connection, new)
            if refusal is not None:
                return refusal
            insert_messages(connection, [new], self._node)
            [recorded] = self._apply_finish(connection, [([finished], reports)])
            return recorded

        def added(done: NotStored | _Recorded) -> None:
            if isinstance(done, NotStored):
                raise done
            self._announce(None, message.events)
            self._recorded(done, [finished], reports)

        return self._database.write(add).addCallback(added)

    def _announce(self, result: T, events: Sequence[NewEvent]) -> T:
        """Tell log and metrics of events that are committed now."""
        self.committed(events)
        return result

    def _apply_add(
        self, connection: Connection, items: Sequence[NewMessage]
    ) -> Sequence[NotStored | None]:
        refusals: list[NotStored | None] = []
        stored: list[NewMessage] = []
        for item in items:
            if item.conditions is not None and item.conditions.unique_from_id is not None:
                insert_messages(connection, stored, self._node)  # it is looked for among them
                stored = []
            refusals.append(refusal_of(connection, item))
            if refusals[-1] is None:
                stored.append(item)
        insert_messages(connection, stored, self._node)
        return refusals

    def claim_due(
        self, now: float, limit: int, full_lanes: Sequence[int], urgent: int = 0
    ) -> Deferred[Sequence[Entry]]:
        """See QueueStore."""
        return self._database.write(
            lambda c: claim_due(c, self._node, now, limit, full_lanes, urgent)
        )

    def next_due_at(self, *, urgent: bool = False) -> Deferred[float | None]:
        """See QueueStore."""
        return self._database.read(lambda c: earliest_due(c, urgent=urgent))

    def begin_attempts(self, begun: Sequence[Begun]) -> Deferred[Sequence[bool]]:
        """See QueueStore."""
        return self._database.merge(self._begin, begun)

    def _apply_begin(
        self, connection: Connection, items: Sequence[Sequence[Begun]]
    ) -> Sequence[Sequence[bool]]:
        flat = [b for group in items for b in group]
        rows = [(b.entry_id, b.next_attempt_at, b.at) for b in flat]
        begun = _begin.run(connection, rows, node=self._node.id, epoch=self._node.epoch)
        # Not ours to attempt any more: held, canceled, or another node's already.
        lost = [(b.entry_id,) for b, may in zip(flat, begun, strict=True) if not may]
        _unclaim.run(connection, lost, node=self._node.id, epoch=self._node.epoch)
        return _regrouped(begun, items)

    def finish_attempts(
        self, finished: Sequence[Finished], reports: Sequence[NewMessage]
    ) -> Deferred[Sequence[bool]]:
        """See QueueStore."""
        done = self._database.merge(self._finish, (finished, reports))
        return done.addCallback(self._recorded, finished, reports)

    def _apply_finish(
        self,
        connection: Connection,
        items: Sequence[tuple[Sequence[Finished], Sequence[NewMessage]]],
    ) -> Sequence[_Recorded]:
        flat = [f for item in items for f in self._recordable(connection, *item)]
        known = self._guarded_finish(connection, flat)
        ours = [f for f in flat if known[f.entry_id]]
        events = after_outcomes(connection, after_members(connection, ours))
        insert_events(connection, events)
        by_item = [[known.get(f.entry_id, True) for f in finished] for finished, _ in items]
        told = [
            r for (_, reports), was in zip(items, by_item, strict=True) if all(was) for r in reports
        ]
        if told:
            insert_messages(connection, told, self._node)
        keep_failed(connection, ours)
        retired = {f.event.message_id: f for f in ours if f.retired_until is not None}
        large = [id_ for id_, f in retired.items() if f.content_is_large]
        unneeded = drop_unneeded_content(connection, list(retired), large)
        recorded = {event.entry_id: event for event in events}
        return [
            _Recorded(was, recorded, unneeded if i == 0 else ()) for i, was in enumerate(by_item)
        ]

    def _recordable(
        self, connection: Connection, finished: Sequence[Finished], reports: Sequence[NewMessage]
    ) -> Sequence[Finished]:
        """``finished``; only what was lost of it when the reports would tell of that, too."""
        if not reports:
            return finished
        node = self._node
        ours: set[int] = set()
        for unbegun, most in _MOST_STATE.items():
            ids = [f.entry_id for f in finished if f.unbegun is unbegun]
            ours |= _finish.matching(connection, ids, most=most, node=node.id, epoch=node.epoch)
        return [f for f in finished if f.entry_id not in ours] or finished

    def _guarded_finish(
        self, connection: Connection, flat: Sequence[Finished]
    ) -> Mapping[int, bool]:
        """Whether each was recorded, by entry; what was not is claimed by this node no more."""
        node = self._node
        known: dict[int, bool] = {}
        for unbegun, most in _MOST_STATE.items():
            rows = [_finish_row(f) for f in flat if f.unbegun is unbegun]
            done = _finish.run(connection, rows, most=most, node=node.id, epoch=node.epoch)
            known.update((row[0], was) for row, was in zip(rows, done, strict=True))
        # Held or canceled meanwhile: a claim that stayed would keep it from all of us.
        lost = [(id_,) for id_, was in known.items() if not was]
        _unclaim.run(connection, lost, node=node.id, epoch=node.epoch)
        return known

    def _recorded(
        self,
        done: _Recorded,
        finished: Sequence[Finished],
        reports: Sequence[NewMessage],
    ) -> Sequence[bool]:
        if done.unneeded:
            self._spool.remove(done.unneeded)
        if reports and not all(done.was):
            return done.was
        events = [done.events[f.entry_id] for f, was in zip(finished, done.was, strict=True) if was]
        events += [event for report in reports for event in report.events]
        return self._announce(done.was, events)

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """See QueueStore."""
        rows = [(id_,) for id_ in entry_ids]
        node = self._node

        def release(connection: Connection) -> None:
            _unclaim.run(connection, rows, node=node.id, epoch=node.epoch)

        return self._database.write(release)

    def content(self, message_id: int) -> Deferred[Content]:
        """See QueueStore."""
        return self._database.read(lambda c: read_content(c, message_id))

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore."""
        return self._spool.read(name, offset, size)

    def step_times(self, step: float, now: float) -> Deferred[None]:
        """See QueueStore."""
        return self._database.write(lambda c: record_step(c, self._node, step, now))

    def move_times(self, now: float, longest_wait: float) -> Deferred[bool]:
        """See QueueStore."""
        return self._database.write(lambda c: move_batch(c, self._node, now, longest_wait))


def _accepted(
    messages: Sequence[NewMessage], refusals: Sequence[NotStored | None]
) -> Sequence[NewMessage]:
    return [one for one, why in zip(messages, refusals, strict=True) if why is None]


def _unless_refused(refusal: NotStored | None) -> None:
    if refusal is not None:
        raise refusal


@frozen
class _Recorded:
    """What came of one call of ``finish_attempts``; the events as they were recorded, by entry."""

    was: Sequence[bool]
    events: Mapping[int | None, NewEvent]
    unneeded: Sequence[str]


def read_content(connection: Connection, message_id: int) -> Content:
    """The content of a message.

    Raises: ContentGone.
    """
    row = connection.execute(
        select(tables.content).where(tables.content.c.message_id == message_id)
    ).one_or_none()
    if row is None:
        raise ContentGone(f"message {message_id} has no content any more")
    return content_of(tuple(row))


_NEEDED = "(SELECT 1 FROM entry WHERE entry.message_id = content.message_id AND entry.state <> 2)"
_KEPT = "(SELECT 1 FROM mailbox_message WHERE mailbox_message.message_id = content.message_id)"
_SENT_AGAIN = (
    "content.kept_until IS NOT NULL AND EXISTS"
    " (SELECT 1 FROM entry WHERE entry.message_id = content.message_id)"
)
_STAYS = f"EXISTS {_NEEDED} OR EXISTS {_KEPT} OR ({_SENT_AGAIN})"
_spooled = Prepared(
    select(tables.content.c.spool_name)
    .where(tables.content.c.message_id == bindparam("b_id"))
    .where(tables.content.c.spool_name.is_not(None))
    .where(text(f"NOT ({_STAYS})")),
    ("b_id",),
)


def drop_unneeded_content(
    connection: Connection, message_ids: Sequence[int], large: Sequence[int] | None = None
) -> Sequence[str]:
    """Drop the content that no living entry and no mailbox needs; the spool names that go free.

    What is kept so that it may be sent again stays while its entries are visible.
    Only the ``large`` ones can be in the spool; any may when that is None.
    """
    asked = message_ids if large is None else large
    names = [row[0] for id_ in asked for row in _spooled.rows(connection, (id_,))]
    delete_listed(connection, "content", "message_id", message_ids, _STAYS)
    return names


def _finish_row(f: Finished) -> Row:
    retired = f.retired_until is not None
    return (
        f.entry_id,
        int(retired),
        f.next_attempt_at,
        int(f.unbegun),
        int(f.delay_reported),
        f.retired_until,
        f.event.kind.value if retired else None,
        f.event.at,
    )


def _regrouped(flat: Sequence[bool], groups: Sequence[Sequence[object]]) -> list[Sequence[bool]]:
    """``flat`` cut into runs as long as ``groups``."""
    ends = list(accumulate(len(group) for group in groups))
    return [flat[end - len(group) : end] for end, group in zip(ends, groups, strict=True)]
