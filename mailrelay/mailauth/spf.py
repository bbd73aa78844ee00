"""SPF: whether a host may send mail for a domain (RFC 7208).

Invariants: at most 10 terms that need DNS are evaluated, of which at most two find nothing; at most
10 hosts of an MX record, and 10 names of an address, are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network

from attrs import define, field, frozen

from mailrelay.mailauth.names import is_domain, is_within
from mailrelay.mailauth.spf_macros import MalformedMacro, expand, letters_in
from mailrelay.mailauth.spf_record import (
    MalformedRecord,
    Mechanism,
    Record,
    is_record,
    parse_record,
)
from mailrelay.net.ip import unmapped
from mailrelay.net.resolver import LookupFailed, NoSuchDomain, Resolver

MOST_LOOKUPS = 10
MOST_VOID = 2
MOST_NAMES = 10
DEFAULT_EXPLANATION = "the domain's SPF record does not name this host"


class SPFResult(StrEnum):
    """What is known of host and domain (RFC 7208 section 2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_OF_QUALIFIER = {
    "+": SPFResult.PASS,
    "-": SPFResult.FAIL,
    "~": SPFResult.SOFTFAIL,
    "?": SPFResult.NEUTRAL,
}


@frozen
class SPFOutcome:
    """A result and the reason for it: the mechanism that matched, or what is wrong.

    ``explanation`` is the domain's own words about a fail: text from outside.
    """

    result: SPFResult
    reason: str = ""
    explanation: str = ""


class _Ended(Exception):
    """The evaluation has its outcome, wherever it stands."""

    def __init__(self, result: SPFResult, reason: str) -> None:
        super().__init__(reason)
        self.outcome = SPFOutcome(result, reason)


async def check_host(
    resolver: Resolver,
    ip: str,
    sender: str,
    helo: str,
    *,
    receiver: str = "unknown",
    now: Callable[[], float] = lambda: 0.0,
) -> SPFOutcome:
    """Whether the host at ``ip``, which said ``helo``, may send for ``sender``, "" when null."""
    localpart, _, domain = sender.rpartition("@")
    asked = _Asked(
        resolver,
        unmapped(ip),
        f"{localpart or 'postmaster'}@{domain or helo}",
        helo,
        receiver,
        now,
    )
    try:
        return await asked.evaluate(domain or helo)
    except _Ended as ended:
        return ended.outcome


@define
class _Asked:
    """One evaluation, and what it may still look up."""

    resolver: Resolver
    ip: IPv4Address | IPv6Address
    sender: str
    helo: str
    receiver: str
    now: Callable[[], float]
    lookups: int = field(default=0, init=False)
    void: int = field(default=0, init=False)

    async def evaluate(self, domain: str, *, included: bool = False) -> SPFOutcome:
        """What the record of ``domain`` says.  Raises: _Ended."""
        record = await self._record(domain)
        if record is None:
            return SPFOutcome(SPFResult.NONE, f"{domain} has no SPF record")
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                result = _OF_QUALIFIER[mechanism.qualifier]
                explains = result is SPFResult.FAIL and not included
                explanation = await self._explanation(record, domain) if explains else ""
                named = f"{mechanism.name} of {domain} matches"
                return SPFOutcome(result, named, explanation)
        if record.redirect is not None:
            return await self._redirected(record.redirect, domain, included)
        return SPFOutcome(SPFResult.NEUTRAL, f"no mechanism of {domain} matches")

    async def _redirected(self, redirect: str, domain: str, included: bool) -> SPFOutcome:
        self._count()
        target = await self._expanded(redirect, domain)
        outcome = await self.evaluate(target, included=included)
        if outcome.result is SPFResult.NONE:
            raise _Ended(SPFResult.PERMERROR, f"redirect={target}, which has no SPF record")
        return outcome

    async def _record(self, domain: str) -> Record | None:
        if not is_domain(domain):
            return None
        try:
            texts = await self.resolver.texts(domain)
        except NoSuchDomain:
            return None
        except LookupFailed as error:
            raise _Ended(SPFResult.TEMPERROR, str(error)) from None
        records = [text for text in texts if is_record(text)]
        if len(records) > 1:
            raise _Ended(SPFResult.PERMERROR, f"{domain} has {len(records)} SPF records")
        try:
            return parse_record(records[0]) if records else None
        except MalformedRecord as error:
            raise _Ended(SPFResult.PERMERROR, f"the SPF record of {domain}: {error}") from None

    # Mechanisms

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        name = mechanism.name
        if name == "all":
            return True
        if mechanism.network is not None:
            return self.ip in mechanism.network
        self._count()
        target = await self._expanded(mechanism.domain, domain) if mechanism.domain else domain
        if name == "include":
            return await self._included(target)
        if name == "ptr":
            return await self._pointed(target)
        if not is_domain(target):
            return False
        if name == "exists":
            return bool(await self._addresses(target, ipv4=True))
        if name == "mx":
            return await self._by_mx(mechanism, target)
        return self._is_in(mechanism, await self._addresses(target))

    async def _included(self, target: str) -> bool:
        outcome = await self.evaluate(target, included=True)
        if outcome.result is SPFResult.NONE:
            raise _Ended(SPFResult.PERMERROR, f"include:{target}, which has no SPF record")
        return outcome.result is SPFResult.PASS

    async def _by_mx(self, mechanism: Mechanism, target: str) -> bool:
        try:
            hosts = await self.resolver.mx_hosts(target)
        except NoSuchDomain:
            hosts = []
        except LookupFailed as error:
            raise _Ended(SPFResult.TEMPERROR, str(error)) from None
        if not hosts:
            self._count_void()
        if len(hosts) > MOST_NAMES:
            raise _Ended(SPFResult.PERMERROR, f"{target} has more than {MOST_NAMES} MX records")
        for host in hosts:
            if is_domain(host.host) and self._is_in(mechanism, await self._addresses(host.host)):
                return True
        return False

    async def _pointed(self, target: str) -> bool:
        return any(is_within(name, target) for name in await self._validated())

    async def _validated(self) -> Sequence[str]:
        """Names that the address points to, and that point back at it."""
        try:
            names = await self.resolver.pointers(str(self.ip))
        except (NoSuchDomain, LookupFailed):
            return []
        found = []
        for name in names[:MOST_NAMES]:
            try:
                addresses = await self._looked_up(name)
            except (NoSuchDomain, LookupFailed):
                continue
            if self.ip in [unmapped(one) for one in addresses]:
                found.append(name.rstrip("."))
        return found

    def _is_in(self, mechanism: Mechanism, addresses: Iterable[str]) -> bool:
        bits = mechanism.ipv4_bits if self.ip.version == 4 else mechanism.ipv6_bits
        return any(self.ip in ip_network(f"{one}/{bits}", strict=False) for one in addresses)

    # DNS

    async def _looked_up(self, name: str) -> Sequence[str]:
        is_ipv4 = self.ip.version == 4
        return await self.resolver.addresses(name, ipv4=is_ipv4, ipv6=not is_ipv4)

    async def _addresses(self, name: str, *, ipv4: bool | None = None) -> Sequence[str]:
        """Addresses of the family of ours, or of IPv4.  Raises: _Ended."""
        is_ipv4 = self.ip.version == 4 if ipv4 is None else ipv4
        try:
            found = await self.resolver.addresses(name, ipv4=is_ipv4, ipv6=not is_ipv4)
        except NoSuchDomain:
            found = []
        except LookupFailed as error:
            raise _Ended(SPFResult.TEMPERROR, str(error)) from None
        if not found:
            self._count_void()
        return found

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MOST_LOOKUPS:
            raise _Ended(SPFResult.PERMERROR, f"more than {MOST_LOOKUPS} look-ups")

    def _count_void(self) -> None:
        self.void += 1
        if self.void > MOST_VOID:
            raise _Ended(SPFResult.PERMERROR, f"more than {MOST_VOID} look-ups found nothing")

    # Macros

    async def _expanded(self, text: str, domain: str, *, explains: bool = False) -> str:
        values = await self._values(letters_in(text), domain)
        expanded = expand(text, values, explains=explains)
        return expanded if explains else _short_enough(expanded.rstrip("."))

    async def _values(self, letters: frozenset[str], domain: str) -> dict[str, str]:
        localpart, _, sender_domain = self.sender.rpartition("@")
        values = {
            "s": self.sender,
            "l": localpart,
            "o": sender_domain,
            "d": domain,
            "i": _dotted(self.ip),
            "v": "in-addr" if self.ip.version == 4 else "ip6",
            "h": self.helo,
            "c": str(self.ip),
            "r": self.receiver,
            "t": str(int(self.now())),
        }
        if "p" in letters:
            values["p"] = _best_name(await self._validated(), domain)
        return values

    async def _explanation(self, record: Record, domain: str) -> str:
        """The domain's words, or ours where it has none that can be read."""
        if record.explanation is None:
            return DEFAULT_EXPLANATION
        try:
            texts = await self.resolver.texts(await self._expanded(record.explanation, domain))
            [text] = texts
            expanded = await self._expanded(text.decode("ascii"), domain, explains=True)
        except (NoSuchDomain, LookupFailed, MalformedMacro, ValueError):
            return DEFAULT_EXPLANATION
        return expanded


def _dotted(ip: IPv4Address | IPv6Address) -> str:
    if ip.version == 4:
        return str(ip)
    return ".".join(ip.exploded.replace(":", "")).upper()


def _best_name(names: Sequence[str], domain: str) -> str:
    """The domain itself, else what is below it, else any."""
    itself = [name for name in names if name.lower() == domain.lower()]
    below = [name for name in names if is_within(name, domain)]
    return next(iter([*itself, *below, *names]), "unknown")


def _short_enough(name: str) -> str:
    """``name`` without as many labels at its left as it has too many."""
    while len(name) > 253 and "." in name:
        name = name.partition(".")[2]
    return name
