"""Unsubscribe links, composed: what makes them, and where they lead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.unsubscribe import PURPOSE, UnsubscribeLinks, Unsubscribing
from mailrelay.directory.model import Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.events import NewEvent
from mailrelay.policy.links import Links
from mailrelay.storage.stores import Stores
from mailrelay.storage.unsubscribe import DatabaseUnsubscribes
from mailrelay.web.intake import Intake
from mailrelay.web.request import Route
from mailrelay.webapi.unsubscribe import UnsubscribePages
from mailrelay.webapi.v1.one_click import OneClick


def make_one_click(settings: Settings, stores: Stores) -> OneClick:
    """What makes the links."""
    return OneClick(_links(settings, stores), stores.queue.new_id)


def unsubscribe_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    directory: Callable[[], Directory],
    committed: Callable[[Sequence[NewEvent]], None],
    intake: Intake,
) -> Sequence[Route]:
    """Where they lead.  ``committed`` is told of what was recorded."""
    records = DatabaseUnsubscribes(stores.database, committed)
    unsubscribing = Unsubscribing(_links(settings, stores), records, s.now)
    return UnsubscribePages(unsubscribing, directory, intake).routes()


def _links(settings: Settings, stores: Stores) -> UnsubscribeLinks:
    return UnsubscribeLinks(Links(stores.secret, PURPOSE), settings.http.public_url)
