"""The administrator's pages of domains, composed; what looks their DNS up for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.dns_finding import CheckReport
from mailrelay.control.domain_checks import DomainChecks
from mailrelay.net.http import ClientSettings, HTTPAnswer, HTTPClient
from mailrelay.net.lookup import Lookups
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls
from mailrelay.pages.admin_domains import DomainPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.web.request import Route

FETCH_WITHIN = 20.0
"""Seconds."""

CHECKER = "server"
"""Who looks; a check changes nothing, so that no audit has it."""


def domain_routes(
    s: Surroundings,
    settings: Settings,
    doors: Doors,
    pages: PageDoors,
    control: Callable[[str], Control],
) -> Sequence[Route]:
    """What is served of domains.  A localserve looks nothing up."""
    lookups = None if settings.localserve else s.lookups
    checks = DomainChecks(None if lookups is None else _check(s, lookups, control), s.now)
    return DomainPages(pages, control, checks, doors.load_directory).routes()


def _check(
    s: Surroundings, lookups: Lookups, control: Callable[[str], Control]
) -> Callable[[str], Awaitable[CheckReport]]:
    tls = client_tls()

    async def check(domain: str) -> CheckReport:
        client = HTTPClient(s.reactor, s.clock, s.resolver, tls, ClientSettings())

        async def fetch(url: str) -> HTTPAnswer:
            return await client.call("GET", url, {}, b"", FETCH_WITHIN)

        try:
            return await control(CHECKER).dns.check(domain, lookups, fetch)
        finally:
            await client.close()

    return check
