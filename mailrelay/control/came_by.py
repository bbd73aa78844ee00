"""By which alias a copy came to whom it is for, as operators are told.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from attrs import evolve, frozen

from mailrelay.directory.expansion import Member, reached
from mailrelay.directory.model import Directory
from mailrelay.queue.entry import NULL_PATH, Entry
from mailrelay.smtp.address import Address


class Kind(StrEnum):
    """What the address is now by which something came."""

    LIST = "list"
    ALIAS = "alias"
    ACCOUNT = "account"  # whose mail goes elsewhere
    GONE = "gone"  # it was one of these

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS = {
    Kind.LIST: "a list",
    Kind.ALIAS: "an alias",
    Kind.ACCOUNT: "an account's, whose mail goes elsewhere",
    Kind.GONE: "which passes nothing on any more",
}


@frozen
class CameBy:
    """The address that was written to, and who gets the copy: nobody when it is dropped."""

    address: Address
    kind: Kind
    member: Address | None

    @property
    def words(self) -> str:
        """For people: ``team@example.org, a list``."""
        return f"{self.address.unicode}, {self.kind.words}"


def came_by(directory: Directory, entry: Entry) -> CameBy | None:
    """How ``entry`` came to its recipient; None when that is whom the sender wrote to."""
    if entry.alias is None:
        return None
    member = None if entry.alias == entry.recipient else entry.recipient
    return CameBy(entry.alias, kind_of(directory, entry.alias), member)


def kind_of(directory: Directory, address: Address) -> Kind:
    """What ``address`` is now."""
    alias = directory.alias(address)
    if alias is not None:
        return Kind.LIST if alias.is_list else Kind.ALIAS
    return Kind.GONE if directory.forwarding(address) is None else Kind.ACCOUNT


def passed_on(directory: Directory, entry: Entry) -> Sequence[Entry]:
    """The entries of those to whom mail for ``entry``'s recipient is passed on."""
    if not directory.passes_on(entry.recipient):
        return []
    return [_to(entry, member) for member in reached(directory, entry.recipient).members]


def _to(entry: Entry, member: Member) -> Entry:
    passed = evolve(entry, recipient=member.address, alias=entry.recipient)
    if not member.is_external:
        return passed
    return evolve(passed, own_reverse_path=member.owner or NULL_PATH)
