"""Changes of suppression lists that peers are to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


@frozen
class SharedChange:
    """The newest change of an address that a peer has not heard of.  Time since the epoch."""

    peer_id: int
    address: str
    is_suppressed: bool
    reason: str
    changed_at: float


class PeerShares(Protocol):
    """What peers have yet to hear.  Promises and errors: QueueStore's."""

    def untold(self, limit: int) -> Deferred[Sequence[SharedChange]]:
        """The oldest changes that were not told."""

    def told(self, change: SharedChange) -> Deferred[None]:
        """The peer has heard of it; a newer change of that address is told yet."""
