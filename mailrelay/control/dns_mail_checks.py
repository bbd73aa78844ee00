"""Whether DNS says where mail goes, and from where it comes: names, MX, PTR, SPF."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address

from mailrelay.control.dns_finding import Asked, Finding, Status, finding, missing
from mailrelay.control.dns_records import Record, Topic
from mailrelay.mailauth.spf import SPFOutcome, SPFResult, check_host
from mailrelay.mailauth.spf_record import is_record
from mailrelay.net.lookup import Found

_STRANGERS = ("203.0.113.77", "2001:db8:ffff:ffff::77")
"""Addresses that nobody has (RFC 5737 section 3, RFC 3849 section 2)."""


async def check_host_names(asked: Asked) -> AsyncIterator[Finding]:
    """Each name of the server has our addresses."""
    for name in asked.of.host.names:
        wanted = asked.wanted(Topic.HOST, name)
        found = await asked.addresses_of(name)
        example = _example(wanted, name)
        if found.name != name:
            text = f"is an alias of {found.name}: a mail server's name has addresses of its own"
            yield finding(example, Status.WRONG, text, found.values, wanted)
        elif not found.values:
            yield missing(wanted or [example], f"{name} has no address: nobody finds the server")
        else:
            yield _compared(example, wanted, found, asked.addresses)


def _example(wanted: Sequence[Record], name: str) -> Record:
    return wanted[0] if wanted else Record(Topic.HOST, name, "A", "", "where the server is")


def _compared(
    example: Record, wanted: Sequence[Record], found: Found, ours: Sequence[str]
) -> Finding:
    there = {ip_address(value) for value in found.values}
    lacking = [one for one in ours if ip_address(one) not in there]
    if lacking:
        text = f"does not have our address {', '.join(lacking)}"
        return finding(example, Status.WRONG, text, found.values, wanted)
    strange = sorted(str(one) for one in there - {ip_address(one) for one in ours})
    if strange:
        text = (
            f"also has {', '.join(strange)}: remove it, or say that it is ours in [dns] addresses"
        )
        return finding(example, Status.WARNING, text, found.values, wanted)
    return finding(example, Status.OK, "has our addresses", found.values)


async def check_mx(asked: Asked) -> AsyncIterator[Finding]:
    """Mail comes here, by a name that is no alias (RFC 5321 section 5.1)."""
    [wanted] = asked.wanted(Topic.MX)
    found = await asked.find(asked.domain, "MX")
    if not found.values:
        yield missing([wanted], f"{asked.domain} has no MX record: {wanted.why}")
        return
    hosts = [value.split()[-1].rstrip(".").lower() for value in found.values]
    if hosts == [""]:
        text = "is a null MX, which says that the domain takes no mail"
        yield finding(wanted, Status.WRONG, text, found.values)
        return
    aliases, elsewhere = [], []
    for host in hosts:
        there = await asked.addresses_of(host)
        if there.name != host:
            aliases.append(host)
        if host != asked.of.host.hostname and not _shares(there.values, asked.addresses):
            elsewhere.append(host)
    yield finding(wanted, *_mx_verdict(hosts, aliases, elsewhere), found.values)


def _mx_verdict(
    hosts: Sequence[str], aliases: Sequence[str], elsewhere: Sequence[str]
) -> tuple[Status, str]:
    if aliases:
        text = f"{', '.join(aliases)} is an alias (CNAME): some servers do not send there"
        return Status.WRONG, text
    if len(elsewhere) == len(hosts):
        return Status.WRONG, f"mail goes to {', '.join(hosts)}, not to this server"
    if elsewhere:
        text = f"mail also goes to {', '.join(elsewhere)}: does that server pass it on to this one?"
        return Status.WARNING, text
    return Status.OK, "mail comes to this server"


def _shares(values: Sequence[str], ours: Sequence[str]) -> bool:
    return bool({ip_address(one) for one in values} & {ip_address(one) for one in ours})


async def check_pointers(asked: Asked) -> AsyncIterator[Finding]:
    """Each address points to the name we say in EHLO, which points back."""
    ehlo_name = asked.of.host.names[-1]
    for wanted in asked.wanted(Topic.PTR):
        address = next(
            one for one in asked.addresses if ip_address(one).reverse_pointer == wanted.name
        )
        found = await asked.find(wanted.name, "PTR")
        names = [value.rstrip(".").lower() for value in found.values]
        if not names:
            yield missing([wanted], f"{address} points to no name (PTR): {wanted.why}")
            continue
        confirmed = [
            name for name in names if _shares((await asked.addresses_of(name)).values, [address])
        ]
        if ehlo_name in confirmed:
            text = f"{address} points to {ehlo_name}, and back"
            yield finding(wanted, Status.OK, text, found.values)
        elif confirmed:
            text = f"{address} points to {confirmed[0]}, but EHLO says {ehlo_name}"
            yield finding(wanted, Status.WARNING, text, found.values)
        else:
            text = f"{address} points to {', '.join(names)}, which does not point back"
            yield finding(wanted, Status.WRONG, text, found.values)


async def check_spf(asked: Asked) -> AsyncIterator[Finding]:
    """Our addresses pass, nobody else does, and receivers can evaluate it."""
    for wanted in asked.wanted(Topic.SPF):
        found = await asked.find(wanted.name, "TXT")
        records = [value for value in found.values if is_record(value.encode("latin-1"))]
        if not records:
            yield missing([wanted], f"{wanted.name} has no SPF record: {wanted.why}")
        elif len(records) > 1:
            text = f"there are {len(records)} SPF records, and so none counts: leave one"
            yield finding(wanted, Status.WRONG, text, records)
        else:
            status, text = await _spf_verdict(asked, wanted)
            yield finding(wanted, status, text, records)


async def _spf_verdict(asked: Asked, wanted: Record) -> tuple[Status, str]:
    for address in asked.addresses:
        outcome = await _evaluated(asked, wanted.name, address)
        if outcome.result is SPFResult.TEMPERROR:
            return Status.UNKNOWN, outcome.reason
        if outcome.result is not SPFResult.PASS:
            text = f"mail from our address {address} gets {outcome.result}: {outcome.reason}"
            return Status.WRONG, text
    strangers = [one for one in _STRANGERS if one not in asked.addresses]
    verdicts = [await _stranger_verdict(asked, wanted.name, one) for one in strangers]
    order = (Status.WRONG, Status.UNKNOWN, Status.WARNING, Status.OK)
    return min(verdicts, key=lambda verdict: order.index(verdict[0]))


async def _stranger_verdict(asked: Asked, name: str, address: str) -> tuple[Status, str]:
    """What somebody gets whom no mechanism is for: all of the record is evaluated."""
    outcome = await _evaluated(asked, name, address)
    if outcome.result is SPFResult.TEMPERROR:
        return Status.UNKNOWN, outcome.reason
    if outcome.result is SPFResult.PERMERROR:
        return Status.WRONG, f"receivers cannot evaluate it: {outcome.reason}"
    if outcome.result is SPFResult.PASS:
        return Status.WRONG, f"anybody may send mail of {name}: end it with ~all"
    if outcome.result is SPFResult.NEUTRAL:
        return Status.WARNING, "it says nothing of other servers: end it with ~all"
    return Status.OK, "our addresses pass"


async def _evaluated(asked: Asked, name: str, address: str) -> SPFOutcome:
    helo = asked.of.host.names[-1]
    return await check_host(asked.lookups, address, f"postmaster@{name}", helo)


MAIL_CHECKS = (
    (Topic.HOST, check_host_names),
    (Topic.PTR, check_pointers),
    (Topic.MX, check_mx),
    (Topic.SPF, check_spf),
)
