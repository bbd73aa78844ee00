"""The pages of templates, composed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Account
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.templates import TemplatePages, Trial
from mailrelay.service.application import Doors, make_sender
from mailrelay.service.controls import Control
from mailrelay.storage.history import DatabaseHistory
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.types import SendRequest
from mailrelay.webhooks.types import NameAddress


def template_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    page_doors: PageDoors,
    controls: Callable[[str], Control],
) -> Sequence[Route]:
    """What is served of them."""
    return TemplatePages(
        page_doors,
        doors.directory,
        lambda actor: controls(actor).templates,
        _to_oneself(s, settings, stores, doors),
        s.workers,
    ).routes()


def _to_oneself(
    s: Surroundings, settings: Settings, stores: Stores, doors: Doors
) -> Callable[[Account, str, Trial], Awaitable[int]]:
    """What sends a test message, as the APIs send; the number of the message."""
    sender, history = make_sender(s, settings, stores, doors), DatabaseHistory(stores.database)

    async def send(account: Account, peer_ip: str, trial: Trial) -> int:
        oneself = NameAddress(name=account.full_name, address=trial.address)
        written = trial.written
        request = SendRequest(
            from_=[oneself],
            to=[oneself],
            subject=written.subject,
            text=written.text,
            html=written.html,
        )
        try:
            result = await sender.send(Caller(account, trial.address, peer_ip), request)
        except APIError as error:
            raise Refusal(error.message) from None
        found = await history.entry(account.id, result.submissions[0].queue_msg_id)
        assert found is not None
        return found.entry.message.id

    return send
