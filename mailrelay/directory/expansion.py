"""From an alias to those who get its mail, and who may write to it.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field, frozen

from mailrelay.directory.aliases import Alias, Rewrite
from mailrelay.directory.model import Account, Directory, DomainDisabled, Foreign, NoSuchUser
from mailrelay.smtp.address import Address

DEEPEST = 10
"""Aliases in aliases: what is further in gets no mail."""


@frozen
class Member:
    """Somebody who gets a copy; ``key`` is the same for all addresses of one mailbox.

    What goes to another server returns to ``owner``; without one, ``rewrite`` says to whom.
    ``place`` is the alias that lists it, ``of_list`` the innermost one around it that is a list.
    """

    address: Address
    key: object
    is_external: bool = False
    owner: Address | None = None
    rewrite: Rewrite = Rewrite.NONE
    place: Alias | None = None
    of_list: Alias | None = None
    dmarc_fallback: bool = False  # Rewrite.ALIAS for what fails its author's DMARC from here
    requires_dkim: bool = False  # it gets what the author's domain has signed, and nothing else


@frozen
class Expansion:
    """Who gets a copy, once each, and what was found in place of those who cannot."""

    members: Sequence[Member] = ()
    trouble: Sequence[NoSuchUser | DomainDisabled] = ()
    addresses: frozenset[Address] = field(default=frozenset())  # of all members, as compared


def expand(directory: Directory, alias: Alias) -> Expansion:
    """Whom mail for ``alias`` goes to.

    An alias is entered once, so that a loop ends; a disabled one in another has no members.
    """
    walk = _Walk(directory)
    walk.enter(alias, _Way().within(alias), DEEPEST)
    return walk.expansion()


def forwarded(directory: Directory, account: Account, address: Address) -> Expansion:
    """Whom mail for ``address``, which is of ``account``, goes to: that is never nobody."""
    walk = _Walk(directory)
    walk.forward(account, Member(address, account.id), DEEPEST)
    return walk.expansion()


def reached(directory: Directory, address: Address) -> Expansion:
    """Whom mail for ``address`` goes to, whatever it is."""
    walk = _Walk(directory)
    walk.go(address, _Way(), DEEPEST)
    return walk.expansion()


@frozen
class _Way:
    """What is said of those behind it: by the innermost alias that says it."""

    owner: Address | None = None
    rewrite: Rewrite = Rewrite.NONE
    place: Alias | None = None  # the innermost of all
    of_list: Alias | None = None
    dmarc_fallback: bool = False
    requires_dkim: bool = False

    def within(self, alias: Alias) -> _Way:
        """Behind ``alias``."""
        rewrite = self.rewrite if alias.rewrite is Rewrite.NONE else alias.rewrite
        of_list = alias if alias.is_list else self.of_list
        return _Way(
            alias.owner or self.owner,
            rewrite,
            alias,
            of_list,
            self.dmarc_fallback or alias.dmarc_fallback,
            self.requires_dkim or alias.requires_dkim,
        )


@define
class _Walk:
    """From one address to the next.  Aliases and accounts are entered once, so that loops end."""

    directory: Directory
    entered: set[object] = field(factory=set)
    members: dict[object, Member] = field(factory=dict)
    trouble: list[NoSuchUser | DomainDisabled] = field(factory=list)
    addresses: set[Address] = field(factory=set)

    def expansion(self) -> Expansion:
        """What was found."""
        return Expansion(list(self.members.values()), self.trouble, frozenset(self.addresses))

    def enter(self, alias: Alias, way: _Way, depth: int) -> bool:
        """Go to the members; whether anybody gets the mail, here or by another way."""
        self.entered.add(alias.address)
        return any([self.go(address, way, depth) for address in alias.members])

    def forward(self, account: Account, own: Member, depth: int) -> bool:
        """Go where an account's mail goes.  Where that is nowhere, it stays."""
        self.entered.add(account.id)
        assert account.forward_to is not None
        if account.forward_keeps_copy:
            self._reach(own)
        way = _Way(rewrite=Rewrite.SRS, of_list=own.of_list)
        gone = self.go(account.forward_to, way, depth - 1)
        return gone or self._reach(own)

    def go(self, address: Address, way: _Way, depth: int) -> bool:
        """Go to ``address``; see ``enter``."""
        found = self.directory.resolve(address)
        if isinstance(found, Alias):
            if found.address in self.entered or found.disabled or depth <= 1:
                return False
            return self.enter(found, way.within(found), depth - 1)
        self.addresses.add(self.directory.compared(address))
        if isinstance(found, NoSuchUser | DomainDisabled):
            self.trouble.append(found)
            return False
        member = _member(self.directory, address, found, way)
        if isinstance(found, Account) and found.forward_to is not None and depth > 1:
            return found.id not in self.entered and self.forward(found, member, depth)
        return self._reach(member)

    def _reach(self, member: Member) -> bool:
        self.members.setdefault(member.key, member)
        return True


def _member(directory: Directory, address: Address, found: object, way: _Way) -> Member:
    key = found.id if isinstance(found, Account) else directory.compared(address)
    member = Member(address, key, place=way.place, of_list=way.of_list)
    if isinstance(found, Foreign):
        return evolve(
            member,
            is_external=True,
            owner=way.owner,
            rewrite=way.rewrite,
            dmarc_fallback=way.dmarc_fallback,
            requires_dkim=way.requires_dkim,
        )
    return member


def recipient_key(directory: Directory, address: Address) -> object:
    """The key of the member that ``address`` would be."""
    found = directory.resolve(address)
    return found.id if isinstance(found, Account) else directory.compared(address)


def may_post(
    directory: Directory, alias: Alias, expansion: Expansion, authors: Sequence[Address]
) -> bool:
    """Whether a message From ``authors`` is for ``alias``: whoever forges one is not found here."""
    return alias.post_public or are_members(directory, alias, expansion, authors)


def are_members(
    directory: Directory, alias: Alias, expansion: Expansion, authors: Sequence[Address]
) -> bool:
    """Whether all ``authors`` are among those who may write to ``alias`` if not everybody may."""
    known = expansion.addresses | {directory.compared(address) for address in alias.posters}
    for author in authors:
        is_own = alias.allow_from and directory.alias(author) == alias
        if not is_own and directory.compared(author) not in known:
            return False
    return bool(authors)
