"""Domains, as the administrator makes and changes them; what DNS should say of them, and says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from mailrelay.control.directory import DirectoryControl, DomainUse
from mailrelay.control.dkim import DKIMControl
from mailrelay.control.dns_check import DNSControl
from mailrelay.control.dns_zone import presented, zone_text
from mailrelay.control.domain_checks import DomainChecks
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.dkim import KeyState
from mailrelay.directory.model import DMARCPolicy, MTASTSMode
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.fields import trouble_of
from mailrelay.web.request import Response, Route

PAGE = 100
LONGEST = 400
LIST = "/admin/domains"
LOOK_AGAIN_AFTER = 2
"""Seconds after which a page asks again that tells of a check under way."""

DONE = {
    "added": "The domain is added: publish its records, and have them checked.",
    "set": "The domain is changed.",
    "dkim-add": "The keys are made: publish their records. Mail is signed once they are seen.",
    "dkim-rotate": "The next keys are made: publish their records. They take over once seen.",
    "dkim-activate": "Mail is signed with the next keys from now on.",
    "dkim-remove": "The key is forgotten: nothing is signed with it any more.",
    "removed": "The domain is removed.",
}

SEPARATORS = ("+", "-", "_", "=", ".", "~", "")
KINDS = {"rsa": (Algorithm.RSA,), "ed25519": (Algorithm.ED25519,)}


class DomainControls(Protocol):
    """What is asked of domains; see Control of ``service/``."""

    @property
    def directory(self) -> DirectoryControl:
        """The domains themselves."""

    @property
    def dkim(self) -> DKIMControl:
        """Their keys."""

    @property
    def dns(self) -> DNSControl:
        """What is to be published."""


@frozen
class DomainPages:
    """``/admin/domains``.  ``control`` is for whoever is named in the audit.

    What was changed counts in this process once ``taken_up`` is done.
    """

    doors: Doors
    control: Callable[[str], DomainControls]
    checks: DomainChecks
    taken_up: Callable[[], Awaitable[object]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        one = f"{LIST}/{{name}}"
        return [
            self.doors.admin(LIST, self.list),
            self.doors.admin_form(LIST, self.add),
            self.doors.admin(one, self.show),
            self.doors.admin_form(one, self.change),
            self.doors.admin_form(f"{one}/check", self.check),
            self.doors.admin(f"{one}/zone", self.zone),
        ]

    async def list(self, asked: Asked) -> Response:
        """Domains by name."""
        return await self._listed(asked)

    async def _listed(self, asked: Asked, problem: str = "", status: int = 200) -> Response:
        query = {"q": asked.value("q")[:LONGEST]}
        after = asked.value("after")[:LONGEST]
        every = await self.control(asked.actor).directory.domains()
        fitting = [
            one
            for one in every
            if one.domain.name > after and query["q"].lower() in one.domain.name
        ]
        found, rest = fitting[:PAGE], fitting[PAGE:]
        return self.doors.page(
            asked,
            "admin_domains.html",
            status,
            found=[(one, dkim_words(one), self.checks.of(one.domain.name)) for one in found],
            query=query,
            more_path=link(LIST, **query, after=found[-1].domain.name) if rest else "",
            given=asked.value("name"),
            separators=SEPARATORS,
            problem=problem,
            done=asked.done(DONE),
        )

    async def add(self, asked: Asked) -> Response:
        """Take mail for a domain."""
        control, name = self.control(asked.actor).directory, asked.value("name")
        is_case_sensitive = asked.value("case_sensitive") == "1"
        separator = asked.value("separator")
        try:
            await control.add_domain(name, separator, case_sensitive=is_case_sensitive)
            made = await control.domain(name)
        except Refusal as refusal:
            return await self._listed(asked, trouble_of("", refusal).text, 422)
        await self.taken_up()
        return see_other(link(f"{LIST}/{made.domain.name}", done="added"))

    async def _found(self, asked: Asked) -> DomainUse:
        try:
            return await self.control(asked.actor).directory.domain(asked.request.params["name"])
        except Refusal as refusal:
            raise NoSuch(str(refusal)) from None

    async def show(self, asked: Asked) -> Response:
        """A domain: its settings, keys, what to publish, and what the last check found."""
        return await self._shown(asked)

    async def _shown(self, asked: Asked, problem: str = "", status: int = 200) -> Response:
        use = await self._found(asked)
        name = use.domain.name
        records = await self.control(asked.actor).dns.records(name)
        checked = self.checks.of(name)
        return self.doors.page(
            asked,
            "admin_domain.html",
            status,
            use=use,
            domain=use.domain,
            records=[(one, presented(one)) for one in records],
            zone=zone_text(name, records),
            checked=checked,
            looks_up=self.checks.check is not None,
            again_after=LOOK_AGAIN_AFTER if checked and checked.is_under_way else 0,
            presented=presented,
            waits=any(key.state is KeyState.NEXT for key in use.keys),
            kinds=KINDS,
            separators=SEPARATORS,
            policies=[one.value for one in DMARCPolicy],
            modes=[one.value for one in MTASTSMode],
            path=f"{LIST}/{name}",
            problem=problem,
            done=asked.done(DONE),
        )

    async def check(self, asked: Asked) -> Response:
        """Begin a check: the page that is gone on to tells of it."""
        name = (await self._found(asked)).domain.name
        try:
            self.checks.begin(name)
        except Refusal as refusal:
            return await self._shown(asked, trouble_of("", refusal).text, 422)
        return see_other(f"{LIST}/{name}")

    async def zone(self, asked: Asked) -> Response:
        """What to publish as lines of a zone file, to be kept."""
        name = (await self._found(asked)).domain.name
        text = zone_text(name, await self.control(asked.actor).dns.records(name))
        fields = {"Content-Disposition": f'attachment; filename="{name}.zone"'}
        return Response(200, text.encode(), fields, content_type="text/plain; charset=utf-8")

    async def change(self, asked: Asked) -> Response:
        """Do what the form asks for, and show the domain, or why it cannot be."""
        action = asked.value("action")
        if action not in CHANGES:
            raise NoSuch("that is nothing that can be done with a domain")
        name = (await self._found(asked)).domain.name
        try:
            await CHANGES[action](self.control(asked.actor), name, asked)
        except Refusal as refusal:
            return await self._shown(asked, trouble_of("", refusal).text, 422)
        await self.taken_up()
        if action == "remove":
            return see_other(link(LIST, done="removed"))
        return see_other(link(f"{LIST}/{name}", done=action))


def dkim_words(use: DomainUse) -> tuple[str, str]:
    """How mail of a domain is signed, and the tone in which that is said."""
    states = {key.state for key in use.keys}
    if KeyState.ACTIVE in states:
        return "signed", "good"
    return ("waits for its records", "warn") if KeyState.NEXT in states else ("not signed", "")


async def _set(control: DomainControls, name: str, asked: Asked) -> None:
    policies = {one.value: one for one in DMARCPolicy}
    modes = {one.value: one for one in MTASTSMode}
    now = (await control.directory.domain(name)).domain
    separator, mode = asked.value("separator"), modes.get(asked.value("mta_sts"))
    await control.directory.set_domain(
        name,
        None if separator == now.separator else separator,
        disabled=asked.value("disabled") == "1",
        dmarc=policies.get(asked.value("dmarc")),
        mta_sts=None if mode is now.mta_sts else mode,  # a policy that is set anew has a new id
    )


async def _add_keys(control: DomainControls, name: str, asked: Asked) -> None:
    both = (Algorithm.RSA, Algorithm.ED25519)
    selector = asked.value("selector") or None
    await control.dkim.add(name, KINDS.get(asked.value("kind"), both), selector)


async def _rotate(control: DomainControls, name: str, asked: Asked) -> None:
    await control.dkim.rotate(name)


async def _activate(control: DomainControls, name: str, asked: Asked) -> None:
    await control.dkim.activate_next(name)


async def _remove_key(control: DomainControls, name: str, asked: Asked) -> None:
    await control.dkim.remove(name, asked.value("selector"))


async def _remove(control: DomainControls, name: str, asked: Asked) -> None:
    await control.directory.remove_domain(name)


CHANGES: Mapping[str, Callable[[DomainControls, str, Asked], Awaitable[None]]] = {
    "set": _set,
    "dkim-add": _add_keys,
    "dkim-rotate": _rotate,
    "dkim-activate": _activate,
    "dkim-remove": _remove_key,
    "remove": _remove,
}
