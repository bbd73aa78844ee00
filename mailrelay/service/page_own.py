"""What an account has of its own, on pages, composed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.admin_security import AdminSecurityPages
from mailrelay.pages.aliases import AliasPages
from mailrelay.pages.door import Asked
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.holds import HoldPages
from mailrelay.pages.security import FOR_ACCOUNT, FOR_ADMIN, Security, SecurityPages
from mailrelay.pages.settings import SettingsPages
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.service.page_sending import Sending
from mailrelay.service.page_templates import template_routes
from mailrelay.web.request import Route


def own_routes(
    s: Surroundings,
    doors: Doors,
    page_doors: PageDoors,
    controls: Callable[[str], Control],
    sending: Sending,
) -> Sequence[Route]:
    """Hold rules, aliases, templates, settings, and the administrator's login."""
    return [
        *HoldPages(page_doors, lambda actor: controls(actor).holds).routes(),
        *AliasPages(page_doors, doors.directory).routes(),
        *template_routes(s, doors, page_doors, controls, sending),
        *_settings(s, doors, page_doors, controls),
        *_admin_security(s, doors, page_doors, controls),
    ]


def _settings(
    s: Surroundings, doors: Doors, page_doors: PageDoors, controls: Callable[[str], Control]
) -> Sequence[Route]:
    def security(asked: Asked) -> Awaitable[Security]:
        return login.shown(asked)

    own = SettingsPages(
        page_doors,
        doors.directory,
        lambda actor: controls(actor).directory,
        controls("").accounts.use,
        doors.load_directory,
        security,
    )
    login = SecurityPages(
        FOR_ACCOUNT,
        page_doors,
        doors.authenticator,
        lambda actor: controls(actor).second_factors,
        own.set_password,
        s.workers,
        own.page,
    )
    return [*own.routes(), *login.routes()]


def _admin_security(
    s: Surroundings, doors: Doors, page_doors: PageDoors, controls: Callable[[str], Control]
) -> Sequence[Route]:
    def security(asked: Asked) -> Awaitable[Security]:
        return login.shown(asked)

    async def set_password(asked: Asked, password: str) -> None:
        await controls(asked.actor).directory.set_admin_password(password)

    pages = AdminSecurityPages(page_doors, security)
    login = SecurityPages(
        FOR_ADMIN,
        page_doors,
        doors.authenticator,
        lambda actor: controls(actor).second_factors,
        set_password,
        s.workers,
        pages.page,
    )
    return [*pages.routes(), *login.routes()]
