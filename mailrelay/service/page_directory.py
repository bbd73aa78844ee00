"""The administrator's pages of the directory, the configuration and the audit log, composed."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.admin_audit import AuditPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.service.application import Doors
from mailrelay.storage.audit import DatabaseAudit
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route


def directory_routes(
    s: Surroundings, settings: Settings, stores: Stores, doors: Doors, pages: PageDoors
) -> Sequence[Route]:
    """What is served of it."""
    return [*AuditPages(pages, DatabaseAudit(stores.database), s.now).routes()]
