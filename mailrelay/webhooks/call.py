"""Calls: queue entries of their own kind.  One event told to one URL, until it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

INCOMING_EVENT = "incoming"
RESPONSE_BYTES = 512
"""How much of an answer's body is kept with the attempt."""


TRIED_TOGETHER = 3
"""A call that failed as often is made alone: what its receiver cannot take holds up no other."""

LARGE_BYTES = 16 * 1024
"""What says more is read when it is told, and told alone: so what waits takes little memory."""


class EndpointKind(Enum):
    """What an endpoint in mox's shape is told of; the values are stored."""

    OUTGOING = "outgoing"  # what became of submitted messages
    INCOMING = "incoming"  # messages put in a mailbox


@frozen
class Endpoint:
    """Where an account wants to be called.  No ``events`` means all.

    One that ``has_every_event`` is told of each: a newer one of an entry supersedes none.
    """

    kind: EndpointKind
    url: str
    authorization: str = field(default="", repr=False)
    events: Sequence[str] = ()
    has_every_event: bool = False

    def wants(self, event: str) -> bool:
        """Whether it is called for this event."""
        return not self.events or event in self.events


@frozen
class Call:
    """One call.  URL and authorization are what they were when it was queued.

    One to a standard endpoint goes to where that is when it is made.  The ``payload`` of one that
    ``is_large`` is empty until it is read.
    """

    id: int
    account_id: int
    url: str
    authorization: str = field(repr=False)
    event: str
    payload: bytes = field(repr=False)
    queued_at: float
    next_attempt_at: float
    entry_id: int | None = None  # the queue entry it tells of, None for an incoming message
    message_id: int | None = None
    attempts: int = 0
    lane: int = 0
    epoch: int = 0
    endpoint_id: int | None = None  # of a standard endpoint
    is_large: bool = False

    @property
    def is_urgent(self) -> bool:
        """See Waiting: none is."""
        return False

    def goes_with(self, other: Call) -> bool:
        """See Waiting: small calls to one standard endpoint that failed as often, not too often."""
        return (
            self.endpoint_id is not None
            and self.endpoint_id == other.endpoint_id
            and self.attempts == other.attempts
            and self.attempts < TRIED_TOGETHER
            and not (self.is_large or other.is_large)
        )


@frozen
class CallAttempt:
    """How one attempt went.  ``code`` is 0 when there was no answer."""

    at: float
    seconds: float
    is_success: bool
    code: int = 0
    error: str = ""
    response: str = ""


@frozen
class FinishedCall:
    """What an attempt changed: retired at ``retired_at``, or tried again at ``next_attempt_at``."""

    call: Call
    attempt: CallAttempt
    next_attempt_at: float | None
    keep_until: float = 0.0


class CallStore(Protocol):
    """Durable record of the calls that were not yet taken.  Promises and errors: QueueStore's."""

    def claim_due(
        self, now: float, limit: int, full_lanes: Sequence[int]
    ) -> Deferred[Sequence[Call]]:
        """Calls that are due, earliest first, now this node's."""

    def next_due_at(self) -> Deferred[float | None]:
        """When the earliest unclaimed call is due."""

    def payload(self, call_id: int) -> Deferred[bytes]:
        """What a call says; nothing when it is no more."""

    def begin(self, call: Call, next_attempt_at: float) -> Deferred[bool]:
        """Count an attempt before it is made; False when it is superseded or not ours."""

    def finish(self, finished: FinishedCall) -> Deferred[bool]:
        """Record an attempt; False when the claim was lost."""

    def postpone(self, calls: Sequence[Call], until: float) -> Deferred[None]:
        """Give claims up without an attempt; they are due at ``until``."""

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """Give claims up without an attempt."""
