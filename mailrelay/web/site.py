"""The site of a listener: routes, limits, the access log.

``Site`` is the factory of its connections; how a handler looks is in ``request``, and forms with
files are read by ``form``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from email.utils import formatdate
from ipaddress import ip_address
from math import ceil
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from typing_extensions import override

from mailrelay.net.writing import Outbox
from mailrelay.policy.limits import ConnectionCount
from mailrelay.web.answer import check_response
from mailrelay.web.body import BodyRefused, BodyTrouble
from mailrelay.web.connection import HTTPConnection
from mailrelay.web.headers import Headers
from mailrelay.web.ratelimit import RequestLimits
from mailrelay.web.request import Answer, Refused, Request, Response, Route
from mailrelay.web.routes import Routes, WrongMethod
from mailrelay.web.settings import HTTPSettings

_log = Logger()
_access_log = Logger("mailrelay.web.access")

MOST_PATH_CHARACTERS = 500
"""Of a path in the log."""


class LiveConnection(Protocol):
    """A connection as the server sees it when it stops."""

    def leave(self) -> None:
        """Close as soon as no request is under way."""

    def abort(self) -> None:
        """Close now."""


@frozen
class HTTPContext:
    """What all sites of a server share.

    ``answered`` is told the route's path, empty when there was none, and the status.
    """

    clock: IReactorTime
    now: Callable[[], float]
    settings: HTTPSettings
    sessions: set[Any]  # of LiveConnection
    answered: Callable[[str, int], object]
    connections: ConnectionCount = field(factory=ConnectionCount)
    requests: RequestLimits = field(init=False)  # one count for all listeners
    outbox: Outbox = field(init=False)

    @requests.default
    def _requests(self) -> RequestLimits:
        return RequestLimits(self.settings, self.clock.seconds)

    @outbox.default
    def _outbox(self) -> Outbox:
        return Outbox(self.clock)


class Site(Factory):
    """Answers requests with ``routes``, which are tried in order.

    ``behind_proxy``: every connection comes from a proxy of ours, which appends the client's
    address to X-Forwarded-For.
    """

    noisy = False

    def __init__(
        self,
        context: HTTPContext,
        routes: Iterable[Route],
        *,
        is_secure: bool = False,
        behind_proxy: bool = False,
    ) -> None:
        self.context, self.is_secure = context, is_secure
        self._routes = Routes(routes)
        self._behind_proxy = behind_proxy
        self._limits = context.settings.connection_limits(behind_proxy=behind_proxy)
        self._dated = (-1, "")

    @override
    def buildProtocol(self, addr: IAddress | None) -> HTTPConnection:
        return HTTPConnection(self)

    def opened(self, ip: str) -> bool:
        """Count a connection; whether it is one too many.  ``closed`` follows in any case."""
        return self.context.connections.opened(ip, self._limits) is not None

    def closed(self, ip: str) -> None:
        """Count it no longer."""
        self.context.connections.closed(ip)

    def client_ip(self, peer_ip: str, headers: Headers) -> str:
        """Who asks: the peer, or whom our proxy saw.

        The proxy's is the last entry: those before it are what the client claims.
        """
        if not self._behind_proxy:
            return peer_ip
        told = headers.tokens("x-forwarded-for")
        try:
            return str(ip_address(told[-1])) if told else peer_ip
        except ValueError:
            return peer_ip

    def date(self) -> str:
        """The Date field's value (RFC 9110 section 6.6.1)."""
        second = int(self.context.now())
        if self._dated[0] != second:
            self._dated = (second, formatdate(second, usegmt=True))
        return self._dated[1]

    async def answer(self, request: Request) -> Answer:
        """The answer, in whatever way its handler ends."""
        found = self._routes.find(request.method, request.path)
        if found is None:
            return self._not_found(request)
        route = found.route
        response = self._too_many(request) if route.is_limited else None
        response = response or _encoded_body(request)
        if response is not None:
            return Answer(route.problem(response), route.headers, route)
        if isinstance(found, WrongMethod):
            allowed = ", ".join(found.allowed)
            response = Response.text(405, "405 - method not allowed\n", Allow=allowed)
            response = route.problem(response)
        else:
            request.params = found.params
            response = await _handled(route, request)
        return Answer(response, route.headers, route)

    def _not_found(self, request: Request) -> Answer:
        """As those who have what is around it answer."""
        response = self._too_many(request) or Response.text(404, "404 - not found\n")
        around = self._routes.around(request.path)
        if around is None:
            return Answer(response)
        return Answer(around.problem(response), around.headers, around)

    def _too_many(self, request: Request) -> Response | None:
        wait = self.context.requests.retry_after(request.peer_ip)
        if wait is None:
            return None
        return Response.text(429, "429 - too many requests\n", Retry_After=str(ceil(wait)))

    def finished(self, request: Request, answer: Answer, size: int, seconds: float) -> None:
        """A request was answered: log and count it.  The query string may hold secrets."""
        route, status = answer.route, answer.response.status
        path = route.path if route is not None and route.is_secret else request.path
        self._tell(request.peer_ip, request.method, path, status, size, seconds)
        self.context.answered(route.path if route is not None else "", status)

    def refused(self, ip: str, status: int) -> None:
        """What came was no request, or one connection too many."""
        self._tell(ip, "-", "-", status, 0, 0.0)
        self.context.answered("", status)

    def _tell(
        self, ip: str, method: str, path: str, status: int, size: int, seconds: float
    ) -> None:
        _access_log.info(
            "{ip} {method} {path} {status} {size} {seconds}",
            ip=ip,
            method=method,
            path=path[:MOST_PATH_CHARACTERS],
            status=status,
            size=size,
            seconds=round(seconds, 3),
        )


def _encoded_body(request: Request) -> Response | None:
    """Nothing is unpacked: a small body could become a large one."""
    if set(request.headers.tokens("content-encoding")) <= {"identity"}:
        return None
    text = "415 - the body must not have a Content-Encoding\n"
    return Response.text(415, text, Accept_Encoding="identity")


async def _handled(route: Route, request: Request) -> Response:
    try:
        response = await route.handle(request)
        check_response(response)
        return response
    except Refused as refusal:
        return refusal.response
    except BodyRefused as trouble:
        return Response.text(trouble.status, str(trouble))
    except BodyTrouble:
        return Response.text(400, "400 - the body is incomplete\n")
    except Exception:
        _log.failure("a request failed: {method} {path}", method=request.method, path=route.path)
        return Response.text(500, "500 - internal error, the server's log has more\n")
