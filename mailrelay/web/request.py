"""What a handler gets and gives: ``Request`` in, ``Response`` out, ``Route`` between them.

A handler is called as soon as the header is there.  It may refuse at once, by returning or
raising, and only what it asks of ``request.body`` is read::

    async def add(request: Request) -> Response:
        account = await logged_in(request.headers, request.peer_ip)
        record = decoded(await request.body.read(64 * 1024))
        return Response.json(200, encoded(await store(account, record)))

    Route(("POST",), "/api/v1/messages/{id}", add)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qs

from attrs import define, field, frozen

from mailrelay.web.body import Body
from mailrelay.web.headers import STRICT_HEADERS, Headers

MOST_QUERY_FIELDS = 100

JSON = "application/json; charset=utf-8"


@frozen
class Response:
    """An answer.  ``body`` is all of it, or an iterator that is asked for the next when sent.

    ``headers`` stand in place of the route's of the same name.  ``is_endless`` is for streams of
    events: a server that stops ends them at once.
    """

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: Mapping[str, str] = field(factory=dict)
    content_type: str = "text/plain; charset=utf-8"
    length: int | None = None  # of an iterator's bytes, when it is known
    is_endless: bool = False
    is_closing: bool = False  # no other request is taken on this connection

    @classmethod
    def text(cls, status: int, text: str, **headers: str) -> Response:
        """Plain text; ``Retry_After="5"`` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, text.encode(), named)

    @classmethod
    def json(cls, status: int, encoded: bytes) -> Response:
        """JSON that is encoded already."""
        return cls(status, encoded, content_type=JSON)

    @classmethod
    def html(cls, status: int, page: str) -> Response:
        """A page."""
        return cls(status, page.encode(), content_type="text/html; charset=utf-8")


class Refused(Exception):
    """Raised by a handler, or what it calls, in place of returning ``response``."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refused(status: int, text: str, **headers: str) -> Refused:
    """A refusal in plain text."""
    return Refused(Response.text(status, text, **headers))


@define
class Request:
    """A request whose header was read.

    ``path`` is as it was sent; ``params`` are decoded.  ``peer_ip`` is the client's, which a
    proxy told where the listener says so.
    """

    method: str
    path: str
    query: str
    headers: Headers
    peer_ip: str
    is_secure: bool
    body: Body
    params: Mapping[str, str] = field(factory=dict)
    _gone: list[Callable[[], object]] = field(factory=list, init=False)
    is_gone: bool = field(default=False, init=False)

    def query_fields(self) -> Mapping[str, Sequence[str]]:
        """The query string's.  Raises: Refused."""
        try:
            return parse_qs(
                self.query,
                keep_blank_values=True,
                max_num_fields=MOST_QUERY_FIELDS,
                errors="strict",
            )
        except ValueError as error:
            raise refused(400, "the query string is not UTF-8, or too long\n") from error

    def on_gone(self, call: Callable[[], object]) -> None:
        """Have ``call`` called if the client goes before the answer is out."""
        if self.is_gone:
            call()
        else:
            self._gone.append(call)

    def gone(self) -> None:
        """The connection is lost."""
        self.is_gone = True
        calls, self._gone = self._gone, []
        for call in calls:
            call()


Handler = Callable[[Request], Awaitable[Response]]


@frozen
class Route:
    """Requests of ``methods`` (of any, when empty) for ``path`` go to ``handle``.

    ``{name}`` in ``path`` stands for one segment and is in ``params``; a final ``/*`` for any
    rest, in ``params["*"]``.  ``headers`` are of each answer, refusals and failures included.
    ``is_secret`` keeps the path out of the access log: there is a token in it.  ``problem`` makes
    refusals that no handler made look like those of its routes.  Without ``is_limited`` the
    requests of one address are not counted: the handler has limits of its own.
    """

    methods: Sequence[str]
    path: str
    handle: Handler
    headers: Mapping[str, str] = STRICT_HEADERS
    is_secret: bool = False
    problem: Callable[[Response], Response] = lambda response: response
    is_limited: bool = True


@frozen
class Answer:
    """A response with what its route adds.  ``route`` is None when none was found."""

    response: Response
    headers: Mapping[str, str] = STRICT_HEADERS
    route: Route | None = None
