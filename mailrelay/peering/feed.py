"""The events of a peer's mail, as it asks for them: GET of events, with a long poll.

Invariant: who has seen the position N misses none behind it; asking behind N says that all up to N
are seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from attrs import define, evolve, field, frozen

from mailrelay.control.peer_mail import PeerFeed, PeerMail
from mailrelay.observe.bell import Bell
from mailrelay.peering.door import Claim, Door, Refusal, answer
from mailrelay.peering.telling import feed_out
from mailrelay.web.request import Request, Response

MOST_EVENTS = 500
LONGEST_WAIT = 25.0
LOOK_EVERY = 5.0
"""Seconds after which the store is looked at unasked: another node's events ring no bell here."""

MOST_POLLS = 10
"""Of one peer at once."""

_NUMBER = re.compile(r"[0-9]{1,16}")


@frozen
class Reader:
    """Reads events, and waits for them."""

    mail: PeerMail
    bell: Bell

    async def read(
        self,
        peer_id: int,
        account_id: int,
        after: int,
        limit: int,
        wait: float,
        *,
        minds_gaps: bool = False,
    ) -> PeerFeed:
        """The next events of a peer, as soon as there are any; none after ``wait`` seconds.

        With ``minds_gaps`` it is not waited when some behind ``after`` were removed.
        """
        feed = PeerFeed((), after, has_more=False)

        async def look() -> Sequence[PeerFeed]:
            nonlocal feed
            while True:
                feed = await self.mail.events(peer_id, account_id, feed.position, limit)
                if feed_out(feed)["events"] or (minds_gaps and after < feed.oldest):
                    return [feed]
                if not feed.has_more:
                    return []

        seconds = self.bell.clock.seconds
        until = seconds() + wait
        while True:
            left = until - seconds()
            if await self.bell.first(account_id, min(left, LOOK_EVERY), look):
                return feed
            if left <= LOOK_EVERY or self.bell.is_closed:
                return evolve(feed, has_more=False)


@define(eq=False)
class Feed:
    """Answers a peer that asks for its events."""

    door: Door
    reader: Reader
    _polls: Counter[int] = field(factory=Counter)

    async def get(self, claim: Claim) -> Response:
        """A page.  Raises: Refusal."""
        verified, _ = await self.door.small(claim)
        peer = verified.peer
        after = _asked(claim.request, "after", 0, 2**53 - 1)
        limit = _asked(claim.request, "limit", MOST_EVENTS, MOST_EVENTS)
        wait = _asked(claim.request, "wait", 0, 3600)
        if peer.account_id is None:
            return answer(200, feed_out(PeerFeed((), after, has_more=False)))
        if self._polls[peer.id] >= MOST_POLLS:
            raise Refusal(429, f"{MOST_POLLS} requests for events are open", retry_after=1)
        if after:
            await self.reader.mail.acknowledge(peer.id, after, self.door.now())
        self._polls[peer.id] += 1
        try:
            seconds = min(float(wait), LONGEST_WAIT)
            whose = (peer.id, peer.account_id)
            feed = await self.reader.read(*whose, after, max(1, limit), seconds, minds_gaps=True)
        finally:
            self._polls[peer.id] -= 1
        if after < feed.oldest:
            return answer(410, {"oldest": feed.oldest})
        return answer(200, feed_out(feed))


def _asked(request: Request, name: str, default: int, most: int) -> int:
    """A number of the query.  Raises: Refusal."""
    values = request.query_fields().get(name, ())
    if not values:
        return default
    if len(values) > 1 or not _NUMBER.fullmatch(values[0]):
        raise Refusal(400, f"{name} is one number")
    return min(int(values[0]), most)
