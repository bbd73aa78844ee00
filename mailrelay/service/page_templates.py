"""The pages of templates, composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Account
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.templates import TemplatePages, Trial
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.service.page_sending import Sending
from mailrelay.web.request import Route
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.types import SendRequest
from mailrelay.webhooks.types import NameAddress


def template_routes(
    s: Surroundings,
    doors: Doors,
    page_doors: PageDoors,
    controls: Callable[[str], Control],
    sending: Sending,
) -> Sequence[Route]:
    """What is served of them."""
    return TemplatePages(
        page_doors,
        doors.directory,
        lambda actor: controls(actor).templates,
        _ToOneself(sending).send,
        s.workers,
    ).routes()


@frozen
class _ToOneself:
    """Sends test messages."""

    sending: Sending

    async def send(self, account: Account, peer_ip: str, trial: Trial) -> int | None:
        """See TemplatePages."""
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
            return await self.sending.send(Caller(account, trial.address, peer_ip), request)
        except APIError as error:
            raise Refusal(error.message) from None
