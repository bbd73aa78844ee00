"""Whether the name that an address has leads back to it (RFC 8601 section 3)."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address

from attrs import frozen

from mailrelay.mailauth.names import is_domain
from mailrelay.net.resolver import LookupFailed, NoSuchDomain, Resolver

MOST_NAMES = 3
"""Of an address that are looked up."""


class Iprev(StrEnum):
    """What is known (RFC 8601 section 2.7.3)."""

    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@frozen
class HostName:
    """``name`` is the one that leads back."""

    result: Iprev
    name: str = ""
    reason: str = ""


async def name_of(resolver: Resolver, ip: str) -> HostName:
    """What the host at ``ip`` is called."""
    try:
        names = [name for name in await resolver.pointers(ip) if is_domain(name)]
        if not names:
            return HostName(Iprev.PERMERROR, reason=f"{ip} has no name")
        for name in names[:MOST_NAMES]:
            if await _leads_back(resolver, name, ip):
                return HostName(Iprev.PASS, name)
    except NoSuchDomain:
        return HostName(Iprev.PERMERROR, reason=f"{ip} has no name")
    except LookupFailed as error:
        return HostName(Iprev.TEMPERROR, reason=str(error))
    return HostName(Iprev.FAIL, reason=f"{names[0]} does not lead back to {ip}")


async def _leads_back(resolver: Resolver, name: str, ip: str) -> bool:
    own = ip_address(ip)
    try:
        found = await resolver.addresses(name, ipv4=own.version == 4, ipv6=own.version == 6)
    except NoSuchDomain:
        return False
    return own in map(ip_address, found)
