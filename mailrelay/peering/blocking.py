"""Suppression as a peer says: PUT and DELETE of addresses.  The newest change of each wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from attrs import frozen
from msgspec import Meta, Struct
from twisted.internet.defer import Deferred

from mailrelay.control.peer_mail import PeerMail, SuppressionChange
from mailrelay.control.suppression import MAX_REASON_CHARACTERS
from mailrelay.peering.door import Claim, Door, Refusal, answer
from mailrelay.policy.suppression import listed_as
from mailrelay.smtp.address import MalformedAddress
from mailrelay.web.request import Response

FURTHEST = 86400.0
"""Seconds that a change may lie ahead of us: a later one could never be changed again."""


class _Change(Struct, frozen=True):
    changed_at: Annotated[float, Meta(ge=0)]
    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS)] = ""


@frozen
class Blocking:
    """Changes the list of the peer's account.  ``changed`` reads the lists again."""

    door: Door
    mail: PeerMail
    changed: Callable[[], Deferred[object] | None] = lambda: None

    async def put(self, claim: Claim) -> Response:
        """Suppress an address."""
        return await self._change(claim, is_suppressed=True)

    async def delete(self, claim: Claim) -> Response:
        """Suppress it no longer."""
        return await self._change(claim, is_suppressed=False)

    async def _change(self, claim: Claim, *, is_suppressed: bool) -> Response:
        verified, body = await self.door.small(claim)
        peer, now = verified.peer, self.door.now()
        if peer.account_id is None or not peer.options.shares_suppression:
            raise Refusal(403, "suppression is not shared with this peer")
        text = claim.request.params["address"]
        try:
            said = msgspec.json.decode(body, type=_Change)
            base = listed_as(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refusal(400, f"body: {error}") from None
        except MalformedAddress as error:
            raise Refusal(400, f"address: {error}") from None
        if not said.reason.isprintable():
            raise Refusal(400, "reason is one line of printable characters")
        if len(base) > 400 or said.changed_at > now + FURTHEST:
            raise Refusal(400, "changed_at is too far ahead, or the address too long")
        change = SuppressionChange(text, base, is_suppressed, said.reason, said.changed_at)
        is_newest = await self.mail.suppress(peer.id, peer.account_id, change, now)
        self.changed()
        return answer(200, {"address": base, "is_newest": is_newest})
