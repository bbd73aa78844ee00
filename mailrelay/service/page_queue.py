"""The administrator's pages of the queue, and of works, composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.control.destinations import LiveControl
from mailrelay.control.queue_works import QueueChanger, QueueWorkControl
from mailrelay.pages.admin_queue import QueueAsked, QueuePages
from mailrelay.pages.admin_works import WorkPages
from mailrelay.pages.destinations import DestinationPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.web.request import Route


def queue_routes(
    doors: Doors, page_doors: PageDoors, control: Callable[[str], Control]
) -> Sequence[Route]:
    """What waits, what is done to much of it, and where it goes."""

    def asked(actor: str) -> QueueAsked:
        of = control(actor)
        changes = QueueWorkControl(QueueChanger(of.queue, of.transports), of.works)
        return QueueAsked(of.queue, of.transports, of.works, changes)

    def live(actor: str) -> LiveControl:
        of = control(actor)
        return LiveControl(of.destinations, doors.live, asked(actor).changes, doors.directory)

    return [
        *QueuePages(page_doors, asked, doors.explain).routes(),
        *WorkPages(page_doors, lambda actor: control(actor).works).routes(),
        *DestinationPages(page_doors, live).routes(),
    ]
