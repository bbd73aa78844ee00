"""What an account may set of itself, and what the administrator set for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from attrs import frozen

from mailrelay.control.account import Unset
from mailrelay.control.accounts import AccountUse
from mailrelay.control.directory import DirectoryControl
from mailrelay.control.errors import Refusal
from mailrelay.control.own_account import OwnAccount, OwnDetails
from mailrelay.directory.model import Account, Directory
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.security import DONE, Security
from mailrelay.web.request import Response, Route

DAY = 86400.0


@frozen
class Typed:
    """What the form shows: as it is, or as it was typed.  Times are days; empty is the server's."""

    full_name: str
    retired_kept_for: str
    calls_kept_for: str
    from_id_logins: frozenset[str]


@frozen
class SettingsPages:
    """``/settings``.  ``load_directory`` fires when the server knows what was changed.

    ``directory_control`` makes the directory's for whoever is named in the audit; ``security`` is
    what is shown of the login.
    """

    doors: Doors
    directory: Callable[[], Directory]
    directory_control: Callable[[str], DirectoryControl]
    use: Callable[[str], Awaitable[AccountUse]]
    load_directory: Callable[[], Awaitable[object]]
    security: Callable[[Asked], Awaitable[Security]]

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            self.doors.account("/settings", self.show),
            self.doors.account_form("/settings", self.change),
        ]

    async def show(self, asked: Asked) -> Response:
        """All of it."""
        return await self.page(asked, "", 200)

    async def page(self, asked: Asked, problem: str, status: int) -> Response:
        """All of it, with what went wrong elsewhere."""
        return await self._page(asked, _as_it_is(self._account(asked)), problem, status)

    async def change(self, asked: Asked) -> Response:
        """Name, retention, FromIDs."""
        typed = Typed(
            asked.value("full_name"),
            asked.value("retired_kept_for"),
            asked.value("calls_kept_for"),
            frozenset(asked.form.get("from_id_login", ())),
        )
        try:
            details = OwnDetails(
                typed.full_name,
                sorted(typed.from_id_logins),
                _seconds("retired messages", typed.retired_kept_for),
                _seconds("webhook calls", typed.calls_kept_for),
            )
            await self.own(asked).change(details)
        except Refusal as refusal:
            return await self._page(asked, typed, str(refusal), 422)
        await self.load_directory()
        return see_other("/settings?done=changed")

    async def set_password(self, asked: Asked, password: str) -> None:
        """Raises: Refusal."""
        await self.own(asked).change_password(password)
        await self.load_directory()

    def own(self, asked: Asked) -> OwnAccount:
        """The account, as it may change itself."""
        return OwnAccount(self.directory_control(asked.actor), self._account(asked))

    async def _page(self, asked: Asked, typed: Typed, problem: str, status: int) -> Response:
        account, directory = self._account(asked), self.directory()
        addresses = directory.addresses_of(account)
        logins = {one for one in addresses if one[:1] != "@"} | account.from_id_logins
        return self.doors.page(
            asked,
            "settings.html",
            status,
            done="" if problem else asked.done(DONE),
            problem=problem,
            account=account,
            addresses=addresses,
            logins=sorted(logins | typed.from_id_logins),
            typed=typed,
            use=await self.use(account.name),
            security=await self.security(asked),
        )

    def _account(self, asked: Asked) -> Account:
        """As it is now."""
        return self.directory().accounts.get(asked.account_id, asked.account)


def _as_it_is(account: Account) -> Typed:
    kept = (account.retired_kept_for, account.calls_kept_for)
    messages, calls = ("" if one is None else f"{one / DAY:.10g}" for one in kept)
    return Typed(account.full_name, messages, calls, account.from_id_logins)


def _seconds(what: str, text: str) -> float | Unset:
    """Days as they are typed.  Raises: Refusal."""
    if not text:
        return Unset.SERVERS
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not math.isfinite(days):
        raise Refusal(f"how long {what} are kept is a number of days, such as 7 or 0.5: {text!r}")
    return days * DAY
