"""Accounts, as the administrator makes and changes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from attrs import field, frozen

from mailrelay.control.accounts import AccountQuery, AccountsControl
from mailrelay.control.directory import AccountDetails, DirectoryControl
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.forwarding import ForwardControl
from mailrelay.control.keys import KeyControl
from mailrelay.pages.account_form import details_of, fields_of
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.fields import trouble_of
from mailrelay.web.request import Response, Route

PAGE = 100
LONGEST = 400
LIST = "/admin/accounts"

DONE = {
    "added": "The account is added.",
    "set": "The account is changed.",
    "password": "The password is changed; sessions that the old one opened are ended.",
    "address-add": "The address is added.",
    "address-remove": "The address is removed.",
    "key": "The key is revoked.",
    "sessions": "All sessions are ended.",
    "forward": "The address is asked to confirm: mail goes there once the link is followed.",
    "forward-end": "Mail goes nowhere else.",
    "removed": "The account is removed.",
}


class AccountControls(Protocol):
    """What is asked of accounts; see Control of ``service/``."""

    @property
    def accounts(self) -> AccountsControl:
        """In number."""

    @property
    def directory(self) -> DirectoryControl:
        """One by one."""

    @property
    def keys(self) -> KeyControl:
        """Their keys."""

    @property
    def endpoints(self) -> EndpointControl:
        """Where they are called."""

    @property
    def forwarding(self) -> ForwardControl:
        """Where their mail goes."""


@frozen
class Told:
    """What a page says above everything else; ``secret`` is a password, shown this once."""

    problem: str = ""
    secret: str = field(default="", repr=False)
    status: int = 200


@frozen
class AccountPages:
    """``/admin/accounts``.  ``control`` is for whoever is named in the audit.

    ``fresh_password`` makes one that nobody has seen; what was changed counts in this process once
    ``taken_up`` is done.
    """

    doors: Doors
    control: Callable[[str], AccountControls]
    fresh_password: Callable[[], str]
    taken_up: Callable[[], Awaitable[object]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(LIST, self.list),
            self.doors.admin_form(LIST, self.add),
            self.doors.admin(f"{LIST}/{{name}}", self.show),
            self.doors.admin_form(f"{LIST}/{{name}}", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Accounts by name, narrowed by what is typed in."""
        return await self._listed(asked, Told())

    async def _listed(self, asked: Asked, told: Told) -> Response:
        query = {"q": asked.value("q")[:LONGEST]}
        wanted = AccountQuery(query["q"], asked.value("after")[:LONGEST], PAGE)
        found = await self.control(asked.actor).accounts.listed(wanted)
        more = link(LIST, **query, after=found[-1].name) if len(found) == PAGE else ""
        return self.doors.page(
            asked,
            "admin_accounts.html",
            told.status,
            found=found,
            query=query,
            more_path=more,
            given={name: asked.value(name) for name in ("name", "full_name", "address")},
            is_adding=bool(told.problem),
            done=asked.done(DONE),
            problem=told.problem,
            path_of=path_of,
        )

    async def add(self, asked: Asked) -> Response:
        """Make an account, with an address when one is given."""
        name, address = asked.value("name"), asked.value("address")
        control = self.control(asked.actor).directory
        password, made = self._password(asked)
        try:
            details = AccountDetails(full_name=asked.value("full_name"), password=password)
            await control.add_account(name, details)
        except Refusal as refusal:
            return await self._listed(asked, Told(trouble_of("", refusal).text, status=422))
        try:
            if address:
                await control.add_address(address, name)
        except Refusal as refusal:
            text = f"The account is added, but not its address: {refusal}"
            return await self._shown(asked, name, Told(text, made, 422))
        finally:
            await self.taken_up()
        if made:
            return await self._shown(asked, name, Told(secret=made))
        return see_other(link(path_of(name), done="added"))

    async def show(self, asked: Asked) -> Response:
        """One account, and everything that is its own."""
        return await self._shown(asked, asked.request.params["name"], Told())

    async def _shown(self, asked: Asked, name: str, told: Told) -> Response:
        control = self.control(asked.actor)
        view = await control.directory.account(name)
        is_settings = asked.value("action") == "set"
        fields = fields_of(view.account)
        if is_settings:
            fields = {one: asked.value(one) for one in fields}
        return self.doors.page(
            asked,
            "admin_account.html",
            told.status,
            view=view,
            account=view.account,
            use=await control.accounts.use(name),
            fields=fields,
            is_disabled=asked.value("login_disabled") == "1"
            if is_settings
            else view.account.login_disabled,
            keys=[one.key for one in await control.keys.listed(name)],
            endpoints=[one.endpoint for one in await control.endpoints.listed(name)],
            sessions=await control.accounts.sessions(name),
            forwards=bool(control.forwarding.links.public_url),
            path=path_of(name),
            queue=link("/admin/queue", account=name),
            secret=told.secret,
            done=asked.done(DONE),
            problem=told.problem,
        )

    async def change(self, asked: Asked) -> Response:
        """Do what the form asks for, and show the account, or why it cannot be."""
        name, action = asked.request.params["name"], asked.value("action")
        if action not in CHANGES:
            raise NoSuch("that is nothing that can be done with an account")
        control = self.control(asked.actor)
        made = ""
        try:
            if action == "password":
                password, made = self._password(asked)
                await control.directory.set_account(name, AccountDetails(password=password))
            else:
                await CHANGES[action](control, name, asked)
        except Refusal as refusal:
            return await self._shown(asked, name, Told(trouble_of("", refusal).text, status=422))
        await self.taken_up()
        if made:
            return await self._shown(asked, name, Told(secret=made))
        if action == "remove":
            return see_other(link(LIST, done="removed"))
        return see_other(link(path_of(name), done=action))

    def _password(self, asked: Asked) -> tuple[str, str]:
        """The password that was typed, or one that is made; and the latter again."""
        typed = asked.exact("password")
        if typed:
            return typed, ""
        made = self.fresh_password()
        return made, made


def path_of(name: str) -> str:
    """Where an account's page is."""
    return f"{LIST}/{quote(name, safe='')}"


Change = Callable[[AccountControls, str, Asked], Awaitable[object]]


async def _set(control: AccountControls, name: str, asked: Asked) -> None:
    await control.directory.set_account(name, details_of(asked))


async def _no_change(control: AccountControls, name: str, asked: Asked) -> None:
    """What ``change`` does itself."""


async def _add_address(control: AccountControls, name: str, asked: Asked) -> None:
    await control.directory.add_address(asked.value("address"), name)


async def _remove_address(control: AccountControls, name: str, asked: Asked) -> None:
    address = asked.value("address")
    if address not in (await control.directory.account(name)).addresses:
        raise NoSuch(f"{name} has no address {address[:LONGEST]}")
    await control.directory.remove_address(address)


async def _revoke_key(control: AccountControls, name: str, asked: Asked) -> None:
    account = (await control.directory.account(name)).account
    await control.keys.remove(asked.number("id") or 0, account.id)


async def _end_sessions(control: AccountControls, name: str, asked: Asked) -> None:
    await control.accounts.end_sessions(name)


async def _forward(control: AccountControls, name: str, asked: Asked) -> None:
    keeps_copy = asked.value("keep_copy") == "1"
    await control.forwarding.ask(name, asked.value("forward"), keeps_copy=keeps_copy)


async def _end_forward(control: AccountControls, name: str, asked: Asked) -> None:
    await control.forwarding.end(name)


async def _remove(control: AccountControls, name: str, asked: Asked) -> None:
    await control.directory.remove_account(name)


CHANGES: Mapping[str, Change] = {
    "set": _set,
    "password": _no_change,
    "address-add": _add_address,
    "address-remove": _remove_address,
    "key": _revoke_key,
    "sessions": _end_sessions,
    "forward": _forward,
    "forward-end": _end_forward,
    "remove": _remove,
}
