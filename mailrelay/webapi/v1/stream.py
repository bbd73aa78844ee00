"""The log of events as it grows: server-sent events, as the HTML standard has them.

Invariants of a stream:

- Each event that is wanted is sent once, in the order of positions; none is left out, whatever
  happens between the look at the store and the wait for more.
- The client always knows where it is, before the first event, too: ``id`` is the position, and
  what it sends back as Last-Event-ID goes on behind it.
- The store is read when the client has read: a page of events is what waits for it.
- It ends when its login does, when the server stops, and when the store is lost; then the client
  is told when to come back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated

import msgspec
from attrs import define, field, frozen
from msgspec import Meta

from mailrelay.control.history import AccountHistory, EventFilter, EventsRead
from mailrelay.directory.keys import Scope
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import Event, EventKind
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.request import Request
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.fields import Position, Tag
from mailrelay.webapi.v1.history import EventOut, event_out
from mailrelay.webapi.v1.operations import EVENT_STREAM, Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, TOO_MANY_REQUESTS, Problem

LOOK_EVERY = 5.0
"""Seconds after which the store is looked at unasked: another node's events ring no bell here."""

KEEP_ALIVE_EVERY = 15.0
"""Seconds without an event after which something is sent all the same."""

PAGE = 50
"""Events that are read at once."""

RETRY_MILLISECONDS = 3000

LAST_EVENT_ID = "Last-Event-ID"
_POSITION = re.compile(r"0|[1-9][0-9]{0,14}")
_POSITION_SCHEMA = {"type": "string", "maxLength": 15, "pattern": f"^({_POSITION.pattern})$"}

HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy is not to gather what is to be heard at once."""


class StreamQuery(Strict, frozen=True):
    """Events behind the cursor, 0 for all; without one, those that come from now on."""

    cursor: Position | None = None
    kind: Annotated[list[EventKind], Meta(max_length=20)] = []
    tag: Tag | None = None


@define
class Streams:
    """How many streams each account has open; ``most`` at once."""

    most: int
    _open: Counter[int] = field(factory=Counter)

    @property
    def total(self) -> int:
        """Of all accounts."""
        return self._open.total()

    def may_open(self, account_id: int) -> bool:
        """Whether there is room for one more."""
        return self._open[account_id] < self.most

    def opened(self, account_id: int) -> None:
        """Count one; ``closed`` follows."""
        self._open[account_id] += 1

    def closed(self, account_id: int) -> None:
        """Count it no longer."""
        self._open[account_id] -= 1
        if not self._open[account_id]:
            del self._open[account_id]


@frozen
class StreamOperations:
    """``/events/stream``.  ``is_still_in`` is asked again and again while a stream is open."""

    history: AccountHistory
    bell: Bell
    streams: Streams
    is_still_in: Callable[[Caller], bool]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="event_stream",
                method="GET",
                path="/events/stream",
                about="The log of events as it grows, as server-sent events.",
                work=self.stream,
                answers={200: EventOut},
                scope=Scope.READ,
                query=StreamQuery,
                header=(LAST_EVENT_ID, _POSITION_SCHEMA),
                content_type=EVENT_STREAM,
            ),
        ]

    async def stream(self, call: Call) -> Answer:
        """A stream that begins where the client says, or now.

        It is counted when its first part is asked for, which is at once when this has answered.
        """
        account_id = call.caller.account.id
        self._check_room(account_id)
        query: StreamQuery = call.query
        after = last_event_id(call.request)
        if after is None:
            after = query.cursor
        if after is None:
            after = await self.history.newest(account_id)
            self._check_room(account_id)  # others have opened meanwhile
        wanted = EventFilter([kind.value for kind in query.kind], query.tag)
        return Answer(200, headers=HEADERS, stream=self._counted(call.caller, after, wanted))

    def _check_room(self, account_id: int) -> None:
        if not self.streams.may_open(account_id):
            raise Problem(
                TOO_MANY_REQUESTS,
                f"an account has {self.streams.most} streams at the most: end one",
                headers={"Retry-After": "5"},
            )

    async def _counted(
        self, caller: Caller, after: int, wanted: EventFilter
    ) -> AsyncIterator[bytes]:
        account_id = caller.account.id
        self.streams.opened(account_id)
        try:
            yield b"retry: %d\nid: %d\n\n" % (RETRY_MILLISECONDS, after)
            async for part in self._parts(caller, after, wanted):
                yield part
        except StoreUnavailable:
            yield b": the store does not answer\nretry: %d\n\n" % RETRY_MILLISECONDS
        finally:
            self.streams.closed(account_id)

    async def _parts(self, caller: Caller, after: int, wanted: EventFilter) -> AsyncIterator[bytes]:
        account_id = caller.account.id
        seconds = self.bell.clock.seconds
        position, said_at = after, seconds()

        async def look() -> Sequence[EventsRead]:
            read = await self.history.follow(account_id, position, PAGE, wanted)
            return [read] if read.position > position else []

        while self.is_still_in(caller):
            for read in await self.bell.first(account_id, LOOK_EVERY, look):
                for event in read.events:
                    yield encoded_event(event)
                    said_at = seconds()
                position = read.position
            if self.bell.is_closed:
                return
            if seconds() - said_at >= KEEP_ALIVE_EVERY:
                yield b": keep-alive\nid: %d\n\n" % position
                said_at = seconds()


def last_event_id(request: Request) -> int | None:
    """What a client that comes back has heard last, None for another.  Raises: Problem."""
    values = request.headers.all(LAST_EVENT_ID.lower())
    if not values:
        return None
    if len(values) > 1 or not _POSITION.fullmatch(values[0]):
        said = "must be given once, and be the id of an event"
        raise Problem(INVALID_FIELD, said, LAST_EVENT_ID)
    return int(values[0])


def encoded_event(event: Event) -> bytes:
    """An event as it is sent: JSON has no line ends within."""
    data = msgspec.json.encode(event_out(event))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.position, event.kind.value.encode(), data)
