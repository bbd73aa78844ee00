"""Logging in at the pages, composed."""

from __future__ import annotations

from collections.abc import Callable

from mailrelay.config.settings import Settings
from mailrelay.control.second_factor import FIRST_STEP, FirstSteps
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.login import LoginPages
from mailrelay.policy.links import Links
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.storage.stores import Stores

HINT = "On a laptop: mailrelay@localhost, and the password that localserve printed."


def login_pages(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    page_doors: PageDoors,
    control: Callable[[str], Control],
) -> LoginPages:
    """Password, and a code where one is asked for."""
    factors = control("login").second_factors
    steps = FirstSteps(Links(stores.secret, FIRST_STEP), s.now)
    hint = HINT if settings.localserve else ""
    return LoginPages(page_doors, doors.authenticator, factors, steps, hint)
