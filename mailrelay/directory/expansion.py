"""From an alias to those who get its mail, and who may write to it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import field, frozen

from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import Account, Directory, DomainDisabled, Foreign, NoSuchUser
from mailrelay.smtp.address import Address

DEEPEST = 10
"""Aliases in aliases: what is further in gets no mail."""


@frozen
class Member:
    """Somebody who gets a copy; ``key`` is the same for all addresses of one mailbox.

    What goes to another server returns to ``owner``, to nobody when there is none.
    """

    address: Address
    key: object
    is_external: bool = False
    owner: Address | None = None


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
    members: dict[object, Member] = {}
    trouble: list[NoSuchUser | DomainDisabled] = []
    addresses = set()
    for address, owner in _listed(directory, alias, alias.owner, {alias.id}, DEEPEST):
        addresses.add(directory.compared(address))
        found = directory.resolve(address)
        if isinstance(found, NoSuchUser | DomainDisabled):
            trouble.append(found)
        elif not isinstance(found, Alias):
            member = _member(directory, address, found, owner)
            members.setdefault(member.key, member)
    return Expansion(list(members.values()), trouble, frozenset(addresses))


def _member(directory: Directory, address: Address, found: object, owner: Address | None) -> Member:
    if isinstance(found, Account):
        return Member(address, found.id)
    if isinstance(found, Foreign):
        return Member(address, directory.compared(address), is_external=True, owner=owner)
    return Member(address, directory.compared(address))


def _listed(
    directory: Directory, alias: Alias, owner: Address | None, entered: set[int], depth: int
) -> Iterator[tuple[Address, Address | None]]:
    """Members of ``alias`` and of the aliases in it, each with whose failures are."""
    for address in alias.members:
        inner = directory.resolve(address)
        if not isinstance(inner, Alias):
            yield address, owner
        elif inner.id not in entered and not inner.disabled and depth > 1:
            entered.add(inner.id)
            yield from _listed(directory, inner, inner.owner or owner, entered, depth - 1)


def recipient_key(directory: Directory, address: Address) -> object:
    """The key of the member that ``address`` would be."""
    found = directory.resolve(address)
    return found.id if isinstance(found, Account) else directory.compared(address)


def may_post(
    directory: Directory, alias: Alias, expansion: Expansion, authors: Sequence[Address]
) -> bool:
    """Whether a message From ``authors`` is for ``alias``: whoever forges one is not found here."""
    known = expansion.addresses | {directory.compared(address) for address in alias.posters}
    for author in authors:
        is_own = alias.allow_from and directory.alias(author) == alias
        if not is_own and directory.compared(author) not in known:
            return alias.post_public
    return bool(authors) or alias.post_public
