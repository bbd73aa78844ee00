"""What peers tell of the mail that they took from us (control/peer_feed.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.peer_feed import PeerFeedState, PeerNews, Recorded
from mailrelay.control.peer_requests import OPEN_FOR, PeerRequest
from mailrelay.control.queue import EntryView
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.suppression import Cause, Suppression, base_address
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.queue.settle import AWAITED_FOR
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import tell
from mailrelay.storage.entry_views import entry_views, every_entry
from mailrelay.storage.peer_requests import (
    ensure_state,
    entries_of,
    note_contact,
    request_of,
    results_of,
    taken_in,
)
from mailrelay.storage.peer_sharing import MOST_REASON_CHARACTERS
from mailrelay.storage.queue import drop_unneeded_content, insert_events
from mailrelay.storage.statements import GuardedUpdate, chunked
from mailrelay.storage.suppression import MORE, add, after_outcomes

_request, _state = tables.peer_request, tables.peer_state
_entry, _event, _peer = tables.entry, tables.event, tables.peer

_retire = GuardedUpdate(
    "entry",
    "state = 2, node_id = 0, epoch = 0, attempts = attempts + {1}, keep_until = {2},"
    " outcome = COALESCE({3}, outcome)",
    "1 = 1",
    ("bigint", "int", "double precision", "text"),
)

_ENDS = (
    *(EventKind.DELIVERED, EventKind.FAILED),
    *(EventKind.SUPPRESSED, EventKind.CANCELED),
)
_TOLD_ONCE = (*_ENDS, EventKind.NO_BOUNCE)
_KEPT_AFTER = 14 * 86400.0
"""Seconds after which a request that was answered is not needed to know a repetition."""


@frozen
class DatabasePeerFeed:
    """PeerFeedStore over one database.

    ``committed`` is told of events, ``unneeded`` of the names of large bodies that nobody needs.
    """

    database: Database
    committed: Callable[[Sequence[NewEvent]], None]
    unneeded: Callable[[Sequence[str]], object]

    def state(self, peer_id: int, now: float) -> Deferred[PeerFeedState]:
        """See PeerFeedStore."""
        position = select(_state.c.their_position).where(_state.c.peer_id == peer_id)
        awaited = select(exists().where(*_open(peer_id, now)))

        def read(connection: Connection) -> PeerFeedState:
            known = connection.execute(position).scalar()
            return PeerFeedState(int(known or 0), bool(connection.execute(awaited).scalar()))

        return self.database.read(read)

    def record(
        self,
        peer_id: int,
        news: Sequence[PeerNews],
        position: int,
        at: float,
        kept_for: Callable[[int | None], float],
    ) -> Deferred[Recorded]:
        """See PeerFeedStore."""

        def work(connection: Connection) -> tuple[Recorded, Sequence[str]]:
            return _record(connection, peer_id, news, position, _Recording(at, kept_for))

        def announce(done: tuple[Recorded, Sequence[str]]) -> Recorded:
            recorded, names = done
            if names:
                self.unneeded(names)
            self.committed(recorded.events)
            return recorded

        return self.database.write(work).addCallback(announce)

    def open_requests(
        self, peer_id: int, now: float, limit: int
    ) -> Deferred[Sequence[PeerRequest]]:
        """See PeerFeedStore."""
        wanted = select(_request).where(*_open(peer_id, now), _request.c.relay_id != "")
        wanted = wanted.order_by(_request.c.created_at, _request.c.key).limit(limit)
        return self.database.read(lambda c: [request_of(row) for row in c.execute(wanted)])

    def expire(self, now: float, limit: int) -> Deferred[int]:
        """See PeerFeedStore."""

        def work(connection: Connection) -> tuple[int, Sequence[NewEvent]]:
            return _expire(connection, now, limit)

        def announce(done: tuple[int, Sequence[NewEvent]]) -> int:
            count, events = done
            self.committed(events)
            return count

        return self.database.write(work).addCallback(announce)

    def sweep(self, now: float, limit: int) -> Deferred[int]:
        """See PeerFeedStore."""
        lives = exists().where(_entry.c.message_id == _request.c.message_id)
        is_over = or_(
            and_(
                _request.c.answered_at < now - _KEPT_AFTER,
                or_(_request.c.open_until.is_(None), _request.c.open_until < now),
            ),
            ~lives,
        )
        keys = select(_request.c.peer_id, _request.c.key).where(is_over).limit(limit)

        def work(connection: Connection) -> int:
            rows = connection.execute(keys).all()
            for row in rows:
                this = (_request.c.peer_id == row.peer_id, _request.c.key == row.key)
                connection.execute(delete(_request).where(*this))
            return len(rows)

        return self.database.write(work)


def _open(peer_id: int, now: float) -> tuple[ColumnElement[bool], ...]:
    """Requests that the peer has, and has more to tell of; unanswered ones it may have."""
    unanswered = and_(_request.c.answered_at.is_(None), _request.c.created_at > now - OPEN_FOR)
    awaited = or_(_request.c.open_until > now, unanswered)
    return (_request.c.peer_id == peer_id, awaited)


@define
class _Recording:
    """What is being recorded in one transaction."""

    at: float
    kept_for: Callable[[int | None], float]
    views: Mapping[int, EntryView] = field(factory=dict)
    known: set[tuple[int, str, bool]] = field(factory=set)  # entry, kind, whether a DSN told it
    outcomes: dict[int, EventKind] = field(factory=dict)
    attempts: dict[int, int] = field(factory=dict)
    events: list[NewEvent] = field(factory=list)
    changed: set[int] = field(factory=set)
    suppressed: list[tuple[EntryView, PeerNews]] = field(factory=list)

    def take(self, entry_id: int, one: PeerNews) -> None:
        """Note what ``one`` tells of an entry."""
        view = self.views.get(entry_id)
        if view is None:
            return
        if view.entry.state is not EntryState.RETIRED and entry_id not in self.changed:
            told = {"peer": one.data.get("peer", ""), "reply": "the peer tells of it"}
            self._add(view, EventKind.HANDED_OVER, told)
            self.outcomes[entry_id] = EventKind.HANDED_OVER
        kind, data = one.kind, one.data
        if kind is None:
            self.suppressed.append((view, one))
            return
        if kind is EventKind.NO_BOUNCE:
            if not self._is_known(entry_id, kind, is_dsn=False):
                self.known.add((entry_id, kind.value, False))
                self._add(view, kind, data)
            return
        if kind is EventKind.DELIVERED and (entry_id, kind.value, False) not in self.known:
            data = {name: value for name, value in data.items() if name != "dsn"}
        if kind in _ENDS:
            self.outcomes[entry_id] = kind
            self.changed.add(entry_id)
            if self._is_known(entry_id, kind, is_dsn="dsn" in data):
                return
            self.known.add((entry_id, kind.value, "dsn" in data))
        if "attempt" in data:
            self.attempts[entry_id] = self.attempts.get(entry_id, 0) + 1
        self._add(view, kind, data)

    def _is_known(self, entry_id: int, kind: EventKind, *, is_dsn: bool) -> bool:
        """Whether that end was told before: of failures by a DSN, too, whichever came first."""
        told = (is_dsn,) if kind is EventKind.DELIVERED else (True, False)
        return any((entry_id, kind.value, one) in self.known for one in told)

    def _add(self, view: EntryView, kind: EventKind, data: Mapping[str, object]) -> None:
        entry = view.entry
        said = {**data, "recipient": _told_as(entry)}
        event = NewEvent(kind, self.at, entry.message.id, entry.id, entry.account_id, said)
        self.events.append(event)
        self.changed.add(entry.id)


def _record(
    connection: Connection,
    peer_id: int,
    news: Sequence[PeerNews],
    position: int,
    recording: _Recording,
) -> tuple[Recorded, Sequence[str]]:
    ensure_state(connection, peer_id)
    note_contact(connection, peer_id, recording.at)
    this = _state.c.peer_id == peer_id
    before = int(connection.execute(select(_state.c.their_position).where(this)).scalar_one())
    new = [one for one in news if not one.position or one.position > before]
    requests = _requests(connection, peer_id, {one.key for one in new})
    ids = [id_ for request in requests.values() for id_ in request.entries.values()]
    recording.views = _views(connection, ids)
    recording.known = _known_ends(connection, recording.views)
    for one in new:
        request = requests.get(one.key)
        entry_id = request.entry_of(one.recipient) if request is not None else None
        if entry_id is not None:
            recording.take(entry_id, one)
    events = after_outcomes(connection, recording.events)
    _suppress(connection, recording.suppressed, recording.at)
    _change_entries(connection, recording)
    insert_events(connection, events)
    _close(connection, peer_id, requests, recording.at)
    retired = {recording.views[id_].entry.message.id for id_ in recording.changed}
    names = drop_unneeded_content(connection, sorted(retired))
    if position > before:
        connection.execute(update(_state).where(this).values(their_position=position))
    return Recorded(max(before, position), events), names


@frozen
class _Request:
    """A request's entries by their recipients as written, and in lower case.

    ``awaited`` are those that the peer may tell of: all while it has not answered, then those that
    it took.
    """

    entries: Mapping[str, int]
    awaited: AbstractSet[int]

    @classmethod
    def of(cls, row: Any) -> _Request:
        """From a row of the table."""
        entries = {to: id_ for id_, to in entries_of(row.entries).items()}
        results = results_of(row.results)
        awaited = taken_in(results) if results else entries.values()
        return cls({to.lower(): id_ for to, id_ in entries.items()} | entries, set(awaited))

    def entry_of(self, recipient: str) -> int | None:
        """Whom an event is about; it may name nobody where there is one alone."""
        ids = set(self.entries.values())
        if not recipient and len(ids) == 1:
            return ids.pop()
        return self.entries.get(recipient, self.entries.get(recipient.lower()))


def _requests(connection: Connection, peer_id: int, keys: Iterable[str]) -> Mapping[str, _Request]:
    """By key."""
    wanted = select(_request.c.key, _request.c.entries, _request.c.results).where(
        _request.c.peer_id == peer_id, _request.c.key.in_(sorted(keys))
    )
    return {row.key: _Request.of(row) for row in connection.execute(wanted)}


def _views(connection: Connection, ids: Iterable[int]) -> Mapping[int, EntryView]:
    ids = sorted(set(ids))
    found: dict[int, EntryView] = {}
    for at in range(0, len(ids), 500):
        wanted = every_entry().where(_entry.c.id.in_(ids[at : at + 500]))
        found |= {view.entry.id: view for view in entry_views(connection, wanted)}
    return found


def _known_ends(
    connection: Connection, views: Mapping[int, EntryView]
) -> set[tuple[int, str, bool]]:
    """What ends of the entries are in their history."""
    messages = sorted({view.entry.message.id for view in views.values()})
    wanted = select(_event.c.entry_id, _event.c.kind, _event.c.data).where(
        _event.c.message_id.in_(messages), _event.c.kind.in_([kind.value for kind in _TOLD_ONCE])
    )
    return {
        (row.entry_id, row.kind, b'"dsn":true' in bytes(row.data))
        for row in connection.execute(wanted)
        if row.entry_id in views
    }


def _change_entries(connection: Connection, recording: _Recording) -> None:
    """Retire what was told of, with its outcome; those that ended are kept as others are."""
    rows = []
    for id_ in sorted(recording.changed):
        view, outcome = recording.views[id_], recording.outcomes.get(id_)
        kept_for = recording.kept_for(view.entry.account_id)
        is_over = outcome in _ENDS or (outcome is None and view.outcome in _END_WORDS)
        keep_until = recording.at + kept_for + (0.0 if is_over else AWAITED_FOR)
        word = outcome.value if outcome is not None else None
        rows.append((id_, recording.attempts.get(id_, 0), keep_until, word))
    _retire.run(connection, rows)


def _expire(connection: Connection, now: float, limit: int) -> tuple[int, Sequence[NewEvent]]:
    """Requests that were waited for in vain; those of their entries that had no end have none."""
    late = select(_request.c.peer_id, _request.c.key, _request.c.entries, _peer.c.name)
    late = late.outerjoin(_peer, _peer.c.id == _request.c.peer_id)
    rows = connection.execute(late.where(_request.c.open_until <= now).limit(limit)).all()
    events = []
    for row in rows:
        for id_, view in _views(connection, entries_of(row.entries)).items():
            if view.outcome == EventKind.HANDED_OVER.value:
                events.append(_unknown(view, row.name or "", now))
                ended = update(_entry).where(_entry.c.id == id_)
                connection.execute(ended.values(outcome=EventKind.UNKNOWN.value))
        this = (_request.c.peer_id == row.peer_id, _request.c.key == row.key)
        connection.execute(update(_request).where(*this).values(open_until=None))
    insert_events(connection, events)
    return len(rows), events


def _unknown(view: EntryView, peer: str, at: float) -> NewEvent:
    entry = view.entry
    said = {"recipient": _told_as(entry), "peer": peer, "reply": "the peer told nothing of it"}
    return NewEvent(EventKind.UNKNOWN, at, entry.message.id, entry.id, entry.account_id, said)


def _told_as(entry: Entry) -> str:
    return str(entry.recipient if entry.is_of_list else entry.told_as)


def _suppress(
    connection: Connection, told: Sequence[tuple[EntryView, PeerNews]], at: float
) -> None:
    """What a peer does not send to any more is not handed to it, either."""
    for view, one in told:
        entry, peer = view.entry, str(one.data.get("peer", ""))
        if entry.account_id is None:
            continue
        reason = f"{peer}: {one.data.get('reply') or 'suppressed there'}"
        base = base_address(entry.recipient)
        new = Suppression(
            *(0, entry.account_id, base, str(entry.recipient), at),
            reason=reason[:MOST_REASON_CHARACTERS],
            cause=Cause.BOUNCE.value,
            entry_id=entry.id,
        )
        if add(connection, new, came_from=peer):
            tell(connection, at, MORE, [entry.account_id, base])


_END_WORDS = frozenset(kind.value for kind in _ENDS)


def _close(
    connection: Connection, peer_id: int, requests: Mapping[str, _Request], at: float
) -> None:
    """Requests of which all is told are awaited no more; one that is told of was answered."""
    awaited = _awaited(connection, [id_ for one in requests.values() for id_ in one.awaited])
    over = [(key,) for key, one in requests.items() if awaited.isdisjoint(one.awaited)]
    answered_at = func.coalesce(_request.c.answered_at, at)
    for some in chunked(over):
        these = (_request.c.peer_id == peer_id, _request.c.key.in_([key for (key,) in some]))
        closing = update(_request).where(*these)
        connection.execute(closing.values(open_until=None, answered_at=answered_at))


def _awaited(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Those of the entries ``ids`` of which more is to be told."""
    is_awaited = or_(
        _entry.c.state != EntryState.RETIRED.value,
        _entry.c.outcome == EventKind.HANDED_OVER.value,
    )
    return {
        id_
        for some in chunked([(id_,) for id_ in sorted(set(ids))])
        for id_ in connection.execute(
            select(_entry.c.id).where(_entry.c.id.in_([one for (one,) in some]), is_awaited)
        ).scalars()
    }
