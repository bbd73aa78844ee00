"""Routes, what every answer has, limits, and what is told of requests."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.observe.metrics import Metrics
from mailrelay.web.headers import PAGE_HEADERS, STRICT_HEADERS, Headers, basic_credentials
from mailrelay.web.request import Request, Response, Route, refused
from mailrelay.web.routes import Match, Routes, WrongMethod
from tests.web.wire import ECHO, GET, HELLO, NO_LIMITS, Handler, Wire, hello, post, replies


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


class RouteTests(SynchronousTestCase):
    """Which route is taken."""

    def found(self, pattern: str, path: str) -> object:
        """The params with which ``pattern`` fits ``path``; None when it does not."""
        match = Routes([Route((), pattern, hello)]).find("GET", path)
        return match.params if isinstance(match, Match) else match

    def test_patterns(self) -> None:
        """Segments are whole, are decoded after they were told apart, and are not empty."""
        for pattern, path, wanted in (
            ("/a/{b}", "/a/1", {"b": "1"}),
            ("/a/{b}", "/a/%C3%A9%2Fc", {"b": "é/c"}),
            ("/a/{b}/c", "/a/../c", {"b": ".."}),
            ("/a/*", "/a/", {"*": ""}),
            ("/a/*", "/a/b/c", {"*": "b/c"}),
        ):
            self.assertEqual(self.found(pattern, path), wanted)
        for pattern, path in (
            *(("/a", "/a/"), ("/a", "/A"), ("/a", "//a"), ("/a", "/%61"), ("/a", "/b/../a")),
            *(("/a/{b}", "/a/"), ("/a/{b}", "/a/1/"), ("/a/{b}", "/a/%ff"), ("/a/{b}", "/a/%00")),
            *(("/a/{b}", "/a/%0d%0a"), ("/a/*", "/a"), ("/a/*", "/a/%0a"), ("/a/*", "/b/c")),
        ):
            self.assertIsNone(self.found(pattern, path), path)

    def test_first_that_fits(self) -> None:
        """Path and method decide; no methods are all methods; what has no names goes first."""
        named, exact, rest = (
            Route(("GET",), "/a/{b}", hello),
            Route(("POST",), "/a/c", hello),
            Route((), "/a/*", hello),
        )
        routes = Routes([named, exact])
        for method, path, wanted in (("GET", "/a/c", named), ("POST", "/a/c", exact)):
            match = routes.find(method, path)
            assert isinstance(match, Match)
            self.assertIs(match.route, wanted)
        wrong = routes.find("PUT", "/a/c")
        assert isinstance(wrong, WrongMethod)
        self.assertEqual((wrong.route, wrong.allowed), (exact, ["GET", "POST"]))
        match = Routes([named, exact, rest]).find("PUT", "/a/c")
        assert isinstance(match, Match)
        self.assertIs(match.route, rest)

    def test_answers(self) -> None:
        """404, and 405 with what is allowed: OPTIONS and HEAD are methods like others."""
        wire = Wire([ECHO])
        self.assertEqual(wire.say(get("/b"))[0].status, 404)
        for method in ("GET", "OPTIONS", "PUT", "TRACE", "post"):
            (reply,) = wire.say(get("/", method=method))
            self.assertEqual((reply.status, reply.headers["allow"]), (405, "POST"))
        self.assertEqual(wire.say(get("*", method="OPTIONS"))[0].status, 404)

    def test_ends_of_a_handler(self) -> None:
        """It returns, refuses, or fails: then the log has more than the client is told."""

        async def handle(request: Request) -> Response:
            if request.query == "refuse":
                raise refused(403, "no", WWW_Authenticate="Basic realm=a")
            raise ZeroDivisionError("secret")

        wire = Wire([Route(("GET",), "/", handle)])
        (reply,) = wire.say(get("/?refuse"))
        self.assertEqual((reply.status, reply.headers["www-authenticate"]), (403, "Basic realm=a"))
        (reply,) = wire.say(get("/"))
        self.assertEqual(reply.status, 500)
        self.assertNotIn(b"secret", reply.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_query(self) -> None:
        """The query string is decoded strictly, and bounded."""
        handler = Handler()
        wire = Wire([Route(("GET",), "/", handler)])
        wire.say(get("/?a=1&a=%C3%A9&b="))
        self.assertEqual(handler.requests[0].query_fields(), {"a": ["1", "é"], "b": [""]})
        for query in ("a=%ff", "a&" * 200):

            async def read(request: Request) -> Response:
                return Response.text(200, str(request.query_fields()))

            self.assertEqual(Wire([Route((), "/", read)]).say(get(f"/?{query}"))[0].status, 400)

    def test_no_content_encoding(self) -> None:
        """Threat 9: nothing is unpacked, and what is packed is not read."""
        for coding, status in (("gzip", 415), ("identity, br", 415), ("identity", 200), ("", 200)):
            (reply,) = Wire([ECHO]).say(post(b"a", more=f"Content-Encoding: {coding}\r\n"))
            self.assertEqual(reply.status, status, coding)


class HeaderTests(SynchronousTestCase):
    """What every answer has."""

    def test_security_headers(self) -> None:
        """On every answer, whoever makes it; a route may have others."""
        page = Route(("GET",), "/page", hello, PAGE_HEADERS)

        async def fail(request: Request) -> Response:
            raise refused(400, "")

        wire = Wire([HELLO, page, Route(("GET",), "/fail", fail, PAGE_HEADERS)])
        for path, headers in (
            *(("/", STRICT_HEADERS), ("/none", STRICT_HEADERS)),
            *(("/page", PAGE_HEADERS), ("/fail", PAGE_HEADERS)),
        ):
            (reply,) = wire.say(get(path))
            for name, text in headers.items():
                self.assertEqual(reply.headers[name.lower()], text)
            self.assertEqual(reply.headers["server"], "mailrelay")
            self.assertEqual(reply.headers["date"], "Thu, 01 Jan 1970 00:00:00 GMT")
        (reply,) = wire.say(get("/page", method="PUT"))
        self.assertEqual(
            reply.headers["content-security-policy"], PAGE_HEADERS["Content-Security-Policy"]
        )
        (reply,) = wire.say(b"EHLO a\r\n")
        self.assertEqual((reply.status, reply.headers["x-frame-options"]), (400, "deny"))

    def test_own_headers_stand(self) -> None:
        """A response's field takes the place of its route's."""

        async def handle(request: Request) -> Response:
            return Response(200, headers={"cache-control": "max-age=5", "X-A": "b"})

        (reply,) = Wire([Route(("GET",), "/", handle)]).say(GET)
        self.assertEqual(reply.headers["cache-control"], "max-age=5")
        self.assertEqual(reply.headers["x-a"], "b")

    def test_basic_credentials(self) -> None:
        """RFC 7617; anything else is none."""
        for value, wanted in (
            ("Basic dTpw", ("u", "p")),
            ("bAsIc  dTpwOnE=", ("u", "p:q")),
            ("Basic w6k6w6k=", ("é", "é")),
            *(
                (text, None)
                for text in ("Basic", "Basic dXA=", "Basic !", "Basic 6To=", "Bearer a")
            ),
        ):
            headers = Headers([("authorization", value)])
            self.assertEqual(basic_credentials(headers), wanted, value)
        self.assertIsNone(basic_credentials(Headers([("authorization", "Basic dTpw")] * 2)))
        self.assertIsNone(basic_credentials(Headers()))


class LimitTests(SynchronousTestCase):
    """Requests and connections of one address."""

    def test_requests(self) -> None:
        """So many a minute, then 429 until the window ends; also where there is no route."""
        settings = evolve(NO_LIMITS, requests_per_minute=3)
        wire = Wire([HELLO], settings)
        self.assertEqual([r.status for r in wire.say(GET + get("/x") + GET)], [200, 404, 200])
        wire.clock.advance(20)
        for request in (GET, get("/x"), post(b"a")):
            (reply,) = wire.say(request)
            self.assertEqual((reply.status, reply.headers["retry-after"]), (429, "40"))
            self.assertEqual(reply.headers["content-type"], "text/plain; charset=utf-8")
        wire.clock.advance(40)
        self.assertEqual(wire.say(GET)[0].status, 200)

    def test_hour_and_networks(self) -> None:
        """An hour's limit, and those of the wider networks, which are three and nine times it."""
        settings = evolve(NO_LIMITS, requests_per_hour=2)
        wire = Wire([HELLO], settings)
        allowed = 0
        for number in range(32):
            transport, connection = wire.connect(f"192.0.2.{number}")
            connection.dataReceived(GET * 3)
            allowed += [r.status for r in replies(transport.value())].count(200)
        self.assertEqual(allowed, 6)  # of its /26
        transport, connection = wire.connect("192.0.2.200")
        connection.dataReceived(GET)
        self.assertEqual(replies(transport.value())[0].status, 200)
        wire.clock.advance(3600)
        transport, connection = wire.connect("192.0.2.1")
        connection.dataReceived(GET)
        self.assertEqual(replies(transport.value())[0].status, 200)

    def test_ipv6(self) -> None:
        """A /64 is one address."""
        wire = Wire([HELLO], evolve(NO_LIMITS, requests_per_minute=1))
        for ip, status in (("2001:db8::1", 200), ("2001:db8::2", 429), ("2001:db8:0:1::1", 200)):
            transport, connection = wire.connect(ip)
            connection.dataReceived(GET)
            self.assertEqual(replies(transport.value())[0].status, status, ip)

    def test_forwarded(self) -> None:
        """Behind a proxy the last entry counts, which is the proxy's; else the peer does."""
        handler = Handler()
        routes = [Route(("GET",), "/", handler)]
        for behind_proxy, told, wanted in (
            (False, ["X-Forwarded-For: 198.51.100.7"], "192.0.2.1"),
            (True, ["X-Forwarded-For: 198.51.100.7"], "198.51.100.7"),
            (True, ["X-Forwarded-For: 127.0.0.1, 198.51.100.7"], "198.51.100.7"),
            (True, ["X-Forwarded-For: 127.0.0.1", "x-forwarded-for: 2001:DB8::7"], "2001:db8::7"),
            (True, ["X-Forwarded-For: nonsense"], "192.0.2.1"),
            (True, [], "192.0.2.1"),
        ):
            Wire(routes, behind_proxy=behind_proxy).say(get("/", *told))
            self.assertEqual(handler.requests[-1].peer_ip, wanted)

    def test_connections(self) -> None:
        """One too many is told so; when one ends there is room again."""
        wire = Wire([HELLO], evolve(NO_LIMITS, connections=3, connections_per_address=2))
        wire.connect()
        transport, connection = wire.connect()
        self.assertEqual(replies(transport.value())[0].status, 503)
        self.assertTrue(transport.disconnecting)
        connection.dataReceived(GET)
        self.assertEqual(len(replies(transport.value())), 1)
        other, another = wire.connect("192.0.2.2")
        self.assertEqual(replies(other.value())[0].status, 503)  # four in all
        for gone in (connection, another):
            gone.connectionLost(Failure(ConnectionDone()))
        other, _ = wire.connect("192.0.2.3")
        self.assertEqual(other.value(), b"")

    def test_connections_of_a_proxy(self) -> None:
        """A proxy's address may have all of them."""
        settings = evolve(NO_LIMITS, connections=3, connections_per_address=1)
        wire = Wire([HELLO], settings, behind_proxy=True)
        for _ in range(2):
            transport, _ = wire.connect()
            self.assertEqual(transport.value(), b"")


class ToldTests(SynchronousTestCase):
    """The access log and the figures."""

    def lines(self, wire: Wire, *requests: bytes) -> list[str]:
        """What the access log says of ``requests``."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        try:
            for request in requests:
                wire.say(request)
        finally:
            globalLogPublisher.removeObserver(observer)
        return [
            eventAsText(event, includeTimestamp=False, includeSystem=False)
            for event in events
            if event["log_namespace"] == "mailrelay.web.access"
        ]

    def test_access_log(self) -> None:
        """Who, what, with which result; neither query nor credentials nor secret paths."""
        secret = Route(("GET",), "/link/{token}", hello, is_secret=True)
        request = get("/?password=planted", "Authorization: Basic planted")
        lines = self.lines(Wire([HELLO, secret]), request, get("/link/planted"), get("/x?planted"))
        self.assertEqual(
            lines,
            [
                "192.0.2.1 GET / 200 5 0.0",
                "192.0.2.1 GET /link/{token} 200 5 0.0",
                "192.0.2.1 GET /x 404 16 0.0",
            ],
        )

    def test_no_request(self) -> None:
        """What is no request has its line, too."""
        self.assertEqual(self.lines(Wire([]), b"EHLO a\r\n"), ["192.0.2.1 - - 400 0 0.0"])

    def test_figures(self) -> None:
        """By route and status: a path that anybody chose makes no new figure."""
        wire = Wire([HELLO, Route(("GET",), "/a/{b}", hello)])
        wire.say(GET + get("/a/1") + get("/a/2") + get("/x") + get("/y"))
        counted = [("/", 200), ("/a/{b}", 200), ("/a/{b}", 200), ("", 404), ("", 404)]
        self.assertEqual(wire.told, counted)
        metrics = Metrics()
        for route, status in wire.told:
            metrics.answered(route, status)
        text = metrics.text().decode()
        self.assertIn('mailrelay_http_requests_total{route="/a/{b}",status="200"} 2.0', text)
        self.assertIn('mailrelay_http_requests_total{route="none",status="404"} 2.0', text)
