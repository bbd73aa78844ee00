"""What an account sent, composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.control.queue import QueueControl
from mailrelay.control.resend import Again
from mailrelay.directory.model import Account
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.sent import Resend, SentPages
from mailrelay.service.application import Doors, make_sender
from mailrelay.service.resending import make_resender
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.problems import Problem
from mailrelay.webapi.v1.resend import Resender


def page_resend(resender: Resender) -> Resend:
    """What sends again for somebody who looks at a page."""

    async def resend(account: Account, peer_ip: str, again: Again) -> int:
        caller = Caller(account, str(again.from_), peer_ip)
        try:
            accepted = await resender.resend(caller, again)
        except Problem as problem:
            raise Refusal(problem.detail) from None
        return accepted.message.id

    return resend


def sent_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    pages: PageDoors,
    queue: Callable[[str], QueueControl],
) -> Sequence[Route]:
    """``/sent``."""
    resender = make_resender(stores, make_sender(s, settings, stores, doors))
    control = resender.control
    sent = SentPages(pages, control.history, queue, control, page_resend(resender))
    return sent.routes()
