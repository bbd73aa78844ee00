"""What an account sent, composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.control.errors import Refusal
from mailrelay.control.queue import QueueControl
from mailrelay.control.resend import Again
from mailrelay.directory.model import Account
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.sent import Resend, SentPages
from mailrelay.service.controls import Control
from mailrelay.service.resending import make_resender
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.send import Sender
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
    stores: Stores, pages: PageDoors, control: Callable[[str], Control], sender: Sender
) -> Sequence[Route]:
    """``/sent``."""
    resender = make_resender(stores, sender)
    resends = resender.control

    def queue(actor: str) -> QueueControl:
        return control(actor).queue

    return SentPages(pages, resends.history, queue, resends, page_resend(resender)).routes()
