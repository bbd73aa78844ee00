"""A client of server-sent events that follows the HTML standard, as a browser's does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import treq
from attrs import define, field, frozen
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers

from tests.integration.world import until


@frozen
class Told:
    """An event as a page would have it."""

    id: str
    kind: str
    data: Any

    @property
    def position(self) -> int:
        """Where it is in the log."""
        return int(self.id)


@define
class Reader:
    """HTML standard section 9.2.6: lines into events.  Lines end in CR, LF or both."""

    last_event_id: str = ""
    retry: int | None = None
    comments: list[str] = field(factory=list)
    _rest: str = ""
    _id: str = ""
    _kind: str = ""
    _data: list[str] = field(factory=list)

    def read(self, text: str) -> list[Told]:
        """The events that are whole with ``text``."""
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").split("\n")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Told | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments.append(value)
        elif name == "id":
            self._id = value
        elif name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "retry":
            self.retry = int(value)
        return None

    def _dispatch(self) -> Told | None:
        self.last_event_id = self._id
        kind, data = self._kind, self._data
        self._kind, self._data = "", []
        if not data:
            return None
        return Told(self.last_event_id, kind or "message", json.loads("\n".join(data)))


@define
class EventSource(Protocol):
    """One client; it may be opened again when it is closed, and goes on where it was."""

    url: str
    login: Mapping[str, str]
    reader: Reader = field(factory=Reader)
    events: list[Told] = field(factory=list)
    status: int = 0
    content_type: str = ""
    is_open: bool = False
    ended: Deferred[bool] = field(factory=Deferred)  # whether the stream was whole

    async def open(self, **headers: str) -> EventSource:
        """Connect; the standard's Last-Event-ID goes with it, unless that is empty."""
        named = {**self.login, "Accept": "text/event-stream", **headers}
        if self.reader.last_event_id:
            named["Last-Event-ID"] = self.reader.last_event_id
        self.ended = Deferred()
        self.reader = Reader(self.reader.last_event_id, id=self.reader.last_event_id)
        fields = Headers({name: [value] for name, value in named.items()})
        response = await treq.get(
            self.url, headers=fields, agent=Agent(the_reactor), unbuffered=True
        )
        self.status = response.code
        self.content_type = response.headers.getRawHeaders("content-type", [""])[0]
        self.is_open = True
        response.original.deliverBody(self)
        return self

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self.status == 200:
            self.events += self.reader.read(data.decode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.is_open = False
        self.ended.callback(reason.check(ResponseDone) is not None)

    def close(self) -> Deferred[bool]:
        """Go away, in the middle of whatever it is."""
        if self.is_open:
            transport: Any = self.transport
            transport.loseConnection()
        return self.ended

    async def seen(self, count: int) -> list[Told]:
        """The events, once there are as many, or it ended."""
        await until(the_reactor, lambda: len(self.events) >= count or not self.is_open)
        return self.events
