"""Aliases, as the administrator makes and changes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote

from attrs import frozen

from mailrelay.control.aliases import AliasControl, AliasDetails, AliasQuery
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.aliases import Alias, OnDisabled, Rewrite
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.fields import number_of, trouble_of, words_of
from mailrelay.web.request import Response, Route

PAGE = 100
LONGEST = 400
LIST = "/admin/aliases"

DONE = {
    "added": "The alias is added.",
    "set": "The alias is changed.",
    "member-add": "The members are added.",
    "member-remove": "The member is taken off.",
    "removed": "The alias is removed.",
}

FLAGS: Sequence[tuple[str, str]] = (
    ("post_public", "Everybody may post, not members alone"),
    ("list_members", "Members see who the others are"),
    ("allow_from", "Members may send as the alias"),
    ("is_list", "It is a list: copies say how to leave"),
    ("dmarc_fallback", "What would fail its author's DMARC is from the alias"),
    ("requires_dkim", "Only what the author's domain has signed goes to other servers"),
    ("disabled", "It is switched off"),
)

ON_DISABLED = {
    OnDisabled.REJECT: "refuses mail (550)",
    OnDisabled.DEFER: "puts mail off (450)",
    OnDisabled.DROP: "takes mail and drops it",
}

REWRITE = {
    Rewrite.NONE: "as it came",
    Rewrite.SRS: "from this server in the envelope (SRS)",
    Rewrite.ALIAS: "from the alias",
}


@frozen
class AdminAliasPages:
    """``/admin/aliases``.  ``control`` is for whoever is named in the audit.

    What was changed counts in this process once ``taken_up`` is done.
    """

    doors: Doors
    control: Callable[[str], AliasControl]
    taken_up: Callable[[], Awaitable[object]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(LIST, self.list),
            self.doors.admin_form(LIST, self.add),
            self.doors.admin(f"{LIST}/{{address}}", self.show),
            self.doors.admin_form(f"{LIST}/{{address}}", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Aliases by address, narrowed by what is typed in."""
        return await self._listed(asked)

    async def _listed(self, asked: Asked, problem: str = "", status: int = 200) -> Response:
        query = {"q": asked.value("q")[:LONGEST]}
        wanted = AliasQuery(query["q"], asked.value("after")[:LONGEST], PAGE)
        found = await self.control(asked.actor).listed(wanted)
        last = f"{found[-1].localpart}@{found[-1].domain}" if len(found) == PAGE else ""
        return self.doors.page(
            asked,
            "admin_aliases.html",
            status,
            found=found,
            query=query,
            more_path=link(LIST, **query, after=last) if last else "",
            given={name: asked.value(name) for name in ("address", "members")},
            path_of=path_of,
            done=asked.done(DONE),
            problem=problem,
        )

    async def add(self, asked: Asked) -> Response:
        """Make an alias for its first members."""
        address, members = asked.value("address"), words_of(asked.value("members"))
        control = self.control(asked.actor)
        try:
            await control.add(address, members, AliasDetails())
            made = await control.alias(address)
        except Refusal as refusal:
            return await self._listed(asked, trouble_of("", refusal).text, 422)
        await self.taken_up()
        return see_other(link(path_of(made), done="added"))

    async def show(self, asked: Asked) -> Response:
        """One alias, and who is in it."""
        return await self._shown(asked)

    async def _shown(self, asked: Asked, problem: str = "", status: int = 200) -> Response:
        control = self.control(asked.actor)
        try:
            alias = await control.alias(asked.request.params["address"])
        except Refusal as refusal:
            raise NoSuch(str(refusal)) from None
        is_sent = asked.value("action") == "set"
        return self.doors.page(
            asked,
            "admin_alias.html",
            status,
            alias=alias,
            fields=_sent(asked) if is_sent else _fields(alias),
            members=await control.members(str(alias)),
            flags=FLAGS,
            on_disabled=[(one.value, text) for one, text in ON_DISABLED.items()],
            rewrite=[(one.value, text) for one, text in REWRITE.items()],
            path=path_of(alias),
            done=asked.done(DONE),
            problem=problem,
        )

    async def change(self, asked: Asked) -> Response:
        """Do what the form asks for, and show the alias, or why it cannot be."""
        address, action = asked.request.params["address"], asked.value("action")
        control = self.control(asked.actor)
        if action not in CHANGES:
            raise NoSuch("that is nothing that can be done with an alias")
        try:
            await CHANGES[action](control, address, asked)
        except Refusal as refusal:
            return await self._shown(asked, trouble_of("", refusal).text, 422)
        await self.taken_up()
        if action == "remove":
            return see_other(link(LIST, done="removed"))
        return see_other(link(f"{LIST}/{quote(address, safe='@')}", done=action))


def path_of(alias: Alias) -> str:
    """Where an alias's page is."""
    return f"{LIST}/{quote(str(alias), safe='@')}"


def _fields(alias: Alias) -> Mapping[str, object]:
    """What the form has of an alias to begin with."""
    return {
        **{name: getattr(alias, name) for name, _ in FLAGS},
        "on_disabled": alias.on_disabled.value,
        "rewrite": alias.rewrite.value,
        "owner": str(alias.owner or ""),
        "posters": "\n".join(sorted(map(str, alias.posters))),
        "removes_after": str(alias.removes_after or ""),
    }


def _sent(asked: Asked) -> Mapping[str, object]:
    """What the form had when it was sent."""
    texts = ("on_disabled", "rewrite", "owner", "posters", "removes_after")
    return {
        **{name: asked.value(name) == "1" for name, _ in FLAGS},
        **{name: asked.value(name) for name in texts},
    }


def _details(asked: Asked) -> AliasDetails:
    """What the form says of the alias.  Raises: Refusal."""
    answers = {one.value: one for one in OnDisabled}
    rewrites = {one.value: one for one in Rewrite}
    return AliasDetails(
        **{name: asked.value(name) == "1" for name, _ in FLAGS},
        on_disabled=answers.get(asked.value("on_disabled")),
        rewrite=rewrites.get(asked.value("rewrite")),
        owner=asked.value("owner"),
        posters=words_of(asked.value("posters")),
        removes_after=number_of("removes_after", asked.value("removes_after")) or 0,
    )


async def _set(control: AliasControl, address: str, asked: Asked) -> None:
    await control.set(address, _details(asked))


async def _add_members(control: AliasControl, address: str, asked: Asked) -> None:
    await control.add_members(address, words_of(asked.value("members")))


async def _remove_member(control: AliasControl, address: str, asked: Asked) -> None:
    await control.remove_members(address, [asked.value("member")])


async def _remove(control: AliasControl, address: str, asked: Asked) -> None:
    await control.remove(address)


CHANGES: Mapping[str, Callable[[AliasControl, str, Asked], Awaitable[None]]] = {
    "set": _set,
    "member-add": _add_members,
    "member-remove": _remove_member,
    "remove": _remove,
}
