"""What a peer is told of its mail: our events in its words (A.6.3).  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.control.peer_mail import PeerFeed, ToldEvent
from mailrelay.observe.events import EventKind
from mailrelay.smtp.reply import printable

LONGEST_TEXT = 500

_TYPES = {
    EventKind.RELEASED: "queued",
    EventKind.RESCHEDULED: "queued",
    EventKind.HELD: "deferred",
    EventKind.DELAYED: "deferred",
    EventKind.DELIVERED: "relayed",
    EventKind.HANDED_OVER: "queued",  # at another peer: no mail server was asked yet
    EventKind.RELAYED: "relayed",
    EventKind.EXPANDED: "relayed",
    EventKind.FAILED: "bounced",
    EventKind.SUPPRESSED: "suppressed",
    EventKind.CANCELED: "cancelled",
    EventKind.NO_BOUNCE: "no_bounce",
}
_BY_DSN = {
    EventKind.DELIVERED: "delivered",
    EventKind.DELAYED: "dsn_delayed",
    EventKind.FAILED: "dsn_failed",
}
FINAL = frozenset(
    {"delivered", "bounced", "dsn_failed", "expired", "suppressed", "cancelled", "no_bounce"}
)


def feed_out(feed: PeerFeed) -> dict[str, object]:
    """A page of events as it is answered and pushed."""
    events = [one for told in feed.events for one in events_of(told)]
    return {"events": events, "next": feed.position, "more": feed.has_more}


def events_of(told: ToldEvent) -> Sequence[dict[str, object]]:
    """What the peer is told by one of our events: mostly one, of some nothing."""
    event = told.event
    type_ = _type_of(told)
    found = [] if type_ is None else [_out(told, type_)]
    if event.data.get("suppressing"):
        found.append({**_out(told, "suppression_changed"), "id": f"{event.position}s"})
    return found


def _type_of(told: ToldEvent) -> str | None:
    event = told.event
    if event.data.get("dsn") and event.kind in _BY_DSN:
        return _BY_DSN[event.kind]
    if event.kind is EventKind.FAILED and event.data.get("expired"):
        return "expired"
    if event.kind is EventKind.DELIVERED and event.data.get("destination") == "mailbox":
        return "delivered"
    return _TYPES.get(event.kind)


def _out(told: ToldEvent, type_: str) -> dict[str, object]:
    event, data = told.event, told.event.data
    out: dict[str, object] = {
        "seq": event.position,
        "id": str(event.position),
        "msg_id": told.msg_id,
        "relay_id": str(event.message_id),
        "rcpt": str(data.get("recipient", "")),
        "type": type_,
        "at": event.at,
        "final": type_ in FINAL,
        "extra": dict(told.extra),
    }
    more = {
        "attempt": data.get("attempt"),
        "smtp_code": data.get("code"),
        "enhanced": data.get("status"),
        "text": printable(str(data.get("reply") or ""), LONGEST_TEXT),
        "remote_host": data.get("host"),
        "tls": data.get("tls"),
    }
    return out | {name: value for name, value in more.items() if value}
