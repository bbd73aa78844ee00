"""The administrator's pages of the directory, the configuration and the audit log, composed."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.admin_accounts import AccountPages
from mailrelay.pages.admin_aliases import AdminAliasPages
from mailrelay.pages.admin_audit import AuditPages
from mailrelay.pages.admin_config import ConfigPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.service.page_domains import domain_routes
from mailrelay.storage.audit import DatabaseAudit
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route

PASSWORD_BYTES = 10


def directory_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    pages: PageDoors,
    control: Callable[[str], Control],
) -> Sequence[Route]:
    """What is served of it."""

    def fresh_password() -> str:
        return b32encode(bytes.fromhex(doors.token())[:PASSWORD_BYTES]).decode().lower()

    return [
        *domain_routes(s, settings, doors, pages, control),
        *AccountPages(pages, control, fresh_password, doors.load_directory).routes(),
        *AdminAliasPages(pages, lambda who: control(who).aliases, doors.load_directory).routes(),
        *ConfigPages(pages, doors.configuration).routes(),
        *AuditPages(pages, DatabaseAudit(stores.database), s.now).routes(),
    ]
