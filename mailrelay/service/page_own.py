"""What an account has of its own, on pages, composed."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.aliases import AliasPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.holds import HoldPages
from mailrelay.service.application import Doors
from mailrelay.service.server_controls import server_controls
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route


def own_routes(
    s: Surroundings, settings: Settings, stores: Stores, doors: Doors, page_doors: PageDoors
) -> Sequence[Route]:
    """Hold rules, aliases."""
    controls = server_controls(s, settings, stores, doors)
    return [
        *HoldPages(page_doors, lambda actor: controls(actor).holds).routes(),
        *AliasPages(page_doors, doors.directory).routes(),
    ]
