"""Somebody elsewhere, reached through an alias: ``alias+user=domain@ours``.  Pure."""

from __future__ import annotations

from mailrelay.directory.model import Directory
from mailrelay.smtp.address import MAX_LOCALPART_BYTES, Address, MalformedAddress


def through(directory: Directory, alias: Address, person: Address) -> Address | None:
    """The address by which an alias's members answer ``person``; None where it has no room."""
    separator = directory.domains[alias.domain].separator
    localpart = f"{alias.localpart}{separator}{person.localpart}={person.domain}"
    has_room = len(localpart.encode()) <= MAX_LOCALPART_BYTES
    if not (separator and person.domain and person.is_ascii and has_room):
        return None
    return Address(localpart, alias.domain)


def person_behind(directory: Directory, address: Address) -> Address | None:
    """Whom ``address``, which is an alias's, says behind the separator; None for nobody."""
    separator = directory.domains[address.domain].separator
    _, found, suffix = address.localpart.partition(separator) if separator else ("", "", "")
    localpart, equals, domain = suffix.rpartition("=")
    if not (found and equals and localpart):
        return None
    try:
        return Address.parse(str(Address(localpart, domain)))
    except MalformedAddress:
        return None
