"""Logging in and out.

Who has a second factor is asked for a code after the password.  Between the two the cookie of the
session has a token that opens no page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from attrs import frozen

from mailrelay.control.second_factor import (
    VALID_FOR,
    FirstSteps,
    SecondFactors,
    WrongCode,
    is_recovery,
    normal,
)
from mailrelay.directory.login import (
    Authenticator,
    LoginRefused,
    Overloaded,
    TooManyFailures,
    login_name,
)
from mailrelay.directory.model import Account
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
WRONG_CODE = "The code is wrong, or was used before. Wait for the next one."
TOO_LATE = "The login took too long, or the password was changed meanwhile. Begin again."


@frozen
class Side:
    """Where one logs in: as an account, or as the administrator."""

    path: str
    home: str
    cookie: Cookie
    wrong: str

    @property
    def code_path(self) -> str:
        """Where the code is asked for."""
        return f"{self.path}/code"


FOR_ACCOUNT = Side(LOGIN, "/", ACCOUNT, WRONG)
FOR_ADMIN = Side(ADMIN_LOGIN, "/admin", ADMIN, WRONG_ADMIN)


@frozen
class Proven:
    """Whose password was right; ``credential`` is its hash."""

    account: Account | None
    credential: str

    @property
    def account_id(self) -> int | None:
        """None for the administrator."""
        return None if self.account is None else self.account.id

    @property
    def name(self) -> str:
        """What failures are counted under."""
        return ADMIN_NAME if self.account is None else login_name(self.account)


@frozen
class LoginPages:
    """``/login`` and ``/admin/login``.  ``hint`` is shown there: how to log in to a localserve."""

    doors: Doors
    authenticator: Authenticator
    factors: SecondFactors
    steps: FirstSteps
    hint: str = ""

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        logout = [
            doors.account_form("/logout", self.log_out),
            doors.admin_form("/admin/logout", self.log_out_admin),
        ]
        return [*self._of(FOR_ACCOUNT, self._account), *self._of(FOR_ADMIN, self._admin), *logout]

    def _of(
        self, side: Side, judged: Callable[[str, str, str], Awaitable[Proven]]
    ) -> Sequence[Route]:
        async def show(request: Request) -> Response:
            return await self._show(request, side)

        async def log_in(request: Request) -> Response:
            return await self._log_in(request, side, judged)

        async def show_code(request: Request) -> Response:
            return await self._show_code(request, side)

        async def take_code(request: Request) -> Response:
            return await self._take_code(request, side)

        opened = self.doors.open
        return [
            opened(("GET", "HEAD"), side.path, show),
            opened(("POST",), side.path, log_in),
            opened(("GET", "HEAD"), side.code_path, show_code),
            opened(("POST",), side.code_path, take_code),
        ]

    async def _show(self, request: Request, side: Side) -> Response:
        """The form; who is logged in goes on."""
        there = _next_of(request, side.home)
        if await self.doors.visitor(request, side.cookie) is not None:
            return see_other(there)
        return self._form(side, there)

    async def _log_in(
        self,
        request: Request,
        side: Side,
        judged: Callable[[str, str, str], Awaitable[Proven]],
    ) -> Response:
        if is_of_foreign_page(request.headers):
            return self._foreign(side)
        async with await read_form(request, self.doors.intake, FORM) as form:
            login = (form.get("login") or "").strip()[:MOST_CHARACTERS]
            password, there = form.get("password") or "", own_path(form.get("next") or side.home)
        try:
            proven = await judged(login, password, request.peer_ip)
        except LoginRefused:
            return self._form(side, there, login, side.wrong, 401)
        except TooManyFailures:
            return self._form(side, there, login, TOO_MANY, 429)
        except Overloaded:
            return self._form(side, there, login, BUSY, 503)
        if await self.factors.find(proven.account_id) is None:
            return await self._let_in(request, side, proven, there)
        token = self.steps.token(proven.account_id, proven.credential)
        field = side.cookie.set(token, VALID_FOR, is_secure=request.is_secure)
        return see_other(f"{side.code_path}?next={quote(there, safe='/')}", Set_Cookie=field)

    async def _let_in(self, request: Request, side: Side, proven: Proven, there: str) -> Response:
        _, answer = await self.doors.begin(
            request, side.cookie, proven.account, proven.credential, there
        )
        return answer

    async def _account(self, login: str, password: str, ip: str) -> Proven:
        """An account, by one of its addresses and its password."""
        account = await self.authenticator.password(login, password, ip)
        return Proven(account, account.password_hash or "")

    async def _admin(self, login: str, password: str, ip: str) -> Proven:
        """The administrator, by the password."""
        known = await self.doors.sessions.admin_hash()
        await self.authenticator.check(ADMIN_NAME, known, password, ip)
        return Proven(None, known or "")

    async def _show_code(self, request: Request, side: Side) -> Response:
        """Where a code is asked for; who proved no password begins with that."""
        there = _next_of(request, side.home)
        if await self._proven(request, side) is None:
            return see_other(side.path)
        return self._code_form(side, there)

    async def _take_code(self, request: Request, side: Side) -> Response:
        """Log in, with a code after the password."""
        if is_of_foreign_page(request.headers):
            return self._foreign(side)
        async with await read_form(request, self.doors.intake, FORM) as form:
            code = (form.get("code") or "")[:MOST_CHARACTERS]
            there = own_path(form.get("next") or side.home)
        proven = await self._proven(request, side)
        if proven is None:
            return self._form(side, there, "", TOO_LATE, 401)
        ip = request.peer_ip
        try:
            self.authenticator.check_code(proven.name, ip, is_long=is_recovery(normal(code)))
            await self.factors.take(proven.account_id, code)
        except TooManyFailures:
            return self._code_form(side, there, TOO_MANY, 429)
        except WrongCode:
            self.authenticator.code_failed(proven.name, ip)
            return self._code_form(side, there, WRONG_CODE, 401)
        self.authenticator.code_was_right(proven.name)
        return await self._let_in(request, side, proven, there)

    async def _proven(self, request: Request, side: Side) -> Proven | None:
        """Who proved a password lately, which is theirs still."""
        token = side.cookie.value(request.headers, is_secure=request.is_secure) or ""
        sessions = self.doors.sessions
        if side is FOR_ADMIN:
            proven = Proven(None, await sessions.admin_hash() or "")
        else:
            account = sessions.directory().accounts.get(self.steps.account_id(token) or 0)
            if account is None or account.login_disabled:
                return None
            proven = Proven(account, account.password_hash or "")
        return proven if self.steps.is_of(token, proven.account_id, proven.credential) else None

    def _code_form(self, side: Side, there: str, problem: str = "", status: int = 200) -> Response:
        return self.doors.renderer.page(
            "login_code.html", status, side=side, next=there, problem=problem
        )

    def _foreign(self, side: Side) -> Response:
        return self.doors.trouble(403, "The form was not sent by this server.", side.cookie)

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
        self, side: Side, there: str, login: str = "", problem: str = "", status: int = 200
    ) -> Response:
        return self.doors.renderer.page(
            "login.html",
            status,
            path=side.path,
            next=there,
            login=login,
            problem=problem,
            hint=self.hint,
            is_admin=side is FOR_ADMIN,
        )


def _next_of(request: Request, home: str) -> str:
    values = request.query_fields().get("next")
    return own_path(values[0]) if values else home
