"""What is handed to peers (control/peer_requests.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, insert, or_, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.peer_requests import Answered, KnownOfMessage, PeerRequest, Told
from mailrelay.observe.events import EventKind
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_request, _state, _came = tables.peer_request, tables.peer_state, tables.peer_message
_entry = tables.entry

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
        values = {
            "peer_id": request.peer_id,
            "key": request.key,
            "message_id": request.message_id,
            "entries": _encoded(list(request.entries.items())),
            "meta": request.meta,
            "created_at": request.created_at,
        }

        def work(connection: Connection) -> None:
            connection.execute(insert(_request).values(values))

        return self.database.write(work)

    def answered(self, answered: Answered) -> Deferred[Sequence[str]]:
        """See PeerRequests."""
        return self.database.write(lambda c: _answered(c, answered))

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
    ensure_state(connection, peer_id)
    is_news = or_(
        _state.c.alarm != "",
        _state.c.last_contact_at.is_(None),
        _state.c.last_contact_at < at - CONTACT_EVERY,
    )
    connection.execute(
        update(_state)
        .where(_state.c.peer_id == peer_id, is_news)
        .values(alarm="", alarm_since=None, last_contact_at=at)
    )


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
        _results_of(row.results),
    )


def entries_of(text: str) -> dict[int, str]:
    """A request's recipients by their entries' ids."""
    return {int(id_): str(recipient) for id_, recipient in msgspec.json.decode(text)}


def _results_of(text: str | None) -> Mapping[int, Told]:
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


def _answered(connection: Connection, answered: Answered) -> Sequence[str]:
    this = (_request.c.peer_id == answered.peer_id, _request.c.key == answered.key)
    row = connection.execute(select(_request).where(*this)).one_or_none()
    if row is None:
        return []
    taken = [id_ for id_, told in answered.results.items() if told.state == "queued"]
    results = {id_: (told.state, told.code, told.text) for id_, told in answered.results.items()}
    connection.execute(
        update(_request)
        .where(*this)
        .values(
            answered_at=answered.at,
            relay_id=answered.relay_id,
            results=_encoded(results),
            open_until=answered.at + answered.awaited_for if taken else None,
        )
    )
    note_contact(connection, answered.peer_id, answered.at)
    entries = entries_of(row.entries)
    return [entries[id_] for id_ in _dropped(connection, taken)]


def _dropped(connection: Connection, ids: Sequence[int]) -> Sequence[int]:
    """Those that ended here without the peer: somebody canceled them, or they are gone."""
    wanted = select(_entry.c.id, _entry.c.state, _entry.c.outcome).where(_entry.c.id.in_(ids))
    found = {row.id: row for row in connection.execute(wanted)} if ids else {}
    ended = (EventKind.CANCELED.value, EventKind.FAILED.value)
    return [
        id_
        for id_ in ids
        if id_ not in found
        or (found[id_].state == EntryState.RETIRED.value and found[id_].outcome in ended)
    ]


def _has_alarm(connection: Connection, peer_id: int) -> bool:
    found = select(_state.c.alarm).where(_state.c.peer_id == peer_id)
    return bool(connection.execute(found).scalar())


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
