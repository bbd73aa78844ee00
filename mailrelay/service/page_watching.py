"""The administrator's pages about the server itself, composed."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.certificates import CertificatePages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.lists import ListPages
from mailrelay.pages.reports import ReportPages
from mailrelay.service.application import Doors
from mailrelay.service.certificates import certificate_desk
from mailrelay.service.controls import Control
from mailrelay.web.request import Route


def watching_routes(
    s: Surroundings, settings: Settings, doors: Doors, page_doors: PageDoors, control: Control
) -> Sequence[Route]:
    """Certificates, lists that are watched, reports."""

    def domains() -> Sequence[str]:
        return sorted(doors.directory().domains)

    return [
        *CertificatePages(page_doors, certificate_desk(settings, s.now), s.workers).routes(),
        *ListPages(page_doors, control.listings, settings.dnsbl.watched).routes(),
        *ReportPages(page_doors, control.reports, domains, s.now).routes(),
    ]
