"""Lists of addresses in DNS, such as of those that send spam (RFC 5782).

Invariant: an address is listed only where the list answers as lists do.  A resolver that invents
answers, and a list that refuses to answer, list nobody: they are faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.net.ip import unmapped
from mailrelay.net.resolver import LookupFailed, NoSuchDomain

LONGEST_TEXT = 300

_ANSWERS = ip_network("127.0.0.0/8")
_REFUSALS = ip_network("127.255.255.0/24")
"""What large lists answer to public resolvers, to mistyped zones and to who asks too much."""

_NEVER_LISTED = IPv4Address("127.0.0.1")
_ALWAYS_LISTED = IPv4Address("127.0.0.2")


class ListResolver(Protocol):
    """What is asked of DNS; see Resolver."""

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """The IP addresses of ``host``."""

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """The TXT records of ``name``."""


@frozen
class ListAnswer:
    """What a list says of an address: listed with ``codes``, not listed, or a ``fault``.

    ``text`` is the list's own words: printable, of LONGEST_TEXT characters at the most.
    """

    zone: str
    codes: Sequence[str] = ()  # such as 127.0.0.2; what each means is the list's to say
    text: str = ""
    fault: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether the address is on the list."""
        return bool(self.codes)


def list_name(ip: str, zone: str) -> str:
    """What is asked of ``zone`` about ``ip`` (RFC 5782 sections 2.1 and 2.4).

    Raises: ValueError, when ``ip`` is no address.
    """
    address = unmapped(ip)
    if isinstance(address, IPv4Address):
        parts = str(address).split(".")
    else:
        parts = list(address.exploded.replace(":", ""))
    return f"{'.'.join(reversed(parts))}.{zone}"


async def look_up(resolver: ListResolver, zone: str, ip: str, *, told: bool = True) -> ListAnswer:
    """What ``zone`` says of ``ip``; ``told`` asks for its words, too, when it is listed.

    Raises: ValueError, when ``ip`` is no address.
    """
    name = list_name(ip, zone)
    try:
        found = await resolver.addresses(name, ipv4=True, ipv6=False)
    except NoSuchDomain:
        return ListAnswer(zone)
    except LookupFailed as error:
        return ListAnswer(zone, fault=str(error))
    codes, fault = _read(found)
    if not codes:
        return ListAnswer(zone, fault=fault)
    return ListAnswer(zone, codes, await _text(resolver, name) if told else "")


async def zone_fault(resolver: ListResolver, zone: str) -> str:
    """Why ``zone`` is not to be believed now; "" when it is (RFC 5782 section 5).

    A list that gave up often lists the whole world, or nothing.
    """
    never = await look_up(resolver, zone, str(_NEVER_LISTED), told=False)
    if never.is_listed:
        return f"{zone} lists {_NEVER_LISTED}, as a list does that lists everybody"
    always = await look_up(resolver, zone, str(_ALWAYS_LISTED), told=False)
    if always.is_listed:
        return ""
    return always.fault or never.fault or f"{zone} does not list {_ALWAYS_LISTED}, as lists do"


def _read(found: Sequence[str]) -> tuple[Sequence[str], str]:
    """The codes of an answer, or what is wrong with it."""
    codes = []
    fault = ""
    for text in found:
        address = ip_address(text)
        if address in _REFUSALS:
            fault = f"the list refuses to answer: {address} (a public resolver, or too many asked)"
        elif address not in _ANSWERS or address == _NEVER_LISTED:
            fault = f"{address} is no answer of a list: does the resolver invent some?"
        else:
            codes.append(str(address))
    return ((), fault) if fault else (sorted(codes), "")


async def _text(resolver: ListResolver, name: str) -> str:
    try:
        texts = await resolver.texts(name)
    except (NoSuchDomain, LookupFailed):
        return ""
    said = b"; ".join(sorted(texts))[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in said)[:LONGEST_TEXT]
