"""Events as a peer tells them, read.  Pure.  A.6.3.

Nothing of them is believed beyond its type: texts are cut, and what has no control characters,
codes are codes or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from mailrelay.control.peer_feed import PeerNews
from mailrelay.control.peer_requests import PeerRequest
from mailrelay.directory.peers import Peer
from mailrelay.observe.events import EventKind
from mailrelay.smtp.reply import EnhancedStatus, printable

MOST_EVENTS = 1000
_MOST_NUMBER = 2**53
_Text = Annotated[str, Meta(max_length=10_000)]


class ToldEvent(msgspec.Struct, frozen=True):
    """One event.  What is not there is empty."""

    seq: Annotated[int, Meta(ge=0, lt=_MOST_NUMBER)]
    type: _Text
    msg_id: _Text = ""
    rcpt: _Text = ""
    at: float = 0.0
    final: bool = False
    attempt: Annotated[int, Meta(ge=0, lt=_MOST_NUMBER)] | None = None
    smtp_code: Annotated[int, Meta(ge=0, le=999)] | None = None
    enhanced: _Text | None = None
    text: _Text | None = None
    remote_host: _Text | None = None
    tls: _Text | None = None


class Page(msgspec.Struct, frozen=True):
    """Some events, in order."""

    events: Annotated[list[ToldEvent], Meta(max_length=MOST_EVENTS)]
    next: Annotated[int, Meta(ge=0, lt=_MOST_NUMBER)] | None = None
    more: bool = False

    @property
    def position(self) -> int:
        """Up to where who has taken these in has them all."""
        return max([self.next or 0, *(one.seq for one in self.events)])


class _Gone(msgspec.Struct, frozen=True):
    oldest: Annotated[int, Meta(ge=0, lt=_MOST_NUMBER)]


class _Result(msgspec.Struct, frozen=True):
    rcpt: _Text
    state: _Text
    final: bool = False


class Standing(msgspec.Struct, frozen=True):
    """How the recipients of one message stand."""

    results: list[_Result]


_KINDS = {
    "deferred": EventKind.DELAYED,
    "relayed": EventKind.DELIVERED,
    "delivered": EventKind.DELIVERED,
    "bounced": EventKind.FAILED,
    "expired": EventKind.FAILED,
    "dsn_failed": EventKind.FAILED,
    "dsn_delayed": EventKind.DELAYED,
    "suppressed": EventKind.SUPPRESSED,
    "cancelled": EventKind.CANCELED,
    "no_bounce": EventKind.NO_BOUNCE,
}
_SUPPRESSION = "suppression_changed"
_FROM_DSN = frozenset({"delivered", "dsn_failed", "dsn_delayed"})
_CODES: Mapping[EventKind | None, int] = {EventKind.DELIVERED: 250, EventKind.SUPPRESSED: 550}


def read_page(body: bytes) -> Page | None:
    """A page of events; None when it is none."""
    try:
        return msgspec.json.decode(body, type=Page)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_standing(body: bytes) -> Standing | None:
    """How a message stands; None when it cannot be read."""
    try:
        return msgspec.json.decode(body, type=Standing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_oldest(body: bytes) -> int | None:
    """From where on a peer has its events, in a 410."""
    try:
        return msgspec.json.decode(body, type=_Gone).oldest
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def news_of(peer: Peer, event: ToldEvent) -> PeerNews | None:
    """What an event tells of a recipient; None when it is nothing that is recorded here."""
    kind = _KINDS.get(event.type)
    if event.type == _SUPPRESSION and peer.options.shares_suppression:
        return PeerNews(event.seq, event.msg_id, event.rcpt, None, _data(peer, event, None))
    if kind is None:
        return None
    return PeerNews(event.seq, event.msg_id, event.rcpt, kind, _data(peer, event, kind))


def news_of_standing(peer: Peer, request: PeerRequest, standing: Standing) -> list[PeerNews]:
    """The same, where the peer's events of a message are gone: how that ended."""
    told = []
    for one in standing.results:
        kind = _KINDS.get(one.state)
        if one.final and kind is not None:
            event = ToldEvent(0, one.state, request.key, one.rcpt, final=True)
            data = _data(peer, event, kind)
            told.append(PeerNews(0, request.key, one.rcpt, kind, data))
    return told


def _data(peer: Peer, event: ToldEvent, kind: EventKind | None) -> Mapping[str, object]:
    code = event.smtp_code or 0
    status = EnhancedStatus.parse(event.enhanced or "")
    data: dict[str, object] = {
        "destination": f"peer:{peer.name}",
        "peer": peer.name,
        "code": code if 200 <= code <= 599 else _CODES.get(kind, 0),
        "status": str(status) if status is not None else "",
        "reply": printable(event.text or "", 500),
        "host": printable(event.remote_host, 255) if event.remote_host else None,
        "tls": printable(event.tls, 100) if event.tls else None,
        "ended_at": event.at or None,
        "answered": bool(code) and event.type in ("bounced", "deferred", "dsn_failed"),
        "expired": event.type == "expired",
        "dsn": event.type in _FROM_DSN,
    }
    if event.attempt is not None and event.type not in _FROM_DSN:
        data["attempt"] = event.attempt
    return {name: value for name, value in data.items() if value is not None and value is not False}
