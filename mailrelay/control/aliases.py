"""Aliases: what may be asked, checked, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.directory_checks import address_key, checked_domain, checked_limit
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.aliases import Alias, OnDisabled, Rewrite
from mailrelay.directory.expansion import expand
from mailrelay.directory.model import CATCH_ALL, Directory, Domain, DomainDisabled, NoSuchUser
from mailrelay.smtp.address import Address, MalformedAddress

MOST_COPIES = 10_000
"""Members in all, with those of the aliases in an alias."""

MOST_POSTERS = 100
MOST_FAILURES = 1000


@frozen
class AliasDetails:
    """What an alias is, or is changed to; None leaves a value as it is.

    An empty ``owner`` takes it away; ``posters`` are all of them; ``removes_after`` of 0 is never.
    """

    post_public: bool | None = None
    list_members: bool | None = None
    allow_from: bool | None = None
    disabled: bool | None = None
    on_disabled: OnDisabled | None = None
    owner: str | None = None
    posters: Sequence[str] | None = None
    is_list: bool | None = None
    removes_after: int | None = None
    rewrite: Rewrite | None = None
    dmarc_fallback: bool | None = None
    requires_dkim: bool | None = None


_NEW: Mapping[str, object] = {
    "post_public": False,
    "list_members": False,
    "allow_from": False,
    "disabled": False,
    "on_disabled": OnDisabled.REJECT,
    "owner": None,
    "posters": frozenset(),
    "is_list": False,
    "removes_after": None,
    "rewrite": Rewrite.NONE,
    "dmarc_fallback": False,
    "requires_dkim": False,
}


@frozen
class Member:
    """A member, and how often its mail failed in a row; ``failed_at`` is since the epoch."""

    address: Address
    failures: int = 0
    failed_at: float | None = None


@frozen
class AliasQuery:
    """Which aliases: ``text`` is within the address, a member's, or the owner's."""

    text: str = ""
    after: str = ""  # the address that the page before ended with
    limit: int = 100


class AliasRecords(Protocol):
    """Aliases' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Keys are (localpart as matched, domain), values fields of Alias.  Methods fail with Refusal's
    kinds, and with StoreUnavailable.
    """

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def add(
        self,
        actor: str,
        key: tuple[str, str],
        values: Mapping[str, object],
        members: Sequence[Address],
    ) -> Deferred[None]:
        """Make an alias, where there is neither one nor an account's address."""

    def set(self, actor: str, key: tuple[str, str], values: Mapping[str, object]) -> Deferred[None]:
        """Change what is in ``values``."""

    def remove(self, actor: str, key: tuple[str, str]) -> Deferred[None]:
        """Remove an alias."""

    def add_members(
        self, actor: str, key: tuple[str, str], members: Sequence[Address]
    ) -> Deferred[None]:
        """List more members, all of them or none."""

    def remove_members(
        self, actor: str, key: tuple[str, str], members: Sequence[Address]
    ) -> Deferred[None]:
        """Take members off; one at least stays."""

    def members(self, key: tuple[str, str]) -> Deferred[Sequence[Member]]:
        """Who is listed, by address.  Fails with NoSuch."""


@frozen
class AliasControl:
    """Checks and normalises, then changes one thing."""

    records: AliasRecords
    actor: str

    async def add(self, text: str, members: Sequence[str], details: AliasDetails) -> None:
        """Make an alias.  Raises: Refusal."""
        directory = await self.records.load()
        key = alias_key(text, directory.domains)
        values = {**_NEW, **_values(directory, key, details)}
        checked = checked_members(directory, Alias(0, *key), members)
        await self.records.add(self.actor, key, values, checked)

    async def set(self, text: str, details: AliasDetails) -> None:
        """Change an alias.  Raises: Refusal."""
        directory = await self.records.load()
        key = alias_key(text, directory.domains)
        values = _values(directory, key, details)
        if not values:
            raise Refusal("nothing to change: name a setting")
        await self.records.set(self.actor, key, values)

    async def remove(self, text: str) -> None:
        """Remove an alias.  Raises: Refusal."""
        directory = await self.records.load()
        await self.records.remove(self.actor, alias_key(text, directory.domains))

    async def add_members(self, text: str, members: Sequence[str]) -> None:
        """Have mail for an alias go to more members.  Raises: Refusal."""
        directory = await self.records.load()
        alias = _found(directory, text)
        checked = checked_members(directory, alias, members)
        await self.records.add_members(self.actor, (alias.localpart, alias.domain), checked)

    async def remove_members(self, text: str, members: Sequence[str]) -> None:
        """Take members off.  Raises: Refusal."""
        alias = _found(await self.records.load(), text)
        given = [_address(member, "member") for member in members]
        await self.records.remove_members(self.actor, (alias.localpart, alias.domain), given)

    async def alias(self, text: str) -> Alias:
        """An alias.  Raises: Refusal."""
        return _found(await self.records.load(), text)

    async def aliases(self) -> Sequence[Alias]:
        """All of them, by address."""
        found = (await self.records.load()).aliases.values()
        return sorted(found, key=_place)

    async def listed(self, wanted: AliasQuery) -> Sequence[Alias]:
        """A page of them, by domain and localpart."""
        localpart, _, domain = wanted.after.rpartition("@")
        text, found = wanted.text.lower(), []
        for one in await self.aliases():
            is_behind = not wanted.after or _place(one) > (domain, localpart)
            if is_behind and (not text or any(text in name for name in _names(one))):
                found.append(one)
        return found[: wanted.limit]

    async def members(self, text: str) -> Sequence[Member]:
        """Who is in an alias, and whose mail fails.  Raises: Refusal."""
        directory = await self.records.load()
        return await self.records.members(alias_key(text, directory.domains))


def _place(alias: Alias) -> tuple[str, str]:
    return alias.domain, alias.localpart


def _names(alias: Alias) -> Sequence[str]:
    """What an alias is found by, in lower case."""
    people = (*alias.members, *((alias.owner,) if alias.owner else ()))
    return [str(alias).lower(), *(str(one).lower() for one in people)]


def alias_key(text: str, domains: Mapping[str, Domain]) -> tuple[str, str]:
    """An alias as the directory keys it; ``@domain`` is a catch-all.  Raises: Refusal."""
    if not text.startswith("@"):
        return address_key(text, domains)
    domain = checked_domain(text[1:])
    if domain not in domains:
        raise Refusal(f"no domain {domain}: mailrelay domain add {domain}")
    return CATCH_ALL, domain


def _found(directory: Directory, text: str) -> Alias:
    key = alias_key(text, directory.domains)
    if key not in directory.aliases:
        raise NoSuch(f"no alias {key[0]}@{key[1]}: mailrelay alias list")
    return directory.aliases[key]


def _values(directory: Directory, key: tuple[str, str], details: AliasDetails) -> dict[str, object]:
    names = (
        *("post_public", "list_members", "allow_from", "disabled", "on_disabled", "is_list"),
        *("rewrite", "dmarc_fallback", "requires_dkim"),
    )
    values = {name: getattr(details, name) for name in names}
    values = {name: value for name, value in values.items() if value is not None}
    if details.owner is not None:
        values["owner"] = checked_owner(directory, details.owner) if details.owner else None
    if details.posters is not None:
        if len(details.posters) > MOST_POSTERS:
            raise Refusal(f"an alias has at most {MOST_POSTERS} posters: make them members")
        values["posters"] = frozenset(_address(one, "poster") for one in details.posters)
    if details.is_list and key[0] == CATCH_ALL:
        raise Refusal(f"@{key[1]} is no list: it has no address that one could write to")
    if details.rewrite is Rewrite.ALIAS and not directory.domains[key[1]].separator:
        raise Refusal(
            f"members answer by addresses behind a separator, and {key[1]} has none:"
            f" mailrelay domain set {key[1]} --separator +, or --rewrite srs"
        )
    if details.removes_after is not None:
        values["removes_after"] = checked_limit(details.removes_after, MOST_FAILURES)
    return values


def checked_owner(directory: Directory, text: str) -> Address:
    """Who is told of failures.  Raises: Refusal."""
    owner = _address(text, "owner")
    if directory.alias(owner) is not None:
        raise Refusal(f"{owner} is an alias: failures go to one person, or to an application")
    if isinstance(directory.resolve(owner), NoSuchUser | DomainDisabled):
        raise Refusal(f"the owner {owner} gets no mail here: mailrelay address add {owner}")
    return owner


def checked_members(directory: Directory, alias: Alias, members: Sequence[str]) -> list[Address]:
    """New members as they are listed.  Raises: Refusal."""
    if not members:
        raise Refusal("an alias has one member at least")
    checked = [_checked_member(directory, alias, text) for text in members]
    there = {directory.compared(member) for member in alias.members}
    for member in checked:
        if directory.compared(member) in there:
            raise Refusal(f"{member} is a member already, or is named twice")
        there.add(directory.compared(member))
        inner = directory.alias(member)
        if inner is not None and _leads_to(directory, inner, alias):
            raise Refusal(f"{member} leads back to {alias.address}: mail would go round")
    grown = Alias(alias.id, alias.localpart, alias.domain, (*alias.members, *checked))
    if len(expand(directory, grown).members) > MOST_COPIES:
        raise Refusal(f"a message would have more than {MOST_COPIES} copies")
    return checked


def _checked_member(directory: Directory, alias: Alias, text: str) -> Address:
    member = _address(text, "member")
    if directory.compared(member) == alias.address:
        raise Refusal(f"{member} is the alias itself")
    domain = directory.domains.get(member.domain)
    if domain is None:
        return member
    localpart, name = address_key(text, directory.domains)
    if isinstance(directory.resolve(member), NoSuchUser):
        raise Refusal(f"there is no {member}: mailrelay address add {member}")
    return Address(localpart, name)


def _leads_to(directory: Directory, inner: Alias, alias: Alias) -> bool:
    """Whether ``alias`` is ``inner``, or in it however deep."""
    todo, seen = [inner], {inner.address}
    while todo:
        one = todo.pop()
        if one.address == alias.address:
            return True
        for member in one.members:
            further = directory.alias(member)
            if further is not None and further.address not in seen:
                seen.add(further.address)
                todo.append(further)
    return False


def _address(text: str, what: str) -> Address:
    """Raises: Refusal."""
    try:
        address = Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"the {what} {text!r} is no address: {error}") from None
    if not address.is_ascii:
        raise Refusal(f"the {what} {text!r} has characters beyond ASCII before its @")
    return address
