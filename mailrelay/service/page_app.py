"""The pages of an account's application, composed: suppressions, webhooks, keys."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.keys import KeyPages
from mailrelay.pages.suppression_files import SuppressionFilePages
from mailrelay.pages.suppressions import SuppressionPages
from mailrelay.service.application import Doors, suppression_control
from mailrelay.service.server_controls import server_controls
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route


def app_routes(
    s: Surroundings, settings: Settings, stores: Stores, doors: Doors, pages: PageDoors
) -> Sequence[Route]:
    """What an account sets up for its application."""
    control = server_controls(s, settings, stores, doors)
    keys = KeyPages(pages, lambda actor: control(actor).keys, doors.load_directory)
    lists = suppression_control(s, stores)
    return [
        *SuppressionPages(pages, lists, doors.suppressed).routes(),
        *SuppressionFilePages(pages, lists, doors.suppressed).routes(),
        *keys.routes(),
    ]
