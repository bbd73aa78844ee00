"""What is handed to peers (control/peer_requests.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, Select, bindparam, insert, select, tuple_, update
from twisted.internet.defer import Deferred

from mailrelay.control.peer_requests import Answered, KnownOfMessage, PeerRequest, Told
from mailrelay.observe.events import EventKind
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.group_commit import Operation
from mailrelay.storage.statements import Insert, KeyedUpdate, Prepared, Row, chunked

_request, _state, _came = tables.peer_request, tables.peer_state, tables.peer_message
_entry, _event = tables.entry, tables.event

_insert = Insert(_request, ("peer_id", "key", "message_id", "entries", "meta", "created_at"))
_answer = KeyedUpdate(
    "peer_request",
    {"peer_id": "bigint", "key": "text"},
    {
        "answered_at": "double precision",
        "relay_id": "text",
        "results": "text",
        "open_until": "double precision",
    },
)
_contact = Prepared(
    select(_state.c.alarm, _state.c.last_contact_at).where(_state.c.peer_id == bindparam("b_peer")),
    ("b_peer",),
)

CONTACT_EVERY = 60.0
"""Seconds after which it is written again that a peer was reached."""

MOST_KEY_NAME = 64


@frozen
class DatabasePeerRequests:
    """PeerRequests over one database; ``new_id`` gives numbers that are never given twice."""

    database: Database
    new_id: Callable[[], int]

    def of_message(self, peer_id: int, message_id: int) -> Deferred[KnownOfMessage]:
        """See PeerRequests."""
        return self.database.read(lambda c: _of_message(c, peer_id, message_id))

    def new_key(self, server_id: str, now: float) -> str:
        """See PeerRequests.  With the time: a store that was put back gives its ids again."""
        return f"{server_id[:MOST_KEY_NAME]}.{self.new_id():x}.{int(now):x}"

    def add(self, request: PeerRequest) -> Deferred[None]:
        """See PeerRequests."""
        return self.database.merge(_ADD, request)

    def answered(self, answered: Answered) -> Deferred[Sequence[str]]:
        """See PeerRequests."""
        return self.database.merge(_ANSWERED, answered)

    def alarm(self, peer_id: int, text: str, at: float) -> Deferred[None]:
        """See PeerRequests."""

        def work(connection: Connection) -> None:
            ensure_state(connection, peer_id)
            raised = update(_state).where(_state.c.peer_id == peer_id)
            since = {} if _has_alarm(connection, peer_id) else {"alarm_since": at}
            connection.execute(raised.values(alarm=text, **since))

        return self.database.write(work)

    def well(self, peer_id: int, at: float) -> Deferred[None]:
        """See PeerRequests."""
        return self.database.write(lambda c: note_contact(c, peer_id, at))


def ensure_state(connection: Connection, peer_id: int) -> None:
    """A peer has a row of how it stands with it."""
    known = select(_state.c.peer_id).where(_state.c.peer_id == peer_id)
    if connection.execute(known).first() is None:
        connection.execute(insert(_state).values(peer_id=peer_id))


def note_contact(connection: Connection, peer_id: int, at: float) -> None:
    """A peer was reached and is well; written when that is news."""
    known = _contact.rows(connection, (peer_id,))
    if not known:
        ensure_state(connection, peer_id)
    elif not _is_news(known[0], at):
        return
    connection.execute(
        update(_state)
        .where(_state.c.peer_id == peer_id)
        .values(alarm="", alarm_since=None, last_contact_at=at)
    )


def _is_news(row: Row, at: float) -> bool:
    alarm, last_contact_at = row
    return bool(alarm) or last_contact_at is None or last_contact_at < at - CONTACT_EVERY


def request_of(row: Any) -> PeerRequest:
    """From a row of the table."""
    return PeerRequest(
        row.peer_id,
        row.key,
        row.message_id,
        entries_of(row.entries),
        bytes(row.meta),
        row.created_at,
        row.answered_at,
        row.relay_id or "",
        results_of(row.results),
    )


def entries_of(text: str) -> dict[int, str]:
    """A request's recipients by their entries' ids."""
    return {int(id_): str(recipient) for id_, recipient in msgspec.json.decode(text)}


def results_of(text: str | None) -> Mapping[int, Told]:
    """What was answered for each entry; nothing while nothing was."""
    if text is None:
        return {}
    return {int(id_): Told(*told) for id_, told in msgspec.json.decode(text).items()}


def _of_message(connection: Connection, peer_id: int, message_id: int) -> KnownOfMessage:
    wanted = (
        select(_request)
        .where(_request.c.message_id == message_id, _request.c.peer_id == peer_id)
        .order_by(_request.c.created_at, _request.c.key)
    )
    hops = select(_came.c.hops).where(_came.c.message_id == message_id)
    came = connection.execute(hops).scalar()
    return KnownOfMessage(
        [request_of(row) for row in connection.execute(wanted)],
        tuple(msgspec.json.decode(came)) if came else (),
    )


def _added(connection: Connection, items: Sequence[PeerRequest]) -> Sequence[None]:
    rows = [
        (
            one.peer_id,
            one.key,
            one.message_id,
            _encoded(list(one.entries.items())),
            one.meta,
            one.created_at,
        )
        for one in items
    ]
    _insert.many(connection, rows)
    return [None] * len(rows)


def _answered(connection: Connection, items: Sequence[Answered]) -> Sequence[Sequence[str]]:
    """For each, those of its recipients that the peer took though they were dropped here.

    What the peer told the end of before its answer is noted is awaited no more.
    """
    asked = _asked(connection, items)
    known = [one for one in items if (one.peer_id, one.key) in asked]
    ends = _ends(connection, [id_ for one in known for id_ in taken_in(one.results)])
    dropped = _dropped(connection, ends)
    over = ends.keys() - dropped
    _answer.many(connection, [_answer_row(one, over) for one in known])
    for peer_id in {one.peer_id for one in known}:
        last = max(one.at for one in known if one.peer_id == peer_id)
        note_contact(connection, peer_id, last)
    return [
        [asked[one.peer_id, one.key][id_] for id_ in taken_in(one.results) if id_ in dropped]
        if (one.peer_id, one.key) in asked
        else []
        for one in items
    ]


def _asked(
    connection: Connection, answers: Sequence[Answered]
) -> Mapping[tuple[int, str], Mapping[int, str]]:
    """The recipients of the requests that are answered, by peer and key."""
    keys = [(one.peer_id, one.key) for one in answers]
    own = tuple_(_request.c.peer_id, _request.c.key)
    return {
        (row.peer_id, row.key): entries_of(row.entries)
        for some in chunked(keys)
        for row in connection.execute(
            select(_request.c.peer_id, _request.c.key, _request.c.entries).where(own.in_(some))
        )
    }


def _answer_row(answered: Answered, over: AbstractSet[int]) -> Row:
    results = {id_: (told.state, told.code, told.text) for id_, told in answered.results.items()}
    is_awaited = not over >= set(taken_in(answered.results))
    open_until = answered.at + answered.awaited_for if is_awaited else None
    relay_id, at = answered.relay_id, answered.at
    return (answered.peer_id, answered.key, at, relay_id, _encoded(results), open_until)


def taken_in(results: Mapping[int, Told]) -> Sequence[int]:
    """The entries that the peer answered to have."""
    return [id_ for id_, told in results.items() if told.state == "queued"]


def _ends(connection: Connection, ids: Sequence[int]) -> Mapping[int, str]:
    """The outcomes of those that have one; "" of those that are gone."""
    found = {
        row.id: row
        for some in chunked([(id_,) for id_ in ids])
        for row in connection.execute(
            select(_entry.c.id, _entry.c.state, _entry.c.outcome).where(
                _entry.c.id.in_([id_ for (id_,) in some])
            )
        )
    }
    ends = {id_: row.outcome for id_, row in found.items() if _has_ended(row)}
    return ends | dict.fromkeys(set(ids) - found.keys(), "")


def _has_ended(row: Any) -> bool:
    is_over = row.state == EntryState.RETIRED.value
    return is_over and bool(row.outcome != EventKind.HANDED_OVER.value)


def _dropped(connection: Connection, ends: Mapping[int, str]) -> AbstractSet[int]:
    """Those that ended here without the peer: somebody canceled them, or they are gone."""
    ours = ("", EventKind.CANCELED.value, EventKind.FAILED.value)
    ids = [id_ for id_, outcome in ends.items() if outcome in ours]
    return set(ids) - _handed_over(connection, ids)


def _handed_over(connection: Connection, ids: Sequence[int]) -> AbstractSet[int]:
    """Those that count as handed over in their history: the peer has told their end."""
    return {
        id_
        for some in chunked([(id_,) for id_ in ids])
        for id_ in connection.execute(_told([id_ for (id_,) in some])).scalars()
    }


def _told(ids: Sequence[int]) -> Select[Any]:
    messages = select(_entry.c.message_id).where(_entry.c.id.in_(ids))
    return select(_event.c.entry_id).where(
        _event.c.message_id.in_(messages),
        _event.c.entry_id.in_(ids),
        _event.c.kind == EventKind.HANDED_OVER.value,
    )


_ADD: Operation[PeerRequest, None] = Operation("ask a peer", 6, _added)
_ANSWERED: Operation[Answered, Sequence[str]] = Operation("a peer answered", 7, _answered)


def _has_alarm(connection: Connection, peer_id: int) -> bool:
    found = select(_state.c.alarm).where(_state.c.peer_id == peer_id)
    return bool(connection.execute(found).scalar())


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
