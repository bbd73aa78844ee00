"""What peers tell of the mail that they took from us, and what is asked of its store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.peer_requests import PeerRequest
from mailrelay.observe.events import EventKind, NewEvent


@frozen
class PeerNews:
    """What became of one recipient, as written, of the request of that key.

    ``position`` is of the peer's events, 0 when it is not of its feed.  An empty ``recipient`` is
    the only one of the request.  Of ``kind`` None is that the peer suppresses the recipient now.
    """

    position: int
    key: str
    recipient: str
    kind: EventKind | None
    data: Mapping[str, object]


@frozen
class PeerFeedState:
    """Up to where a peer's events are taken in, and whether more of them are awaited."""

    position: int = 0
    is_awaited: bool = False


@frozen
class Recorded:
    """Up to where they are taken in now, and what was recorded of them."""

    position: int
    events: Sequence[NewEvent] = ()


class PeerFeedStore(Protocol):
    """Durable record of what peers tell.  Promises and errors: QueueStore's."""

    def state(self, peer_id: int, now: float) -> Deferred[PeerFeedState]:
        """How far its events are taken in."""

    def record(
        self,
        peer_id: int,
        news: Sequence[PeerNews],
        position: int,
        at: float,
        kept_for: Callable[[int | None], float],
    ) -> Deferred[Recorded]:
        """Record ``news``, and that all up to ``position`` are taken in, in one transaction.

        News of a position that was taken in before are passed over, and so is an end that is known.
        What they tell of an entry that we still have proves that the peer has it: it is retired.
        """

    def open_requests(
        self, peer_id: int, now: float, limit: int
    ) -> Deferred[Sequence[PeerRequest]]:
        """Requests of which the peer has more to tell, the oldest first."""

    def expire(self, now: float, limit: int) -> Deferred[int]:
        """Record of up to ``limit`` requests that nothing more is expected; how many there were."""

    def sweep(self, now: float, limit: int) -> Deferred[int]:
        """Remove up to ``limit`` requests of which nothing is awaited any more."""
