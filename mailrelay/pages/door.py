"""Who may see a page, and send its forms; and what is shown instead.

Invariants: a form is believed only with the token of its session, from a page of ours; whatever
fails is a page that says what to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from attrs import field, frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.sessions import Sessions, Visitor
from mailrelay.directory.model import Account
from mailrelay.message.words import CONTROLS
from mailrelay.pages.cookies import ACCOUNT, ADMIN, Cookie
from mailrelay.pages.render import HEADERS, TOKEN_FIELD, Renderer
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.form import FormLimits, UploadedFile, read_form
from mailrelay.web.intake import Intake
from mailrelay.web.origin import is_of_foreign_page
from mailrelay.web.request import Refused, Request, Response, Route

LOGIN, ADMIN_LOGIN = "/login", "/admin/login"

FORM = FormLimits(files=0, urlencoded=256 * 1024, fields=256 * 1024, parts=6000)


@frozen
class Asked:
    """A request for a page by somebody who is logged in.

    ``form`` has what a POST brought; ``files`` are there until it is answered.  ``let_others`` is
    called before a wait for what is large: see Form.
    """

    request: Request
    visitor: Visitor
    form: Mapping[str, Sequence[str]] = field(factory=dict)
    files: Sequence[UploadedFile] = ()
    let_others: Callable[[], None] = lambda: None

    @property
    def account(self) -> Account:
        """Whose things are asked for; the administrator has none."""
        assert self.visitor.account is not None
        return self.visitor.account

    @property
    def actor(self) -> str:
        """Who is named in the audit."""
        account = self.visitor.account
        return "page of the administrator" if account is None else f"page of {account.name}"

    @property
    def account_id(self) -> int:
        """The account's number."""
        return self.account.id

    @property
    def id(self) -> int:
        """The number in the path.  Raises: NoSuch."""
        number = _number(self.request.params["id"])
        if number is None:
            raise NoSuch("there is nothing of that number")
        return number

    @property
    def ids(self) -> list[int]:
        """What is chosen in the form."""
        numbers = map(_number, self.form.get("id", ()))
        return [number for number in numbers if number is not None]

    def value(self, name: str) -> str:
        """A field of the form, or of the query; empty when it is not there.  Raises: BadQuery."""
        is_form = self.request.method == "POST"
        values = (self.form if is_form else self.request.query_fields()).get(name)
        text = values[0].strip() if values else ""
        if not is_form and CONTROLS.search(text):
            raise BadQuery(f"the field {name} of the query has a control character")
        return text

    def exact(self, name: str) -> str:
        """A field of the form as it was typed, blanks at its ends included: passwords."""
        values = self.form.get(name)
        return values[0] if values else ""

    def done(self, sentences: Mapping[str, str]) -> str:
        """What was done before this page was gone on to, by its code in the query."""
        return sentences.get(self.value("done"), "")

    def number(self, name: str) -> int | None:
        """A field that is a number; None when it is none."""
        return _number(self.value(name))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None


class BadQuery(Refusal):
    """No page of ours asks like this."""


Handler = Callable[[Asked], Awaitable[Response]]


@frozen
class Doors:
    """Makes routes of handlers that need not ask who comes."""

    sessions: Sessions
    renderer: Renderer
    intake: Intake

    def page(self, asked: Asked, name: str, status: int = 200, **values: Any) -> Response:
        """The page that the template ``name`` makes of ``values``, for who asked."""
        return self.renderer.page(name, status, visitor=asked.visitor, **values)

    async def large_page(self, asked: Asked, name: str, **values: Any) -> Response:
        """The same, made by a worker: there may be much in it, which strangers wrote."""
        return await self.intake.executor.run(self.page, asked, name, **values)

    def account(self, path: str, show: Handler) -> Route:
        """A page for who is logged in with an account."""
        return self._route(("GET", "HEAD"), path, show, ACCOUNT)

    def account_form(self, path: str, take: Handler, limits: FormLimits = FORM) -> Route:
        """Where a form of such a page goes; one with files has limits of its own."""
        return self._route(("POST",), path, take, ACCOUNT, limits)

    def admin(self, path: str, show: Handler) -> Route:
        """A page for the administrator."""
        return self._route(("GET", "HEAD"), path, show, ADMIN)

    def admin_form(self, path: str, take: Handler, limits: FormLimits = FORM) -> Route:
        """Where a form of such a page goes; one with files has limits of its own."""
        return self._route(("POST",), path, take, ADMIN, limits)

    def open(
        self, methods: Sequence[str], path: str, handle: Callable[[Request], Awaitable[Response]]
    ) -> Route:
        """A page for everybody."""

        async def handled(request: Request) -> Response:
            return await self._told(handle(request), None)

        return Route(methods, path, handled, headers=HEADERS, problem=self._problem)

    async def visitor(self, request: Request, cookie: Cookie) -> Visitor | None:
        """Who asks, when it is somebody who is logged in."""
        token = cookie.value(request.headers, is_secure=request.is_secure)
        return None if token is None else await self.sessions.find(token)

    async def begin(
        self, request: Request, cookie: Cookie, account: Account | None, credential: str, there: str
    ) -> tuple[Visitor, Response]:
        """A session of who proved ``credential``, and the answer that has its cookie."""
        agent = request.headers.get("user-agent") or ""
        visitor = await self.sessions.open(account, credential, request.peer_ip, agent)
        life = self.sessions.settings.life
        field = cookie.set(visitor.token, life, is_secure=request.is_secure)
        return visitor, see_other(there, Set_Cookie=field)

    def _route(
        self,
        methods: Sequence[str],
        path: str,
        handle: Handler,
        cookie: Cookie,
        limits: FormLimits = FORM,
    ) -> Route:
        async def handled(request: Request) -> Response:
            return await self._told(self._let_in(request, handle, cookie, limits), cookie)

        return Route(methods, path, handled, headers=HEADERS, problem=self._problem)

    async def _let_in(
        self, request: Request, handle: Handler, cookie: Cookie, limits: FormLimits
    ) -> Response:
        visitor = await self.visitor(request, cookie)
        if visitor is None:
            return self._to_login(request, cookie)
        if request.method != "POST":
            return await handle(Asked(request, visitor))
        if is_of_foreign_page(request.headers):
            return self.trouble(403, "The form was not sent by a page of this server.", cookie)
        async with await read_form(request, self.intake, limits) as form:
            if not visitor.sent_form(form.get(TOKEN_FIELD)):
                text = "The form is of another session. Go back, load the page again, and repeat."
                return self.trouble(403, text, cookie)
            return await handle(Asked(request, visitor, form.fields, form.files, form.let_others))

    def _to_login(self, request: Request, cookie: Cookie) -> Response:
        if request.method == "POST":
            text = "You are logged out; nothing was changed. Log in and repeat it."
            return self.trouble(401, text, cookie)
        there = request.path + (f"?{request.query}" if request.query else "")
        login = ADMIN_LOGIN if cookie is ADMIN else LOGIN
        return see_other(login if there in ("/", "/admin") else f"{login}?{_next(there)}")

    async def _told(self, answering: Awaitable[Response], cookie: Cookie | None) -> Response:
        """The answer, or a page about what went wrong."""
        try:
            return await answering
        except NoSuch as error:
            return self.trouble(404, _sentence(error), cookie)
        except BadQuery as error:
            return self.trouble(400, _sentence(error), cookie)
        except Refusal as error:
            return self.trouble(422, _sentence(error), cookie)
        except StoreUnavailable:
            text = "The server's store does not answer. Nothing was changed; try again soon."
            return self.trouble(503, text, cookie)
        except Refused as refusal:
            return self._problem(refusal.response)

    def _problem(self, response: Response) -> Response:
        """A refusal that was made below, as a page."""
        if response.status < 400 or not isinstance(response.body, bytes):
            return response
        text = response.body.decode("utf-8", "replace").strip().partition(" - ")[2]
        told = _TEXTS.get(response.status) or (text or "That did not work").capitalize() + "."
        page = self.trouble(response.status, told, None)
        return Response(page.status, page.body, response.headers, content_type=page.content_type)

    def trouble(self, status: int, text: str, cookie: Cookie | None) -> Response:
        """What went wrong, and what to do about it."""
        return self.renderer.page(
            "trouble.html",
            status,
            title=_TITLES.get(status) or HTTPStatus(status).phrase,
            text=text,
            home="/admin" if cookie is ADMIN else "/",
        )


_TITLES: Mapping[int, str] = {
    400: "That cannot be read",
    401: "Logged out",
    403: "Not taken",
    404: "Not there",
    405: "Nothing to look at",
    422: "That cannot be done",
    429: "Too much at once",
    503: "Not now",
}
"""In words for people; others are called as HTTP calls them."""

_TEXTS: Mapping[int, str] = {
    405: "What is here takes a form, and has no page of its own. Go back to where the form is.",
    429: "Many requests came from your address. Wait a little, and repeat it.",
}
"""Of refusals that were made below."""


def see_other(path: str, **headers: str) -> Response:
    """Go on with a GET of ``path``, which is one of ours."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(303, b"", {"Location": path, **named})


def own_path(text: str) -> str:
    """``text`` if it is a path of this server; else its start page: links may not lead away."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") else "/"


def link(path: str, **query: object) -> str:
    """A path with those query fields that say something."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def _next(path: str) -> str:
    return f"next={quote(path, safe='/')}"


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
