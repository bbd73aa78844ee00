"""Forwarding of accounts, composed: what a command asks, and where the link leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.forwarding import PURPOSE, Confirming, ForwardControl, ForwardLinks
from mailrelay.directory.model import Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.policy.links import Links
from mailrelay.queue.report import Sign, unsigned
from mailrelay.storage.forwards import DatabaseForwards
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route
from mailrelay.webapi.forwarding import ForwardPages


def forward_control(
    settings: Settings,
    records: DatabaseForwards,
    secret: bytes,
    now: Callable[[], float],
    actor: str,
    sign: Sign = unsigned,
) -> ForwardControl:
    """What an operator asks."""
    return ForwardControl(records, _links(settings, secret), settings.hostname, now, actor, sign)


def forward_routes(
    s: Surroundings, settings: Settings, stores: Stores, directory: Callable[[], Directory]
) -> Sequence[Route]:
    """Where the links lead."""
    records = DatabaseForwards(stores.database, stores.ids, stores.node, s.now)
    confirming = Confirming(_links(settings, stores.secret), records, s.now)
    return ForwardPages(confirming, directory).routes()


def _links(settings: Settings, secret: bytes) -> ForwardLinks:
    return ForwardLinks(Links(secret, PURPOSE), settings.http.public_url)
