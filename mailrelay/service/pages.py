"""The pages, composed: sessions, the viewer, what an account sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from mailrelay.config.settings import Settings
from mailrelay.control.directory import ADMIN_PASSWORD_HASH
from mailrelay.control.sessions import Sessions
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.render import Renderer
from mailrelay.pages.statics import Statics
from mailrelay.service.application import Doors, make_sender
from mailrelay.service.controls import Control
from mailrelay.service.page_app import app_routes
from mailrelay.service.page_directory import directory_routes
from mailrelay.service.page_health import Watch, health_routes
from mailrelay.service.page_login import login_pages
from mailrelay.service.page_mail import mail_routes
from mailrelay.service.page_own import own_routes
from mailrelay.service.page_queue import queue_routes
from mailrelay.service.page_sending import Sending
from mailrelay.service.page_sent import sent_routes
from mailrelay.service.page_watching import watching_routes
from mailrelay.service.page_ways import way_routes
from mailrelay.service.usage import overview_routes
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.history import DatabaseHistory
from mailrelay.storage.sessions import DatabaseSessions
from mailrelay.storage.stores import Stores
from mailrelay.web.intake import Intake
from mailrelay.web.request import Route


def serves_pages(settings: Settings) -> bool:
    """Whether anybody can look at them."""
    return any(listener.pages for listener in settings.listener)


def page_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    intake: Intake,
    watch: Watch,
    control: Callable[[str], Control],
) -> Sequence[Route]:
    """What people see, where a listener serves it.  Blocks while templates are read, once."""
    if not serves_pages(settings):
        return []
    records = DatabaseDirectory(stores.database, s.now)

    def random(size: int) -> bytes:
        return bytes.fromhex(doors.token() + doors.token())[:size]

    def admin_hash() -> Deferred[str | None]:
        return records.setting(ADMIN_PASSWORD_HASH)

    sessions = Sessions(
        DatabaseSessions(stores.database),
        doors.directory,
        admin_hash,
        settings.pages,
        s.now,
        random,
    )
    renderer = Renderer(s.now)
    renderer.load()
    page_doors = PageDoors(sessions, renderer, intake)
    sender = make_sender(s, settings, stores, doors)
    sending = Sending(sender, DatabaseHistory(stores.database))
    routes = [
        *Statics(renderer.statics).routes(),
        *login_pages(s, settings, stores, doors, page_doors, control).routes(),
        *mail_routes(s, settings, stores, doors, page_doors, sending),
        *queue_routes(doors, page_doors, control),
        *sent_routes(stores, page_doors, control, sender),
        *overview_routes(s, stores, page_doors),
        *directory_routes(s, settings, stores, doors, page_doors, control),
        *app_routes(doors, page_doors, control),
        *way_routes(s, settings, doors, page_doors, control),
        *watching_routes(s, settings, doors, page_doors, control("")),
        *health_routes(s, settings, stores, watch, page_doors),
        *own_routes(s, doors, page_doors, control, sending),
    ]
    renderer.offer({route.path for route in routes})
    return routes
