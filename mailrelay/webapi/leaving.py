"""Where the link of a list leads (RFC 8058): a POST takes the member off, a GET asks."""

from __future__ import annotations

from html import escape

from attrs import frozen

from mailrelay.control.membership import PATH, MemberControl, Membership
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.intake import Intake
from mailrelay.web.request import Request, Response, Route
from mailrelay.webapi.unsubscribe import (
    HEADERS,
    is_one_click,
    not_allowed,
    not_now,
    not_ours,
    not_understood,
    page,
    question,
)


@frozen
class LeavingPages:
    """The pages of a link."""

    members: MemberControl
    intake: Intake

    def routes(self) -> list[Route]:
        """Everything below PATH: the token is in no log, whatever is asked of it."""
        return [Route((), f"{PATH}*", self._page, HEADERS, is_secret=True)]

    async def _page(self, request: Request) -> Response:
        of = self.members.read(request.params["*"])
        if of is None:
            return not_ours()
        if request.method == "POST":
            return await self._leave(request, of)
        if request.method not in ("GET", "HEAD"):
            return not_allowed()
        return question(f"{_whom(of)} gets no more mail?")

    async def _leave(self, request: Request, of: Membership) -> Response:
        if not await is_one_click(request, self.intake):
            return not_understood()
        try:
            await self.members.leave(of)
        except StoreUnavailable:
            return not_now()
        return page(200, "Unsubscribed", f"<p>{_whom(of)} gets no more mail.</p>")


def _whom(of: Membership) -> str:
    member, alias = escape(of.member.unicode), escape(of.alias.unicode)
    return f"<strong>{member}</strong> on the list {alias}"
