"""Where a domain wants its reports: the records that say so, and whether others agree.  Pure but
for the look-ups.

Invariant: what is outside of the domain's organization gets a report of mail only if it says that
it wants them (RFC 7489 section 7.1): or anybody's mailbox could be filled.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import unquote

from attrs import field, frozen

from mailrelay.mailauth.dmarc_record import is_record, tags_of
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.net.resolver import NoSuchDomain
from mailrelay.smtp.address import Address, MalformedAddress

Texts = Callable[[str], Awaitable[Sequence[bytes]]]
SameOrganization = Callable[[str, str], Awaitable[bool]]

MOST_DESTINATIONS = 10
MOST_RECORD_BYTES = 4096

_TLSRPT = re.compile(rb"v[ \t]*=[ \t]*TLSRPTv1[ \t]*(?:;|$)")
_SIZE = re.compile(r"([0-9]{1,12})([kmgt]?)", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


@frozen
class Destination:
    """An address, or a URL.  ``most_bytes`` is what it takes, compressed; None for anything."""

    address: Address | None = None
    url: str | None = None
    most_bytes: int | None = None

    @property
    def domain(self) -> str:
        """Whose it is."""
        return self.address.domain if self.address is not None else parse_url(self.url or "").host

    def __str__(self) -> str:
        return str(self.address) if self.address is not None else str(self.url)


def destinations_in(text: str) -> Sequence[Destination]:
    """Those of a ``rua`` that we know how to reach; each once, and a few."""
    found = (_destination(one.strip()) for one in text.split(",")[: 4 * MOST_DESTINATIONS])
    return list(dict.fromkeys(one for one in found if one is not None))[:MOST_DESTINATIONS]


def _destination(uri: str) -> Destination | None:
    scheme, colon, rest = uri.partition(":")
    if not colon:
        return None
    if scheme.lower() == "https":
        try:
            parse_url(uri)
        except UnusableURL:
            return None
        return Destination(url=uri)
    if scheme.lower() != "mailto":
        return None
    # RFC 7489 section 6.2: a "!" of the address itself is encoded.
    rest, marked, limit = rest.partition("!")
    try:
        address = Address.parse(unquote(rest.partition("?")[0]))
    except MalformedAddress:
        return None
    size = _SIZE.fullmatch(limit.strip())
    if not address.domain or not address.is_ascii or (marked and size is None):
        return None
    most = int(size[1]) << _UNITS[size[2].lower()] if size is not None else None
    return Destination(address=address, most_bytes=most)


def _rua(record: bytes) -> Sequence[Destination]:
    return destinations_in(tags_of(record[:MOST_RECORD_BYTES]).get("rua", ""))


@frozen
class Wanted:
    """Asks DNS.  ``is_same_organization`` says of two domains whether one runs both."""

    texts: Texts
    is_same_organization: SameOrganization
    suppressed: frozenset[str] = field(default=frozenset())

    async def dmarc(self, domain: str) -> Sequence[Destination]:
        """Where reports of ``domain``'s mail go.  Raises: LookupFailed."""
        records = list(filter(is_record, await self._known(f"_dmarc.{domain}")))
        if len(records) != 1 or self._is_suppressed(domain):
            return []
        wanted = _rua(records[0])
        found: list[Destination] = []
        for one in wanted:
            if one.address is not None and not self._is_suppressed(one.domain):
                found += await self._agreed(domain, one)
        return list(dict.fromkeys(found))

    async def tls(self, domain: str) -> Sequence[Destination]:
        """Where reports about TLS with ``domain`` go (RFC 8460 section 3).  Raises: LookupFailed.

        Nobody else is asked: who has such a record is told of its own hosts.
        """
        records = list(filter(_TLSRPT.match, await self._known(f"_smtp._tls.{domain}")))
        if len(records) != 1 or self._is_suppressed(domain):
            return []
        wanted = _rua(records[0])
        return [one for one in wanted if not self._is_suppressed(one.domain)]

    async def _agreed(self, domain: str, wanted: Destination) -> Sequence[Destination]:
        """``wanted`` if its domain agrees, or what that has in its place in the same domain."""
        there = wanted.domain
        if there == domain or await self.is_same_organization(domain, there):
            return [wanted]
        records = list(filter(is_record, await self._known(f"{domain}._report._dmarc.{there}")))
        if not records:
            return []
        instead = _rua(records[0])
        return [one for one in instead if one.address and one.domain == there] or [wanted]

    async def _known(self, name: str) -> Sequence[bytes]:
        try:
            return await self.texts(name)
        except NoSuchDomain:
            return []

    def _is_suppressed(self, domain: str) -> bool:
        labels = domain.split(".")
        return any(".".join(labels[n:]) in self.suppressed for n in range(len(labels)))
