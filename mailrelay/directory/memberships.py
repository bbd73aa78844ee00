"""From an account to the aliases that it gets mail by.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import CATCH_ALL, Account, Directory
from mailrelay.smtp.address import Address


def memberships(directory: Directory, account: Account) -> Sequence[Alias]:
    """Those that list an address of ``account``, and those that list one of these; by address.

    A disabled one has members, but leads to none for those around it.
    """
    found: dict[int, Alias] = {}
    todo = list(_listed(directory, account))
    while todo:
        alias = todo.pop()
        if alias.id not in found:
            found[alias.id] = alias
            if not alias.disabled:
                todo += directory.listing.get(alias.address, ())
    return sorted(found.values(), key=str)


def _listed(directory: Directory, account: Account) -> Iterable[Alias]:
    own = [key for key, owner in directory.addresses.items() if owner == account.id]
    for key in own:
        yield from directory.listing.get(Address(*key), ())
    domains = {domain for localpart, domain in own if localpart == CATCH_ALL}
    if domains:
        for member, aliases in directory.listing.items():
            if member.domain in domains and directory.resolve(member) == account:
                yield from aliases
