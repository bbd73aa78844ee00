"""Logging in and out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from mailrelay.control.sessions import Visitor
from mailrelay.directory.login import Authenticator, LoginRefused, Overloaded, TooManyFailures
from mailrelay.pages.cookies import ACCOUNT, ADMIN, Cookie
from mailrelay.pages.door import ADMIN_LOGIN, FORM, LOGIN, Asked, Doors, own_path, see_other
from mailrelay.web.form import read_form
from mailrelay.web.origin import is_of_foreign_page
from mailrelay.web.request import Request, Response, Route

ADMIN_NAME = "the administrator"
MOST_CHARACTERS = 400

WRONG = "The address or the password is wrong."
WRONG_ADMIN = "The password is wrong."
TOO_MANY = "Too many logins failed lately. Try again in some minutes."
BUSY = "Too many log in at this moment. Try again."


@frozen
class LoginPages:
    """``/login`` and ``/admin/login``.  ``hint`` is shown there: how to log in to a localserve."""

    doors: Doors
    authenticator: Authenticator
    hint: str = ""

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.open(("GET", "HEAD"), LOGIN, self.show),
            doors.open(("POST",), LOGIN, self.log_in),
            doors.account_form("/logout", self.log_out),
            doors.open(("GET", "HEAD"), ADMIN_LOGIN, self.show_admin),
            doors.open(("POST",), ADMIN_LOGIN, self.log_in_admin),
            doors.admin_form("/admin/logout", self.log_out_admin),
        ]

    async def show(self, request: Request) -> Response:
        """The form; who is logged in goes on."""
        there = _next_of(request, "/")
        if await self.doors.visitor(request, ACCOUNT) is not None:
            return see_other(there)
        return self._form(LOGIN, there)

    async def show_admin(self, request: Request) -> Response:
        """The same for the administrator."""
        there = _next_of(request, "/admin")
        if await self.doors.visitor(request, ADMIN) is not None:
            return see_other(there)
        return self._form(ADMIN_LOGIN, there)

    async def log_in(self, request: Request) -> Response:
        """An account, by one of its addresses and its password."""
        return await self._log_in(request, LOGIN, "/", ACCOUNT, self._account, WRONG)

    async def log_in_admin(self, request: Request) -> Response:
        """The administrator, by the password."""
        return await self._log_in(
            request, ADMIN_LOGIN, "/admin", ADMIN, self._administrator, WRONG_ADMIN
        )

    async def _log_in(
        self,
        request: Request,
        path: str,
        home: str,
        cookie: Cookie,
        judged: Callable[[Request, str, str], Awaitable[Visitor]],
        wrong: str,
    ) -> Response:
        if is_of_foreign_page(request.headers):
            return self.doors.trouble(403, "The form was not sent by this server.", cookie)
        async with await read_form(request, self.doors.intake, FORM) as form:
            login = (form.get("login") or "").strip()[:MOST_CHARACTERS]
            password, there = form.get("password") or "", own_path(form.get("next") or home)
        try:
            visitor = await judged(request, login, password)
        except LoginRefused:
            return self._form(path, there, login, wrong, 401)
        except TooManyFailures:
            return self._form(path, there, login, TOO_MANY, 429)
        except Overloaded:
            return self._form(path, there, login, BUSY, 503)
        life = self.doors.sessions.settings.life
        field = cookie.set(visitor.token, life, is_secure=request.is_secure)
        return see_other(there, Set_Cookie=field)

    async def _account(self, request: Request, login: str, password: str) -> Visitor:
        account = await self.authenticator.password(login, password, request.peer_ip)
        return await self.doors.sessions.open(
            account, account.password_hash or "", request.peer_ip, _agent(request)
        )

    async def _administrator(self, request: Request, login: str, password: str) -> Visitor:
        sessions = self.doors.sessions
        known = await sessions.admin_hash()
        await self.authenticator.check(ADMIN_NAME, known, password, request.peer_ip)
        return await sessions.open(None, known or "", request.peer_ip, _agent(request))

    async def log_out(self, asked: Asked) -> Response:
        """End the session."""
        return await self._log_out(asked, ACCOUNT, LOGIN)

    async def log_out_admin(self, asked: Asked) -> Response:
        """End the administrator's."""
        return await self._log_out(asked, ADMIN, ADMIN_LOGIN)

    async def _log_out(self, asked: Asked, cookie: Cookie, path: str) -> Response:
        await self.doors.sessions.end(asked.visitor)
        return see_other(path, Set_Cookie=cookie.clear(is_secure=asked.request.is_secure))

    def _form(
        self, path: str, there: str, login: str = "", problem: str = "", status: int = 200
    ) -> Response:
        return self.doors.renderer.page(
            "login.html",
            status,
            path=path,
            next=there,
            login=login,
            problem=problem,
            hint=self.hint,
            is_admin=path == ADMIN_LOGIN,
        )


def _next_of(request: Request, home: str) -> str:
    values = request.query_fields().get("next")
    return own_path(values[0]) if values else home


def _agent(request: Request) -> str:
    return request.headers.get("user-agent") or ""
