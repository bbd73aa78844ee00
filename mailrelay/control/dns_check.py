"""``records`` and ``check``: what a domain's DNS should say, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults

from mailrelay.control.dns_finding import Asked, CheckReport, Fetch, Finding, Status
from mailrelay.control.dns_mail_checks import MAIL_CHECKS
from mailrelay.control.dns_policy_checks import POLICY_CHECKS
from mailrelay.control.dns_records import (
    MailHost,
    Published,
    Record,
    ReportAddresses,
    Topic,
    wanted_records,
)
from mailrelay.control.dns_tls_checks import TLS_CHECKS
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.mta_sts import mta_sts_id
from mailrelay.directory.model import Directory
from mailrelay.net.lookup import Lookups
from mailrelay.net.resolver import LookupFailed
from mailrelay.smtp.address import MalformedAddress, normal_domain

FROM_DNS = "DNS, for want of others: set [dns] addresses"

Check = Callable[[Asked], AsyncIterator[Finding]]


@frozen
class DNSControl:
    """What may be asked of domains' DNS.

    ``host`` tells of this server and whence it knows its addresses, for which it looks at files;
    where there are none, those of its name are taken.
    """

    load: Callable[[], Awaitable[Directory]]
    host: Callable[[], Awaitable[tuple[MailHost, str]]]
    reports: Callable[[str], ReportAddresses]
    validating: bool = False

    def over(self, load: Callable[[], Awaitable[Directory]]) -> DNSControl:
        """The same of what ``load`` gives."""
        return evolve(self, load=load)

    async def records(self, domain: str) -> Sequence[Record]:
        """What is to be published.  Raises: Refusal."""
        of, _ = await self._published(domain)
        return wanted_records(of)

    async def check(self, domain: str, lookups: Lookups, fetch: Fetch) -> CheckReport:
        """What is, compared with it; ``fetch`` gets the MTA-STS policy.  Raises: Refusal."""
        of, addresses_from = await self._published(domain)
        if not of.host.addresses:
            addresses = await _looked_up(lookups, of.host.hostname)
            of, addresses_from = evolve(of, host=evolve(of.host, addresses=addresses)), FROM_DNS
        records, ours = wanted_records(of), of.host.addresses
        asked = Asked(of, records, lookups, ours, fetch, self.validating)
        checks = (*MAIL_CHECKS, *POLICY_CHECKS, *TLS_CHECKS)
        working = [Deferred.fromCoroutine(_found(*check, asked)) for check in checks]
        groups = await gatherResults(working, consumeErrors=True)
        findings = [one for group in groups for one in group]
        return CheckReport(of.domain.name, asked.addresses, addresses_from, findings)

    async def _published(self, text: str) -> tuple[Published, str]:
        directory = await self.load()
        try:
            name = normal_domain(text)
        except MalformedAddress as error:
            raise Refusal(f"{text!r} cannot be a domain: {error}") from None
        domain = directory.domains.get(name)
        if domain is None:
            raise NoSuch(f"no domain {name}: mailrelay domain add {name}")
        keys = directory.dkim_keys.get(name, ())
        host, addresses_from = await self.host()
        policy_id = mta_sts_id(domain, [host.hostname])
        return Published(domain, keys, host, self.reports(name), policy_id), addresses_from


async def _looked_up(lookups: Lookups, hostname: str) -> Sequence[str]:
    found: list[str] = []
    for type_ in ("A", "AAAA"):
        try:
            found += (await lookups.find(hostname, type_)).values
        except LookupFailed:
            continue  # which is told where the names are checked
    return found


async def _found(topic: Topic, check: Check, asked: Asked) -> Sequence[Finding]:
    """What ``check`` finds, up to where DNS does not answer."""
    findings: list[Finding] = []
    try:
        async for one in check(asked):
            findings.append(one)
    except LookupFailed as error:
        findings.append(Finding(topic, asked.domain, "", Status.UNKNOWN, str(error)))
    return findings
