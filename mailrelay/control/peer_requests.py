"""What we hand to peers, and what is asked of its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

OPEN_FOR = 14 * 86400.0
"""Seconds for which a peer may tell what became of what it took."""

MOST_HOPS = 8
"""Servers that a message may have come through."""


@frozen
class Told:
    """What a peer answered for one recipient: queued, suppressed or rejected."""

    state: str
    code: int = 0
    text: str = ""

    @property
    def is_final(self) -> bool:
        """Whether nothing is tried again for it."""
        return self.state in ("queued", "suppressed") or not 400 <= self.code < 500


@frozen
class PeerRequest:
    """A POST of a message.  ``entries`` has each recipient, as written, by its entry's id.

    ``results`` is empty until it is answered.  Times are seconds since the epoch.
    """

    peer_id: int
    key: str
    message_id: int
    entries: Mapping[int, str]
    meta: bytes = field(repr=False)
    created_at: float
    answered_at: float | None = None
    relay_id: str = ""
    results: Mapping[int, Told] = field(factory=dict)


@frozen
class KnownOfMessage:
    """What was asked of a peer for a message before, the oldest first; and how it came to us."""

    requests: Sequence[PeerRequest] = ()
    hops: Sequence[str] = ()


@frozen
class Answered:
    """What a request came to; ``results`` without those that the answer says nothing of."""

    peer_id: int
    key: str
    at: float
    relay_id: str
    results: Mapping[int, Told]
    awaited_for: float = OPEN_FOR  # seconds


class PeerRequests(Protocol):
    """Durable record of what is asked of peers.  Promises and errors: QueueStore's."""

    def of_message(self, peer_id: int, message_id: int) -> Deferred[KnownOfMessage]:
        """What is known of a message that goes to a peer."""

    def new_key(self, server_id: str, now: float) -> str:
        """An idempotency key never used before.  Raises: StoreUnavailable."""

    def add(self, request: PeerRequest) -> Deferred[None]:
        """Keep a request, before it is made."""

    def answered(self, answered: Answered) -> Deferred[Sequence[str]]:
        """Note an answer: it is not asked again, and the peer is well.

        Those of its recipients, as written, that the peer took though they were dropped here.
        """

    def alarm(self, peer_id: int, text: str, at: float) -> Deferred[None]:
        """Note that a peer refuses what we are, and since when."""

    def well(self, peer_id: int, at: float) -> Deferred[None]:
        """Note that a peer was reached and that there is no alarm."""
