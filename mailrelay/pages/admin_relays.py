"""Relay hosts: what is said of them and by whom, what of them is out, and what the directory says.

Rules of files, of the environment and of the configuration are shown; those of the directory can
be changed here.  No password is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.relay_alarms import RelayAlarmRecords
from mailrelay.control.relay_entries import RelayEntry, entries
from mailrelay.control.stored_relays import StoredRelayControl
from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.fields import trouble_of
from mailrelay.routing.relay_files import RelayFile, RelayProblem
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.web.request import Response, Route

PATH = "/admin/relays"

DONE: Mapping[str, str] = {
    "host": "These senders go by that host.",
    "exclude": "These senders do not go by the default relay host.",
    "login": "The login is stored, and used from now on.",
    "route": "Mail for these recipients goes that way.",
    "chain": "These senders go by that chain.",
    "removed": "What the directory said of it is removed.",
}

TYPED = ("whose", "host", "port", "username", "pattern", "next_hop", "hops", "move_on")
"""Fields that are shown again when something is wrong; passwords are typed again."""


@frozen
class RelayPages:
    """``/admin/relays``.  ``control`` changes the directory's rules as whoever is named.

    ``read`` gives those and everything that is said elsewhere; it raises RelayProblem.
    """

    doors: Doors
    control: Callable[[str], StoredRelayControl]
    read: Callable[[Sequence[RelayRule]], Awaitable[RelaySources]]
    alarms: RelayAlarmRecords

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(PATH, self.list),
            self.doors.admin_form(PATH, self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """All that decides, file before directory before environment."""
        return await self._page(asked)

    async def change(self, asked: Asked) -> Response:
        """One rule more in the directory, or all of a key less."""
        name = asked.value("action")
        try:
            await self._change(asked, name)
        except NoSuch:
            raise
        except Refusal as refusal:
            return await self._page(asked, name, refusal)
        return see_other(f"{PATH}?done={name}")

    async def _change(self, asked: Asked, name: str) -> None:
        control, value = self.control(asked.actor), asked.value
        match name:
            case "host":
                await control.add_domain(value("whose"), value("host"), value("port") or "25")
            case "exclude":
                await control.exclude_domain(value("whose"))
            case "login":
                await self._add_login(asked, control)
            case "route":
                await control.add_route(value("pattern"), value("next_hop"))
            case "chain":
                hops, move_on = _lines(value("hops")), _lines(value("move_on"))
                await control.add_chain(value("whose"), hops, move_on)
            case "removed":
                await control.remove(value("key"))
            case _:
                raise NoSuch("that is nothing that can be done with relay hosts")

    async def _add_login(self, asked: Asked, control: StoredRelayControl) -> None:
        username, password = asked.value("username"), asked.exact("password")
        if asked.value("kind") == "host":
            await control.add_host_login(asked.value("whose"), username, password)
        else:
            await control.add_login(asked.value("whose"), username, password)

    async def _page(self, asked: Asked, form: str = "", refusal: Refusal | None = None) -> Response:
        listed: Sequence[RelayEntry] = ()
        warnings: Sequence[str] = ()
        problem = ""
        try:
            sources = await self.read(await self.control(asked.actor).stored())
            listed, warnings = list(entries(sources)), [str(one) for one in sources.warnings]
        except RelayProblem as error:
            problem = f"{error}. What was read before holds."
        return self.doors.page(
            asked,
            "admin_relays.html",
            200 if refusal is None else 422,
            done=asked.done(DONE),
            problem=problem,
            entries=[(one, _said(one)) for one in listed],
            warnings=warnings,
            alarms=await self.alarms.load(),
            own=RelayFile.DIRECTORY.source,
            trouble=None if refusal is None else trouble_of(form, refusal),
            form=form,
            typed={name: asked.value(name) if refusal else "" for name in TYPED},
        )


def _said(entry: RelayEntry) -> str:
    """What is said of a key, in words."""
    match entry.kind:
        case RelayRuleKind.EXCLUDE:
            return "not by the default relay host"
        case RelayRuleKind.PASSWORD:
            return "logs in"
        case RelayRuleKind.CHAIN:
            return f"by a chain: {entry.next_hop}"
        case _:
            return f"by {entry.next_hop}"


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
