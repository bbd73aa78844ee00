"""How one logs in at the pages: password, sessions, second factor.

An account has it below ``/settings``, the administrator as ``/admin/security``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.second_factor import (
    Factor,
    Proposal,
    SecondFactors,
    WrongCode,
    is_recovery,
    normal,
)
from mailrelay.control.sessions import Session
from mailrelay.directory.login import (
    Authenticator,
    LoginRefused,
    Overloaded,
    TooManyFailures,
    login_name,
)
from mailrelay.net.threads import Executor
from mailrelay.pages.cookies import ACCOUNT, ADMIN, Cookie
from mailrelay.pages.door import Asked, Doors, Handler, see_other
from mailrelay.pages.login import ADMIN_NAME, BUSY, TOO_MANY, WRONG_CODE
from mailrelay.pages.qr import qr_code
from mailrelay.web.request import Response, Route

MOST_SESSIONS = 100
"""Shown; the newest use first."""

WRONG_PASSWORD = "The password that is to be changed is wrong."
WRONG_OWN = "The password is wrong."
NOT_TWICE = "The two new passwords differ."

DONE: Mapping[str, str] = {
    "changed": "The settings are changed.",
    "password": "The password is changed. Whoever was logged in with the old one is logged out.",
    "ended": "The session is ended.",
    "others": "All other sessions are ended.",
    "off": "Logging in asks for the password alone.",
}


@frozen
class Place:
    """Whose login is looked after, and where."""

    base: str
    cookie: Cookie
    template: str  # of the second factor's page


FOR_ACCOUNT = Place("/settings", ACCOUNT, "second_factor.html")
FOR_ADMIN = Place("/admin/security", ADMIN, "admin_second_factor.html")


@frozen
class ShownSession:
    """Somebody logged in.  ``key`` names the session, and opens none."""

    session: Session
    key: str
    is_own: bool


@frozen
class Security:
    """What a page shows of a login."""

    base: str
    sessions: Sequence[ShownSession]
    factor: Factor | None


@frozen
class SecurityPages:
    """Forms below a page that shows ``Security``; ``page`` makes it, with a problem and a status.

    ``set_password`` changes the password, and its effect is seen when it is done; ``factors``
    makes the second factors' control for whoever is named in the audit.
    """

    place: Place
    doors: Doors
    authenticator: Authenticator
    factors: Callable[[str], SecondFactors]
    set_password: Callable[[Asked, str], Awaitable[None]]
    executor: Executor
    page: Callable[[Asked, str, int], Awaitable[Response]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        base = self.place.base
        return [
            self._form(f"{base}/password", self.change_password),
            self._form(f"{base}/sessions", self.end_sessions),
            self._show(f"{base}/second-factor", self.show_factor),
            self._form(f"{base}/second-factor", self.turn_on),
            self._form(f"{base}/second-factor/off", self.turn_off),
        ]

    def _show(self, path: str, show: Handler) -> Route:
        doors = self.doors
        return (doors.admin if self.place is FOR_ADMIN else doors.account)(path, show)

    def _form(self, path: str, take: Handler) -> Route:
        doors = self.doors
        return (doors.admin_form if self.place is FOR_ADMIN else doors.account_form)(path, take)

    async def change_password(self, asked: Asked) -> Response:
        """Another password, by who knows the old one; all others are logged out."""
        new = asked.exact("new")
        if new != asked.exact("again"):
            return await self.page(asked, NOT_TWICE, 422)
        problem = await self._not_proven(asked, "current", WRONG_PASSWORD)
        if problem is not None:
            return await self.page(asked, *problem)
        try:
            await self.set_password(asked, new)
        except Refusal as refusal:
            return await self.page(asked, str(refusal), 422)
        visitor, answer = await self.doors.begin(
            asked.request,
            self.place.cookie,
            asked.visitor.account,
            await self._credential(asked),
            f"{self.place.base}?done=password",
        )
        await self.doors.sessions.end_others(visitor)
        return answer

    async def end_sessions(self, asked: Asked) -> Response:
        """End one, or all but this."""
        sessions, base = self.doors.sessions, self.place.base
        if asked.value("action") == "others":
            await sessions.end_others(asked.visitor)
            return see_other(f"{base}?done=others")
        if not await sessions.end_one(asked.visitor, asked.value("session")):
            raise NoSuch("there is no such session: it may have ended")
        return see_other(f"{base}?done=ended")

    async def show_factor(self, asked: Asked) -> Response:
        """A secret to be read, or what there is."""
        factors = self.factors(asked.actor)
        if await factors.find(self._id(asked)) is not None:
            return self.doors.page(asked, self.place.template, codes=(), proposal=None)
        return await self._proposed(asked, factors.proposal(self._id(asked), self._name(asked)))

    async def turn_on(self, asked: Asked) -> Response:
        """Ask for codes from now on; the recovery codes are shown this once."""
        factors, id_ = self.factors(asked.actor), self._id(asked)
        proposal = factors.proposed(id_, self._name(asked), asked.value("proposal"))
        problem = await self._not_proven(asked, "password", WRONG_OWN)
        if problem is not None:
            return await self._proposed(asked, proposal, *problem)
        try:
            codes = await factors.turn_on(id_, proposal, asked.value("code"))
        except WrongCode:
            return await self._proposed(asked, proposal, WRONG_CODE, 422)
        await self.doors.sessions.end_others(asked.visitor)
        return self.doors.page(asked, self.place.template, codes=codes, proposal=None)

    async def turn_off(self, asked: Asked) -> Response:
        """Ask for no more codes, by who has the password and a code."""
        problem = await self._not_proven(asked, "password", WRONG_OWN)
        if problem is None:
            problem = await self._code_not_taken(asked)
        if problem is None:
            return see_other(f"{self.place.base}?done=off")
        text, status = problem
        values = {"codes": (), "proposal": None, "problem": text}
        return self.doors.page(asked, self.place.template, status, **values)

    async def _code_not_taken(self, asked: Asked) -> tuple[str, int] | None:
        """What stands against turning it off, when something does; else it is off."""
        code, ip, name = asked.value("code"), asked.request.peer_ip, self._login(asked)
        try:
            self.authenticator.check_code(name, ip, is_long=is_recovery(normal(code)))
            await self.factors(asked.actor).turn_off(self._id(asked), code)
        except TooManyFailures:
            return TOO_MANY, 429
        except WrongCode:
            self.authenticator.code_failed(name, ip)
            return WRONG_CODE, 422
        self.authenticator.code_was_right(name)
        return None

    async def shown(self, asked: Asked) -> Security:
        """What the page shows of the login."""
        sessions, own = self.doors.sessions, asked.visitor.session
        listed = await sessions.listed(asked.visitor)
        shown = [
            ShownSession(one, one.key, one.token_hash == own.token_hash)
            for one in listed[:MOST_SESSIONS]
        ]
        factor = await self.factors(asked.actor).find(self._id(asked))
        return Security(self.place.base, shown, factor)

    async def _proposed(
        self, asked: Asked, proposal: Proposal, problem: str = "", status: int = 200
    ) -> Response:
        return self.doors.page(
            asked,
            self.place.template,
            status,
            codes=(),
            proposal=proposal,
            qr=await self.executor.run(qr_code, proposal.uri),
            problem=problem,
        )

    async def _not_proven(self, asked: Asked, field: str, wrong: str) -> tuple[str, int] | None:
        """What stands against the password in ``field``, when something does."""
        known, password = await self._credential(asked), asked.exact(field)
        try:
            await self.authenticator.check(
                self._login(asked), known, password, asked.request.peer_ip
            )
        except LoginRefused:
            return wrong, 422
        except TooManyFailures:
            return TOO_MANY, 429
        except Overloaded:
            return BUSY, 503
        return None

    async def _credential(self, asked: Asked) -> str:
        """The hash of the password, as it is now."""
        sessions = self.doors.sessions
        if asked.visitor.account is None:
            return await sessions.admin_hash() or ""
        return sessions.directory().accounts[asked.account_id].password_hash or ""

    def _id(self, asked: Asked) -> int | None:
        account = asked.visitor.account
        return None if account is None else account.id

    def _name(self, asked: Asked) -> str:
        account = asked.visitor.account
        return "administrator" if account is None else account.name

    def _login(self, asked: Asked) -> str:
        account = asked.visitor.account
        return ADMIN_NAME if account is None else login_name(account)
