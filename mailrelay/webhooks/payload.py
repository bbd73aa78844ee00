"""What a call says of an event, in mox's words.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.webhooks.gojson import encode, go_time
from mailrelay.webhooks.types import Outgoing

_WITHOUT_CODE = (EventKind.DELIVERED, EventKind.SUPPRESSED, EventKind.CANCELED)
_CANCELED = "delivery canceled by admin"


@frozen
class Subject:
    """What a call tells of: an entry, with what the application may know it by."""

    entry_id: int
    from_id: str | None
    message_id: str | None
    subject: str
    extra: Mapping[str, str]


def outgoing_payload(event: NewEvent, about: Subject) -> bytes:
    """The body of the call for an event of an entry."""
    data = event.data
    is_from_dsn = bool(data.get("dsn"))
    has_code = bool(data.get("answered") or is_from_dsn) and event.kind not in _WITHOUT_CODE
    said = Outgoing(
        event=event.kind.value,
        dsn=is_from_dsn,
        suppressing=bool(data.get("suppressing")),
        queue_msg_id=about.entry_id,
        from_id=about.from_id or "",
        message_id=about.message_id or "",
        subject=about.subject,
        webhook_queued=go_time(event.at),
        smtp_code=int(str(data.get("code", 0))) if has_code else 0,
        smtp_enhanced_code=str(data.get("status", "")) if has_code else "",
        error=_error(event, is_from_dsn=is_from_dsn),
        extra=dict(about.extra),
    )
    return encode(said, escape_html=True)


def _error(event: NewEvent, *, is_from_dsn: bool) -> str:
    if is_from_dsn or event.kind is EventKind.DELIVERED:
        return ""
    if event.kind is EventKind.CANCELED:
        return _CANCELED
    return str(event.data.get("reply", ""))
