"""What a call to a standard endpoint says, and how several are said together.  Pure.

Every body is an object with ``type``, ``timestamp`` and ``data``; what ``data`` is, the type says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from attrs import frozen
from msgspec import Struct, field
from msgspec.json import encode

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.webhooks.call import Call
from mailrelay.webhooks.gojson import go_time

MOST_ATTEMPTS = 20
"""Of an entry's attempts, the last ones that are told."""

ATTEMPTS = frozenset({EventKind.DELIVERED, EventKind.DELAYED, EventKind.FAILED})
"""Events that end an attempt, unless a DSN tells of them."""

_REPLY, _OLD_REPLY = 2000, 500  # characters


class Extra(Struct, frozen=True):
    """What the application gave to hear again."""

    name: str
    value: str


class EventTold(Struct, frozen=True):
    """What happened.  What does not belong to its kind is empty, 0 or false."""

    kind: str
    at: str
    code: int
    status: str
    reply: str
    host: str
    attempt: int
    next_attempt_at: str | None
    dsn: bool
    suppressing: bool
    feedback_type: str
    list_: str = field(name="list")


class MessageTold(Struct, frozen=True):
    """A submitted message; ``message_id`` is its header's."""

    id: int
    message_id: str
    subject: str
    sender: str
    tags: list[str]
    extra: list[Extra]


class AttemptTold(Struct, frozen=True):
    """How one attempt to deliver went."""

    at: str
    result: str
    host: str
    code: int
    status: str
    reply: str


class EntryTold(Struct, frozen=True):
    """One recipient of the message, and the attempts so far, the oldest first."""

    id: int
    recipient: str
    from_id: str
    state: str
    attempts: list[AttemptTold]


class OutgoingData(Struct, frozen=True):
    """``data`` of what became of a submitted message."""

    event: EventTold
    message: MessageTold
    entry: EntryTold


class _Body(Struct, frozen=True):
    type: str
    timestamp: str
    data: Struct


@frozen(kw_only=True)
class Sent:
    """A submitted message and one recipient of it, as they are when an event is recorded."""

    message_id: int
    header_message_id: str
    subject: str
    sender: str
    tags: Sequence[str]
    extra: Mapping[str, str]
    entry_id: int
    recipient: str
    from_id: str
    state: str
    attempts: int


def body(type_: str, at: float, data: Struct) -> bytes:
    """What a call says of something that happened at ``at``."""
    return encode(_Body(type_, go_time(at), data))


def outgoing_body(event: NewEvent, sent: Sent, history: Sequence[NewEvent]) -> bytes:
    """The body for an event of an entry; ``history`` has the entry's attempts, this one too.

    Of an event that is told again the later ones are left out.
    """
    tried = [one for one in history if is_attempt(one) and one.at <= event.at][-MOST_ATTEMPTS:]
    data = OutgoingData(
        event=_event(event),
        message=MessageTold(
            id=sent.message_id,
            message_id=sent.header_message_id,
            subject=sent.subject,
            sender=sent.sender,
            tags=list(sent.tags),
            extra=[Extra(name, value) for name, value in sent.extra.items()],
        ),
        entry=EntryTold(
            id=sent.entry_id,
            recipient=sent.recipient,
            from_id=sent.from_id,
            state=sent.state,
            attempts=[_attempt(one) for one in tried],
        ),
    )
    return body(f"message.{event.kind.value}", event.at, data)


def is_attempt(event: NewEvent) -> bool:
    """Whether an event ends an attempt of ours."""
    return event.kind in ATTEMPTS and not event.data.get("dsn") and "attempt" in event.data


def _event(event: NewEvent) -> EventTold:
    data = event.data
    due = data.get("next_attempt_at")
    return EventTold(
        kind=event.kind.value,
        at=go_time(event.at),
        code=_number(data.get("code")),
        status=str(data.get("status", "")),
        reply=str(data.get("reply", ""))[:_REPLY],
        host=str(data.get("host", "")),
        attempt=_number(data.get("attempt")),
        next_attempt_at=go_time(float(str(due))) if due is not None else None,
        dsn=bool(data.get("dsn")),
        suppressing=bool(data.get("suppressing")),
        feedback_type=str(data.get("feedback_type", "")),
        list_=str(data.get("list", "")),
    )


def _attempt(event: NewEvent) -> AttemptTold:
    data = event.data
    return AttemptTold(
        at=go_time(event.at),
        result=event.kind.value,
        host=str(data.get("host", "")),
        code=_number(data.get("code")),
        status=str(data.get("status", "")),
        reply=str(data.get("reply", ""))[:_OLD_REPLY],
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def call_id(call: Call) -> str:
    """What a receiver knows the event again by, whichever attempt and call it comes with."""
    return f"call_{call.id}"


def said_together(calls: Sequence[Call], at: float) -> tuple[str, bytes]:
    """Id and body of one request for ``calls``.

    Several become a batch, each with its own id in it.  The batch's is made of theirs: the same
    events together have the same id, others another.
    """
    if len(calls) == 1:
        return call_id(calls[0]), calls[0].payload
    ids = [call_id(call) for call in calls]
    # Every payload is an object that begins with its type: the id is put before that.
    items = b",".join(
        b'{"id":"%b",%b' % (id_.encode(), call.payload[1:])
        for id_, call in zip(ids, calls, strict=True)
    )
    head = b'{"type":"batch","timestamp":"%b","data":[' % go_time(at).encode()
    digest = hashlib.sha256(",".join(ids).encode()).hexdigest()
    return f"batch_{digest[:32]}", head + items + b"]}"
