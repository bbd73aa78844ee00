"""Connections: order, bodies that are asked for, deadlines, and the end."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.web.body import CHUNK_BYTES, BodyTrouble, ClientGone
from mailrelay.web.connection import LINGER_BYTES, LINGER_SECONDS
from mailrelay.web.exchange import SWALLOWED_BYTES
from mailrelay.web.request import Request, Response, Route
from tests.web.wire import ECHO, GET, HELLO, NO_LIMITS, Handler, Wire, post, replies


class OrderTests(SynchronousTestCase):
    """Requests on one connection."""

    def test_keep_alive(self) -> None:
        """One after the other is answered on the same connection."""
        wire = Wire([HELLO, ECHO])
        for _ in range(3):
            self.assertEqual([r.body for r in wire.say(GET)], [b"hello"])
        self.assertEqual([r.body for r in wire.say(post(b"x"))], [b"x"])
        self.assertFalse(wire.is_closing)

    def test_pipelined(self) -> None:
        """Answers leave in the order of the requests; the second waits for the first's answer."""
        handler = Handler()
        wire = Wire([Route(("GET",), "/", handler), ECHO])
        self.assertEqual(wire.say(GET + post(b"x") + GET), [])
        self.assertEqual(len(handler.requests), 1)
        handler.waiting[0].callback(Response.text(200, "first"))
        self.assertEqual([r.body for r in wire.heard()], [b"first", b"x"])
        handler.waiting[1].callback(Response.text(200, "last"))
        self.assertEqual([r.body for r in wire.heard()], [b"first", b"x", b"last"])

    def test_cut_anywhere(self) -> None:
        """Two requests, cut in two at any byte, have the same two answers."""
        data = post(b"a body") + GET
        for cut in range(len(data)):
            wire = Wire([HELLO, ECHO])
            got = replies(b"")
            got += wire.say(data[:cut])
            got += wire.say(data[cut:])
            self.assertEqual([r.body for r in got], [b"a body", b"hello"], cut)

    def test_close(self) -> None:
        """What asks for it, HTTP/1.0 and a handler that says so end the connection."""
        for request in (
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            wire = Wire([HELLO])
            (reply,) = wire.say(request + GET)
            self.assertEqual(reply.headers["connection"], "close")
            self.assertTrue(wire.is_closing)

        async def last(request: Request) -> Response:
            return Response(200, is_closing=True)

        wire = Wire([Route(("GET",), "/", last)])
        self.assertEqual(len(wire.say(GET + GET)), 1)
        self.assertTrue(wire.is_closing)

    def test_head(self) -> None:
        """HEAD is answered as GET is, without the body."""
        wire = Wire([HELLO])
        wire.say(GET.replace(b"GET", b"HEAD"))
        head = wire.transport.value()
        self.assertIn(b"Content-Length: 5\r\n", head)
        self.assertTrue(head.endswith(b"\r\n\r\n"))

    def test_no_body(self) -> None:
        """204 and 304 have neither a body nor its length."""
        for status in (204, 304):

            async def nothing(request: Request, status: int = status) -> Response:
                return Response(status, b"never sent")

            wire = Wire([Route(("GET",), "/", nothing)])
            wire.say(GET)
            self.assertNotIn(b"never", wire.transport.value())
            self.assertNotIn(b"Content-Length", wire.transport.value())
            self.assertNotIn(b"\r\nContent-Type", wire.transport.value())

    def test_many_pipelined(self) -> None:
        """Threat 17: thousands in one segment are answered one by one, without recursion."""
        wire = Wire([HELLO])
        self.assertEqual(len(wire.say(GET * 3000)), 3000)


class BodyTests(SynchronousTestCase):
    """Bodies, which are read when they are asked for."""

    def test_header_first(self) -> None:
        """The handler sees the request before its body is there."""
        handler = Handler()
        wire = Wire([Route(("POST",), "/{name}", handler)])
        wire.say(b"POST /a%20b?c=d HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nX: y\r\n\r\n")
        (request,) = handler.requests
        self.assertEqual(request.params, {"name": "a b"})
        self.assertEqual((request.query_fields(), request.peer_ip), ({"c": ["d"]}, "192.0.2.1"))
        self.assertEqual((request.headers.get("x"), request.body.declared_length), ("y", 9))

    def test_chunked(self) -> None:
        """A body in chunks is read like another, and what follows it is the next request."""
        chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire = Wire([ECHO, HELLO])
        self.assertEqual([r.body for r in wire.say(head + chunks + GET)], [b"abcde", b"hello"])
        self.assertEqual(wire.say(head + b"x\r\n")[0].status, 400)
        self.assertTrue(wire.is_closing)

    def test_too_large(self) -> None:
        """What is declared too large is not read; what turns out to be is cut off."""
        wire = Wire([ECHO])
        (reply,) = wire.say(post(b"x" * 1001))
        self.assertEqual(reply.status, 413)
        self.assertFalse(wire.is_closing)  # so little is swallowed
        wire = Wire([ECHO])
        chunk = b"3E9\r\n" + b"x" * 1001 + b"\r\n"
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        (reply,) = wire.say(head + chunk)
        self.assertEqual((reply.status, wire.is_closing), (413, True))

    def test_refused_without_reading(self) -> None:
        """An answer before the body: the rest is swallowed if it is little, else we close."""
        for size, closes in ((SWALLOWED_BYTES, False), (SWALLOWED_BYTES + 1, True)):
            wire = Wire([HELLO])  # not for POST
            head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            self.assertEqual([r.status for r in wire.say(head.encode())], [405])
            self.assertEqual(wire.is_closing, closes)
            if not closes:
                self.assertEqual(wire.say(b"x" * size), [])
                self.assertEqual([r.status for r in wire.say(GET)], [200])

    def test_lingering(self) -> None:
        """A client that goes on sending after its refusal is cut off, by bytes and by time."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
        wire = Wire([HELLO])
        wire.say(head)
        wire.connection.dataReceived(b"x" * LINGER_BYTES)
        self.assertFalse(wire.transport.disconnected)
        wire.connection.dataReceived(b"x")
        self.assertTrue(wire.transport.disconnected)
        wire = Wire([HELLO])
        wire.say(head)
        wire.clock.advance(LINGER_SECONDS)
        self.assertTrue(wire.transport.disconnected)

    def test_continue(self) -> None:
        """100 is said when the body is asked for; a refusal is final."""
        expect = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"
        wire = Wire([ECHO])
        self.assertEqual([r.status for r in wire.say(expect)], [100])
        self.assertEqual([r.body for r in wire.say(b"abc")], [b"abc"])
        wire = Wire([HELLO])
        self.assertEqual([r.status for r in wire.say(expect)], [405])
        self.assertTrue(wire.is_closing)  # the three bytes may come or not

    def test_back_pressure(self) -> None:
        """What nobody asks for makes the client wait, until somebody does."""
        handler = Handler()
        wire = Wire([Route(("POST",), "/", handler)])
        wire.say(post(b"")[:-4].replace(b"Length: 0", b"Length: 1000000") + b"\r\n\r\n")
        wire.connection.dataReceived(b"x" * CHUNK_BYTES)
        self.assertEqual(wire.transport.producerState, "producing")
        wire.connection.dataReceived(b"x")
        self.assertEqual(wire.transport.producerState, "paused")
        self.assertEqual(
            len(self.successResultOf(handler.requests[0].body.next())), CHUNK_BYTES + 1
        )
        self.assertEqual(wire.transport.producerState, "producing")

    def test_client_waits_while_it_is_written(self) -> None:
        """``stream`` asks for more when what it gave is written."""
        written: list[bytes] = []
        disk: list[Deferred[None]] = []

        def write(data: bytes) -> Deferred[None]:
            written.append(data)
            disk.append(Deferred())
            return disk[-1]

        async def store(request: Request) -> Response:
            return Response.text(200, str(await request.body.stream(write, 10)))

        wire = Wire([Route(("POST",), "/", store)])
        wire.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        wire.say(b"c")
        wire.say(b"d")
        self.assertEqual(written, [b"ab"])
        disk[0].callback(None)
        self.assertEqual(written, [b"ab", b"cd"])
        disk[1].callback(None)
        self.assertEqual([r.body for r in wire.heard()], [b"4"])

    def test_gone_while_reading(self) -> None:
        """A lost connection fails the reading, and tells who asked to be told."""
        handler = Handler()
        wire = Wire([Route(("POST",), "/", handler)])
        wire.say(post(b"abc")[:-1])
        (request,) = handler.requests
        told: list[str] = []
        request.on_gone(lambda: told.append("gone"))
        reading = Deferred.fromCoroutine(request.body.read(10))
        wire.lose()
        self.failureResultOf(reading, ClientGone)
        self.assertEqual(told, ["gone"])
        request.on_gone(lambda: told.append("late"))
        self.assertEqual(told, ["gone", "late"])
        handler.waiting[0].callback(Response.text(200, ""))
        self.assertEqual(wire.clock.getDelayedCalls(), [])

    def test_body_after_the_answer(self) -> None:
        """Who answered has no claim on the body."""
        handler = Handler()
        wire = Wire([Route(("POST",), "/", handler)])
        wire.say(post(b"abc")[:-1])
        handler.waiting[0].callback(Response.text(200, ""))
        self.failureResultOf(handler.requests[0].body.next(), BodyTrouble)


class DeadlineTests(SynchronousTestCase):
    """Threat 15: every wait for the client ends, and a drip does not lengthen it."""

    settings = evolve(
        NO_LIMITS, header_seconds=20.0, idle_seconds=60.0, body_seconds=30.0, body_rate=100
    )

    def test_silent(self) -> None:
        """Who says nothing (or never ends the TLS handshake) is closed without an answer."""
        wire = Wire([HELLO], self.settings)
        wire.clock.pump([19.9, 0.2])
        self.assertTrue(wire.is_closing)
        self.assertEqual(wire.transport.value(), b"")

    def test_slow_header(self) -> None:
        """A header that drips in is refused when its time is over."""
        wire = Wire([HELLO], self.settings)
        wire.drip(GET.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 99), 1.0)
        self.assertEqual(wire.clock.seconds(), 20.0)
        self.assertEqual([r.status for r in wire.heard()], [408])

    def test_idle(self) -> None:
        """A connection waits for its next request, which has its own time for the header."""
        wire = Wire([HELLO], self.settings)
        wire.say(GET)
        wire.clock.advance(59)
        wire.say(GET[:5])
        wire.clock.advance(19)
        self.assertFalse(wire.is_closing)
        self.assertEqual(len(wire.say(GET[5:])), 1)
        wire.clock.pump([59, 2])
        self.assertTrue(wire.is_closing)

    def test_slow_body(self) -> None:
        """A body that drips in below its rate is refused, however long it may be."""
        wire = Wire([ECHO], self.settings)
        wire.say(post(b"x" * 900)[:-900])
        wire.drip(b"x" * 900, 1.0)
        self.assertEqual([r.status for r in wire.heard()], [408])
        self.assertTrue(wire.is_closing)
        self.assertLess(wire.clock.seconds(), 35)

    def test_credit_is_bounded(self) -> None:
        """Who sent much at once may not drip for hours after it."""
        handler = Handler()
        wire = Wire([Route(("POST",), "/", handler)], self.settings)
        wire.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        reading = Deferred.fromCoroutine(handler.requests[0].body.read(10**6))
        wire.connection.dataReceived(b"x" * 900_000)
        wire.clock.pump([29, 2])
        self.failureResultOf(reading, BodyTrouble)

    def test_fast_enough(self) -> None:
        """A slow client that keeps the rate has all the time that it needs."""
        wire = Wire([ECHO], self.settings)
        wire.say(post(b"x" * 1000)[:-1000])
        wire.clock.advance(25)
        for _ in range(5):
            wire.connection.dataReceived(b"x" * 200)
            wire.clock.advance(2)
        self.assertEqual([r.status for r in wire.heard()], [200])

    def test_our_own_time_is_free(self) -> None:
        """While a handler thinks, the client's time stands still."""
        handler = Handler()
        wire = Wire([Route(("POST",), "/", handler)], self.settings)
        wire.say(post(b"abc")[:-1])
        wire.clock.pump([100.0] * 100)
        reading = Deferred.fromCoroutine(handler.requests[0].body.read(10))
        wire.say(b"c")
        self.assertEqual(self.successResultOf(reading), b"abc")
        handler.waiting[0].callback(Response.text(200, ""))
        self.assertEqual([r.status for r in wire.heard()], [200])

    def test_swallowing_ends(self) -> None:
        """A refused body that does not come is not waited for."""
        wire = Wire([HELLO], self.settings)
        wire.say(post(b"x" * 10)[:-10])
        wire.clock.pump([29, 2])
        self.assertTrue(wire.is_closing)

    def test_client_does_not_read(self) -> None:
        """Answers that are not read stop the requests, and in the end the connection."""
        wire = Wire([HELLO], self.settings)
        wire.connection.pauseProducing()
        self.assertEqual(wire.say(GET), [])
        self.assertEqual(wire.transport.producerState, "paused")
        wire.clock.advance(self.settings.write_seconds - 1)
        wire.connection.resumeProducing()
        self.assertEqual(len(wire.heard()), 1)
        wire.connection.pauseProducing()
        wire.clock.advance(self.settings.write_seconds)
        self.assertTrue(wire.transport.disconnected)


class PartsTests(SynchronousTestCase):
    """Answers in parts."""

    def parts(self, *parts: bytes, length: int | None = None) -> Wire:
        """A site that answers so."""

        async def handle(request: Request) -> Response:
            async def body() -> AsyncIterator[bytes]:
                for part in parts:
                    yield part

            return Response(200, body(), length=length)

        return Wire([Route(("GET", "HEAD"), "/", handle)])

    def test_chunks(self) -> None:
        """Without a length they are chunks; an empty part does not end the body."""
        wire = self.parts(b"ab", b"", b"c" * 16)
        wire.connection.dataReceived(GET)
        _, _, body = wire.transport.value().partition(b"\r\n\r\n")
        self.assertEqual(body, b"2\r\nab\r\n10\r\n" + b"c" * 16 + b"\r\n0\r\n\r\n")
        self.assertFalse(wire.is_closing)

    def test_length(self) -> None:
        """With a length they are as they are."""
        self.assertEqual(self.parts(b"ab", b"c", length=3).say(GET)[0].body, b"abc")

    def test_wrong_length(self) -> None:
        """What is not as long as was said is broken off: the client must see it."""
        for length in (1, 3):
            wire = self.parts(b"ab", length=length)
            wire.say(GET)
            self.assertTrue(wire.transport.disconnected)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_old_http(self) -> None:
        """To HTTP/1.0 the end of the body is the end of the connection."""
        wire = self.parts(b"ab")
        wire.connection.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(wire.transport.value().endswith(b"\r\n\r\nab"))
        self.assertTrue(wire.is_closing)

    def test_one_when_there_is_room(self) -> None:
        """The next part is asked for when the last has gone; who is gone is asked no more."""
        asked: list[int] = []
        ended: list[str] = []

        async def handle(request: Request) -> Response:
            async def body() -> AsyncIterator[bytes]:
                try:
                    for number in range(10):
                        asked.append(number)
                        if number == 1:
                            wire.connection.pauseProducing()
                        yield b"x"
                finally:
                    ended.append("closed")

            return Response(200, body())

        wire = Wire([Route(("GET",), "/", handle)])
        wire.connection.dataReceived(GET)
        self.assertEqual(asked, [0, 1])
        wire.connection.resumeProducing()
        self.assertEqual((asked, ended), (list(range(10)), ["closed"]))
        asked.clear()
        wire.connection.dataReceived(GET)
        wire.lose()
        self.assertEqual((asked, ended), ([0, 1], ["closed", "closed"]))

    def test_large_answer(self) -> None:
        """A large body of bytes goes in parts, with its length."""

        async def handle(request: Request) -> Response:
            return Response(200, b"x" * 1_000_000)

        wire = Wire([Route(("GET",), "/", handle)])
        self.assertEqual(len(wire.say(GET)[0].body), 1_000_000)

    def test_header_injection(self) -> None:
        """A handler's field that is none makes an answer of 500, and no second field."""

        async def handle(request: Request) -> Response:
            return Response(200, headers={"Location": "a\r\nSet-Cookie: b"})

        wire = Wire([Route(("GET",), "/", handle)])
        self.assertEqual([r.status for r in wire.say(GET)], [500])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class StopTests(SynchronousTestCase):
    """The server stops."""

    def test_idle_connections_close(self) -> None:
        """At once."""
        wire = Wire([HELLO])
        wire.say(GET)
        wire.connection.leave()
        self.assertTrue(wire.is_closing)

    def test_request_under_way(self) -> None:
        """Its answer is the last; what was pipelined behind it is not begun."""
        handler = Handler()
        wire = Wire([Route(("GET",), "/", handler)])
        wire.say(GET + GET)
        wire.connection.leave()
        self.assertFalse(wire.is_closing)
        handler.waiting[0].callback(Response.text(200, "done"))
        (reply,) = wire.heard()
        self.assertEqual(reply.headers["connection"], "close")
        self.assertTrue(wire.is_closing)
        self.assertEqual(len(handler.requests), 1)

    def test_endless_answer(self) -> None:
        """A stream of events ends, whole."""
        never: Deferred[None] = Deferred()

        async def handle(request: Request) -> Response:
            async def events() -> AsyncIterator[bytes]:
                yield b"first"
                await never

            return Response(200, events(), is_endless=True)

        wire = Wire([Route(("GET",), "/", handle)])
        wire.connection.dataReceived(GET)
        wire.connection.leave()
        self.assertTrue(never.called)
        self.assertTrue(wire.transport.value().endswith(b"5\r\nfirst\r\n0\r\n\r\n"))
        self.assertTrue(wire.is_closing)

    def test_nothing_is_left(self) -> None:
        """A connection that is gone leaves no timer, no count and no name behind."""
        wire = Wire([HELLO])
        wire.say(GET)
        wire.lose()
        context = wire.site.context
        self.assertEqual(wire.clock.getDelayedCalls(), [])
        self.assertEqual((context.connections.total, context.sessions), (0, set()))
