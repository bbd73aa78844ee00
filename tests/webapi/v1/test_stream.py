"""Streams of events over virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.history import AccountHistory, EventFilter, EventsRead
from mailrelay.directory.model import Account
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import Event, EventKind
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.request import Request, Response, Route
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.operations import Call
from mailrelay.webapi.v1.problems import Problem
from mailrelay.webapi.v1.stream import (
    KEEP_ALIVE_EVERY,
    LOOK_EVERY,
    PAGE,
    StreamOperations,
    StreamQuery,
    Streams,
)
from tests.web.wire import GET, Wire

ACCOUNT = 7


@define
class History:
    """An account's log, as far as a stream reads it."""

    events: list[Event] = field(factory=list)
    looks: int = 0
    is_lost: bool = False
    waiting: Deferred[Any] | None = None  # answers the next look
    newest_waits: Callable[[], Deferred[int]] | None = None

    def add(self, count: int, kind: EventKind = EventKind.DELIVERED) -> None:
        """So many events happen."""
        for _ in range(count):
            at = len(self.events) + 1
            self.events.append(Event(kind, 1e9, 1, 2, ACCOUNT, {"reply": "x" * 500}, at))

    def newest(self, account_id: int) -> Deferred[int]:
        """See AccountHistory."""
        return succeed(len(self.events)) if self.newest_waits is None else self.newest_waits()

    def follow(
        self, account_id: int, after: int, limit: int, wanted: EventFilter
    ) -> Deferred[EventsRead]:
        """See AccountHistory."""
        self.looks += 1
        assert account_id == ACCOUNT
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            return waiting
        if self.is_lost:
            return fail(StoreUnavailable("gone"))
        page = self.events[after : after + limit]
        found = [e for e in page if not wanted.kinds or e.kind.value in wanted.kinds]
        return succeed(EventsRead(found, page[-1].position if page else after))


class StreamTests(SynchronousTestCase):
    """StreamOperations, on a connection without a socket."""

    def setUp(self) -> None:
        """An account that is logged in, and has no events."""
        self.history = History()
        self.clock = Clock()
        self.bell = Bell(self.clock)
        self.streams = Streams(2)
        self.is_still_in = True
        self.operations = StreamOperations(
            cast(AccountHistory, self.history),
            self.bell,
            self.streams,
            lambda caller: self.is_still_in,
        )

    def listen(self, cursor: int | None = 0, kind: Sequence[str] = ()) -> Wire:
        """A client's connection on which it asked for a stream."""
        query = StreamQuery(cursor=cursor, kind=[EventKind(one) for one in kind])

        async def handle(request: Request) -> Response:
            caller = Caller(Account(ACCOUNT, "user"), "user", "192.0.2.1")
            answer = await self.operations.stream(Call(caller, request, query=query))
            assert answer.stream is not None
            return Response(200, answer.stream, is_endless=True)

        wire = Wire([Route((), "/", handle)])
        wire.connection.dataReceived(GET)
        self.addCleanup(self.lose, wire)
        return wire

    def lose(self, wire: Wire) -> None:
        """The client goes, unless it did."""
        if wire.connection in wire.site.context.sessions:
            wire.lose()

    def said(self, wire: Wire) -> str:
        """What was sent since the last time, without the chunks' sizes."""
        data = wire.transport.value().decode()
        wire.transport.clear()
        body = data.partition("\r\n\r\n")[2] if data.startswith("HTTP/") else data
        return "".join(body.split("\r\n")[1::2])

    def positions(self, wire: Wire) -> list[int]:
        """Of the events that were sent since the last time."""
        blocks = self.said(wire).split("\n\n")
        return [int(block.split()[1]) for block in blocks if "\ndata: " in block]

    def happen(self, count: int, kind: EventKind = EventKind.DELIVERED) -> None:
        """Events are committed, and tell of it."""
        self.history.add(count, kind)
        self.bell.ring([ACCOUNT])

    def test_in_order_and_once(self) -> None:
        """The log page by page, then what the bell tells of."""
        self.history.add(PAGE * 2 + 3)
        wire = self.listen()
        self.assertEqual(self.positions(wire), list(range(1, PAGE * 2 + 4)))
        self.happen(2)
        self.happen(1)
        self.assertEqual(self.positions(wire), [PAGE * 2 + n for n in (4, 5, 6)])

    def test_many_at_the_same_time(self) -> None:
        """There is room for so many, however they come: also while the store is asked."""
        asked: list[Deferred[int]] = []

        def newest() -> Deferred[int]:
            asked.append(Deferred())
            return asked[-1]

        self.history.newest_waits = newest
        wires = [self.listen(None) for _ in range(3)]
        for one in asked:
            one.callback(0)
        self.assertEqual(self.streams.total, 2)
        self.assertIn(b" 500 ", wires[2].transport.value())  # nothing makes an answer of a Problem
        self.assertEqual(len(self.flushLoggedErrors(Problem)), 1)

    def test_other_nodes(self) -> None:
        """What rings no bell is found all the same, a few seconds later."""
        wire = self.listen()
        self.history.add(1)
        self.clock.advance(LOOK_EVERY)
        self.assertEqual(self.positions(wire), [1])

    def test_committed_while_the_store_is_asked(self) -> None:
        """Who looks and finds nothing does not sleep over what came meanwhile."""
        asked = self.history.waiting = Deferred()
        wire = self.listen()
        self.happen(1)
        asked.callback(EventsRead([], 0))
        self.assertEqual(self.positions(wire), [1])

    def test_keep_alive(self) -> None:
        """Where nothing happens something is said, and where it is."""
        wire = self.listen(None)
        self.assertEqual(self.said(wire), "retry: 3000\nid: 0\n\n")
        for _ in range(2):
            self.clock.pump([1.0] * int(KEEP_ALIVE_EVERY - 1))
            self.assertEqual(self.said(wire), "")
            self.clock.advance(1.0)
            self.assertEqual(self.said(wire), ": keep-alive\nid: 0\n\n")

    def test_passed_over(self) -> None:
        """What is not wanted is not sent, and not read again: the position moves on."""
        self.history.add(PAGE * 3, EventKind.DELAYED)
        wire = self.listen(kind=["failed"])
        looks = self.history.looks
        self.assertEqual(looks, 4)
        self.assertEqual(self.positions(wire), [])
        self.clock.pump([1.0] * int(KEEP_ALIVE_EVERY))
        self.assertEqual(self.said(wire), f": keep-alive\nid: {PAGE * 3}\n\n")
        self.happen(1, EventKind.FAILED)
        self.assertEqual(self.positions(wire), [PAGE * 3 + 1])

    def test_client_does_not_read(self) -> None:
        """The store waits for it; in the end it is cut, and nothing is left."""
        wire = self.listen()
        wire.connection.pauseProducing()
        self.happen(PAGE * 3)
        self.assertEqual(self.history.looks, 2)
        self.assertEqual(self.positions(wire), [1])  # what was at hand when it was full
        wire.connection.resumeProducing()
        self.assertEqual(self.positions(wire), list(range(2, PAGE * 3 + 1)))
        aborted: list[bool] = []
        self.patch(wire.transport, "abortConnection", lambda: aborted.append(True))
        wire.connection.pauseProducing()
        self.happen(1)
        self.clock.advance(LOOK_EVERY)
        wire.clock.advance(wire.site.context.settings.write_seconds)
        self.assertEqual(aborted, [True])
        wire.lose()
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """No stream is counted, nobody waits."""
        self.assertEqual(self.streams.total, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.bell.ring([ACCOUNT])

    def test_client_goes(self) -> None:
        """Who goes while nothing happens is waited for no more."""
        wire = self.listen()
        self.assertEqual(self.streams.total, 1)
        wire.lose()
        self.assert_nothing_left()

    def test_login_ends(self) -> None:
        """A stream ends, whole, within seconds of its login; no event is sent after it."""
        wire = self.listen()
        self.said(wire)
        self.is_still_in = False
        self.history.add(1)
        self.clock.advance(LOOK_EVERY)
        self.clock.advance(LOOK_EVERY)
        self.assertTrue(wire.transport.value().endswith(b"0\r\n\r\n"))
        self.assert_nothing_left()

    def test_server_stops(self) -> None:
        """By its connection, or by its bell."""
        wire, other = self.listen(), self.listen()
        wire.connection.leave()
        self.bell.close()
        for one in (wire, other):
            self.assertTrue(one.transport.value().endswith(b"0\r\n\r\n"))
        self.assert_nothing_left()
        self.assertTrue(self.listen().transport.value().endswith(b"0\r\n\r\n"))

    def test_store_is_lost(self) -> None:
        """The client hears when to come back."""
        wire = self.listen()
        self.said(wire)
        self.history.is_lost = True
        self.bell.ring([ACCOUNT])
        said = self.said(wire)
        self.assertEqual(said, ": the store does not answer\nretry: 3000\n\n")
        self.assert_nothing_left()
