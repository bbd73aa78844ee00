"""What became of messages: lists, one message's timeline, the log of events, long polls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from attrs import frozen
from msgspec import Meta, field

from mailrelay.control.history import AccountHistory, CallMade, MessageQuery, SentMessage
from mailrelay.control.queue import EntryView, state_word
from mailrelay.directory.keys import Scope
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import Event, EventKind
from mailrelay.webapi.v1.fields import Bytes, Id, Limit, Line, Position, Tag, Tags, Text, Word
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, NO_SUCH, Problem
from mailrelay.webapi.v1.times import Time, seconds_of, time_at

LONGEST_WAIT = 60

Ended = Literal["delivered", "handed_over", "unknown", "failed", "canceled", "suppressed"]
State = Literal["ready", "waiting", "active", "held", Ended]


class Extra(Strict, frozen=True):
    """What the application gave to hear again."""

    name: Text
    value: Text


class EntryOut(Strict, frozen=True):
    """One recipient of a message, with its own outcome."""

    id: Id
    message_id: Id
    recipient: Line
    state: State
    attempts: Annotated[int, Meta(ge=0, le=1_000_000)]
    queued_at: Time
    next_attempt_at: Time | None
    from_id: Word


class MessageOut(Strict, frozen=True):
    """A message; ``message_id`` is its header's."""

    id: Id
    message_id: Line
    subject: Text
    sender: Line
    received_at: Time
    size_bytes: Bytes
    came_by: Word
    extra: Annotated[list[Extra], Meta(max_length=1000)]
    tags: Tags
    priority: Literal["high", "normal"]
    entries: Annotated[list[EntryOut], Meta(max_length=10_000)]


class MessagesQuery(Strict, frozen=True):
    """All that is given must fit.  ``recipient``: an address or a domain; ``extra``: name=value.

    ``sender`` and ``subject`` are parts of the reverse-path and the subject, looked for in the
    newest 50,000 messages of the time.
    """

    recipient: Line | None = None
    sender: Line | None = None
    subject: Line | None = None
    state: Literal["ready", "held", Ended] | None = None
    message_id: Line | None = None
    extra: Text | None = None
    tag: Tag | None = None
    since: Time | None = None
    until: Time | None = None
    cursor: Id | None = None
    limit: Limit = 50


class MessagePage(Strict, frozen=True):
    """Newest first.  ``next_cursor`` is for those before them, null when there are none."""

    messages: Annotated[list[MessageOut], Meta(max_length=100)]
    next_cursor: Id | None


class EventOut(Strict, frozen=True):
    """Something that happened.  What does not belong to its kind is empty, 0 or false."""

    position: Position
    at: Time
    kind: Word
    message_id: Id
    entry_id: Id | None = None
    recipient: Line = ""
    code: Annotated[int, Meta(ge=0, le=999)] = 0
    status: Word = ""
    reply: Text = ""
    attempt: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    next_attempt_at: Time | None = None
    host: Line = ""
    ip: Word = ""
    tls: Line = ""
    tls_policy: Word = ""
    tls_because: Line = ""
    certificate: Line = ""
    by: Line = ""
    dsn: bool = False
    suppressing: bool = False
    feedback_type: Word = ""
    user_agent: Line = ""
    list_: Line = field(name="list", default="")
    transcript: Annotated[list[Text], Meta(max_length=1000)] = []


class CallAttemptOut(Strict, frozen=True):
    """One try of a call; ``code`` is 0 when there was no answer."""

    at: Time
    seconds: Annotated[float, Meta(ge=0, le=1e6)]
    is_success: bool
    code: Annotated[int, Meta(ge=0, le=999)]
    error: Text
    response: Text


class CallOut(Strict, frozen=True):
    """A webhook call."""

    id: Id
    entry_id: Id | None
    event: Word
    url: Text
    queued_at: Time
    state: Literal["waiting", "taken", "failed", "canceled", "superseded"]
    attempts: Annotated[list[CallAttemptOut], Meta(max_length=100)]


class TimelineOut(Strict, frozen=True):
    """Everything that happened to a message, and the calls that told of it."""

    events: Annotated[list[EventOut], Meta(max_length=100_000)]
    calls: Annotated[list[CallOut], Meta(max_length=100_000)]


class EventsQuery(Strict, frozen=True):
    """Events behind the cursor; ``wait`` is how many seconds to wait for one."""

    cursor: Position = 0
    kind: Annotated[list[EventKind], Meta(max_length=20)] = []
    limit: Limit = 50
    wait: Annotated[int, Meta(ge=0, le=LONGEST_WAIT)] = 0


class EventPage(Strict, frozen=True):
    """In the order in which they were recorded; ``next_cursor`` is for those behind them."""

    events: Annotated[list[EventOut], Meta(max_length=100)]
    next_cursor: Position


@frozen
class HistoryOperations:
    """``/messages`` and ``/events``, to be read."""

    history: AccountHistory
    bell: Bell

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="message_list",
                method="GET",
                path="/messages",
                about="Submitted messages, newest first.",
                work=self.messages,
                answers={200: MessagePage},
                scope=Scope.READ,
                query=MessagesQuery,
            ),
            Operation(
                name="message_get",
                method="GET",
                path="/messages/{id}",
                about="One message, and where each recipient stands.",
                work=self.message,
                answers={200: MessageOut},
                scope=Scope.READ,
            ),
            Operation(
                name="message_timeline",
                method="GET",
                path="/messages/{id}/timeline",
                about="Every event of a message, with SMTP transcripts, and every webhook call.",
                work=self.timeline,
                answers={200: TimelineOut},
                scope=Scope.READ,
            ),
            Operation(
                name="event_list",
                method="GET",
                path="/events",
                about="The log of events behind a cursor; with wait, as soon as there is one.",
                work=self.events,
                answers={200: EventPage},
                scope=Scope.READ,
                query=EventsQuery,
            ),
        ]

    async def messages(self, call: Call) -> Answer:
        """A page of messages."""
        query: MessagesQuery = call.query
        wanted = MessageQuery(
            recipient=query.recipient,
            sender=query.sender,
            subject=query.subject,
            state=query.state,
            message_id=query.message_id,
            extra=_pair(query.extra),
            tag=query.tag,
            since=seconds_of(query.since),
            until=seconds_of(query.until),
            before_id=query.cursor,
            limit=query.limit,
        )
        found = await self.history.messages(call.caller.account.id, wanted)
        more = len(found) == query.limit
        page = MessagePage(
            messages=[message_out(one) for one in found],
            next_cursor=found[-1].message.id if more else None,
        )
        return Answer(200, page)

    async def message(self, call: Call) -> Answer:
        """One message."""
        found = await self.history.message(call.caller.account.id, call.id)
        if found is None:
            raise no_such()
        return Answer(200, message_out(found))

    async def timeline(self, call: Call) -> Answer:
        """One message's timeline."""
        found = await self.history.timeline(call.caller.account.id, call.id)
        if found is None:
            raise no_such()
        events = [event_out(event) for event in found.events]
        return Answer(200, TimelineOut(events=events, calls=[_call_out(c) for c in found.calls]))

    async def events(self, call: Call) -> Answer:
        """A page of events."""
        query: EventsQuery = call.query
        account_id = call.caller.account.id
        kinds = [kind.value for kind in query.kind]

        async def look() -> Sequence[Event]:
            return await self.history.events(account_id, query.cursor, query.limit, kinds)

        found = await self.bell.first(account_id, query.wait, look)
        after = found[-1].position if found else query.cursor
        return Answer(200, EventPage(events=[event_out(e) for e in found], next_cursor=after))


def no_such() -> Problem:
    """What is another's, or nobody's."""
    return Problem(NO_SUCH, "there is nothing of that id")


def message_out(sent: SentMessage) -> MessageOut:
    """A message, as it is answered."""
    message = sent.message
    return MessageOut(
        id=message.id,
        message_id=message.message_id or "",
        subject=message.subject,
        sender=str(message.reverse_path or ""),
        received_at=time_at(message.received_at),
        size_bytes=message.size_bytes,
        came_by=message.door,
        extra=[Extra(name=name, value=value) for name, value in (message.extra or {}).items()],
        tags=list(message.tags),
        priority="high" if message.is_urgent else "normal",
        entries=[entry_out(view) for view in sent.entries],
    )


def entry_out(view: EntryView) -> EntryOut:
    """An entry, as it is answered."""
    entry, word = view.entry, state_word(view)
    is_over = view.outcome is not None
    return EntryOut(
        id=entry.id,
        message_id=entry.message.id,
        recipient=str(entry.told_as),
        state=word,  # type: ignore[arg-type]
        attempts=entry.attempts,
        queued_at=time_at(entry.queued_at),
        next_attempt_at=None if is_over else time_at(entry.next_attempt_at),
        from_id=entry.from_id or "",
    )


def event_out(event: Event) -> EventOut:
    """An event, as it is answered."""
    data = event.data
    due = data.get("next_attempt_at")
    transcript = data.get("transcript")
    return EventOut(
        position=event.position,
        at=time_at(event.at),
        kind=event.kind.value,
        message_id=event.message_id,
        entry_id=event.entry_id,
        recipient=_text(data.get("recipient")),
        code=_number(data.get("code")),
        status=_text(data.get("status")),
        reply=_text(data.get("reply")),
        attempt=_number(data.get("attempt")),
        next_attempt_at=time_at(float(due)) if isinstance(due, int | float) else None,
        host=_text(data.get("host")),
        ip=_text(data.get("ip")),
        tls=_text(data.get("tls")),
        tls_policy=_text(data.get("tls_policy")),
        tls_because=_text(data.get("tls_because")),
        certificate=_text(data.get("certificate")),
        by=_text(data.get("by")),
        dsn=bool(data.get("dsn")),
        suppressing=bool(data.get("suppressing")),
        feedback_type=_text(data.get("feedback_type")),
        user_agent=_text(data.get("user_agent")),
        list_=_text(data.get("list")),
        transcript=[_text(line) for line in transcript] if isinstance(transcript, list) else [],
    )


def _call_out(call: CallMade) -> CallOut:
    over = "taken" if call.is_success else "canceled" if call.is_canceled else "failed"
    over = "superseded" if call.superseded_by else over
    return CallOut(
        id=call.id,
        entry_id=call.entry_id,
        event=call.event,
        url=call.url,
        queued_at=time_at(call.queued_at),
        state=over if call.is_over else "waiting",  # type: ignore[arg-type]
        attempts=[
            CallAttemptOut(
                at=time_at(a.at),
                seconds=a.seconds,
                is_success=a.is_success,
                code=a.code,
                error=a.error,
                response=a.response,
            )
            for a in call.attempts
        ],
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)[:1000]


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, equals, value = text.partition("=")
    if not equals:
        raise Problem(INVALID_FIELD, "is a name, =, and the value", "extra")
    return name, value
