"""Where the link leads by which an address confirms that it gets an account's mail.

A GET asks, a POST confirms: programs that look at every link in a message change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from attrs import frozen

from mailrelay.control.forwarding import Confirming, Forward
from mailrelay.directory.model import Directory
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.request import Request, Response, Route
from mailrelay.webapi.unsubscribe import HEADERS, not_allowed, not_now, not_ours, page

PATH = "/forward/*"


@frozen
class ForwardPages:
    """The pages of a link."""

    confirming: Confirming
    directory: Callable[[], Directory]

    def routes(self) -> list[Route]:
        """Everything below PATH: the token is in no log, whatever is asked of it."""
        return [Route((), PATH, self._get, HEADERS, is_secret=True)]

    async def _get(self, request: Request) -> Response:
        of = self._forward(request)
        if of is None:
            return not_ours()
        if request.method == "POST":
            return await self._confirm(of)
        if request.method not in ("GET", "HEAD"):
            return not_allowed()
        button = '<form method="post"><button type="submit">Forward</button></form>'
        return page(200, "Forward mail", f"<p>{self._what(of)}?</p>{button}")

    async def _confirm(self, of: Forward) -> Response:
        what = self._what(of)  # the account may be gone behind the commit
        try:
            is_confirmed = await self.confirming.confirm(of)
        except StoreUnavailable:
            return not_now()
        return page(200, "Confirmed", f"<p>{what}.</p>") if is_confirmed else not_ours()

    def _forward(self, request: Request) -> Forward | None:
        """What is still asked for."""
        of = self.confirming.read(request.params["*"])
        account = self.directory().accounts.get(of.account_id) if of is not None else None
        if of is None or account is None:
            return None
        return of if of.address in (account.forward_to, account.forward_asked) else None

    def _what(self, of: Forward) -> str:
        name = self.directory().accounts[of.account_id].name
        address = f"<strong>{escape(of.address.unicode)}</strong>"
        return f"Mail of account {escape(name)} is forwarded to {address}"
