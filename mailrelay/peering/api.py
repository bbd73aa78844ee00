"""The routes of mailrelay/1: what peers ask of us, and what they tell unasked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from attrs import frozen

from mailrelay.peering.blocking import Blocking
from mailrelay.peering.door import Claim, Door, answer
from mailrelay.peering.feed import MOST_EVENTS, Feed
from mailrelay.peering.pushed import Pushed
from mailrelay.peering.taking import Taking
from mailrelay.web.request import Response, Route

BASE = "/relay/v1"
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Of every answer: peers are no browsers."""

FEATURES = ("events", "suppressions", "cancel", "not_before", "expires_at", "require_tls")


@frozen
class PeerAPI:
    """What a listener with ``relay = true`` serves."""

    door: Door
    taking: Taking
    feed: Feed
    blocking: Blocking
    pushed: Pushed

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return [
            self._route("POST", "/messages", self.taking.post),
            self._route("GET", "/messages/{id}", self.taking.get),
            self._route("DELETE", "/messages/{id}", self.taking.delete),
            self._route("GET", "/events", self.feed.get),
            self._route("POST", "/events", self.pushed.post),
            self._route("PUT", "/suppressions/{address}", self.blocking.put),
            self._route("DELETE", "/suppressions/{address}", self.blocking.delete),
            self._route("GET", "/ping", self.ping),
        ]

    def _route(self, method: str, path: str, work: Callable[[Claim], Awaitable[Response]]) -> Route:
        handle = partial(self.door.answered, work=work)
        return Route((method,), BASE + path, handle, HEADERS, is_limited=False)

    async def ping(self, claim: Claim) -> Response:
        """Who we are, and what we take; the key works."""
        verified, _ = await self.door.small(claim)
        policy = self.taking.policy
        limits = {
            "max_message_bytes": policy.max_message_bytes,
            "max_recipients": policy.max_recipients,
            "max_events": MOST_EVENTS,
        }
        return answer(
            200,
            {
                "server_id": policy.server_id,
                "peer": verified.peer.name,
                "takes_mail": verified.peer.account_id is not None,
                "limits": limits,
                "features": FEATURES,
            },
        )
