"""The pages of an account's application, composed: suppressions, webhooks, keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.control.calls import CallControl
from mailrelay.control.directory import DirectoryControl
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.replay import ReplayControl
from mailrelay.control.suppression import SuppressionControl
from mailrelay.pages.calls import CallPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.keys import KeyPages
from mailrelay.pages.suppression_files import SuppressionFilePages
from mailrelay.pages.suppressions import SuppressionPages
from mailrelay.pages.webhook import WebhookPage
from mailrelay.pages.webhooks import WebhookPages
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.web.request import Route


def app_routes(
    doors: Doors, pages: PageDoors, control: Callable[[str], Control]
) -> Sequence[Route]:
    """What an account sets up for its application."""
    load = doors.load_directory

    def lists(actor: str) -> SuppressionControl:
        return control(actor).suppression

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
