"""Events that a peer pushes: what became of the mail that it took from us, as if we had asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from mailrelay.directory.peers import Peer
from mailrelay.peering.door import Claim, Door, Refusal, answer
from mailrelay.peering.told import Page, read_page
from mailrelay.web.request import Response

MOST_PAGE_BYTES = 1024 * 1024


@frozen
class Pushed:
    """``take`` records a page, and says up to where all is recorded."""

    door: Door
    take: Callable[[Peer, Page], Awaitable[int]]

    async def post(self, claim: Claim) -> Response:
        """Take a page of events.  Raises: Refusal."""
        pieces: list[bytes] = []
        verified = await self.door.verified(claim, MOST_PAGE_BYTES, pieces.append)
        page = read_page(b"".join(pieces))
        if page is None:
            raise Refusal(400, "the body is no page of events")
        return answer(200, {"cursor": await self.take(verified.peer, page)})
