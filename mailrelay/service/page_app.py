"""The pages of an account's application, composed: suppressions, webhooks, keys."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.calls import CallControl
from mailrelay.control.directory import DirectoryControl
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.replay import ReplayControl
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.calls import CallPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.keys import KeyPages
from mailrelay.pages.suppression_files import SuppressionFilePages
from mailrelay.pages.suppressions import SuppressionPages
from mailrelay.pages.webhook import WebhookPage
from mailrelay.pages.webhooks import WebhookPages
from mailrelay.service.application import Doors, suppression_control
from mailrelay.service.server_controls import server_controls
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route


def app_routes(
    s: Surroundings, settings: Settings, stores: Stores, doors: Doors, pages: PageDoors
) -> Sequence[Route]:
    """What an account sets up for its application."""
    control, load = server_controls(s, settings, stores, doors), doors.load_directory
    lists = suppression_control(s, stores)

    def endpoints(actor: str) -> EndpointControl:
        return control(actor).endpoints

    def calls(actor: str) -> CallControl:
        return control(actor).calls

    def replays(actor: str) -> ReplayControl:
        return control(actor).replays

    def directory(actor: str) -> DirectoryControl:
        return control(actor).directory

    return [
        *SuppressionPages(pages, lists, doors.suppressed).routes(),
        *SuppressionFilePages(pages, lists, doors.suppressed).routes(),
        *WebhookPages(pages, endpoints, directory, calls, replays, load).routes(),
        *WebhookPage(pages, endpoints, replays, load).routes(),
        *CallPages(pages, endpoints, calls, replays).routes(),
        *KeyPages(pages, lambda actor: control(actor).keys, load).routes(),
    ]
