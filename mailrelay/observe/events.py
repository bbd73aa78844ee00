"""Events: what happened to a message, recorded in the transaction that made it so."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen


class EventKind(Enum):
    """What may happen to a message or an entry; the values are stored and shown."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    HANDED_OVER = "handed_over"  # a peer has it, and tells what becomes of it
    NO_BOUNCE = "no_bounce"  # nothing came back of what a peer handed to us and the next hop took
    UNKNOWN = "unknown"  # a peer that has it did not tell what became of it
    DELAYED = "delayed"  # an attempt failed and will be repeated
    FAILED = "failed"  # no more attempts: refused, or its life is spent
    SUPPRESSED = "suppressed"  # not attempted: on a suppression list
    HELD = "held"
    RELEASED = "released"
    RESCHEDULED = "rescheduled"
    CANCELED = "canceled"  # dropped by an operator, without a DSN
    REPORTED = "reported"  # a DSN was made for the sender
    RELAYED = "relayed"  # a DSN says: passed on to where DSNs are unknown
    EXPANDED = "expanded"  # a DSN says: passed on to the members of a list
    UNRECOGNIZED = "unrecognized"  # something else came back for it
    COMPLAINED = "complained"  # a feedback report says: the recipient calls it spam (RFC 5965)
    UNSUBSCRIBED = "unsubscribed"  # the recipient wants no more of it (RFC 8058)


FAILING = "failing_member_of"
"""In the data of a failure: the alias whose member has failed as often as it allows."""


@frozen
class NewEvent:
    """An event before it has its position.  ``data`` holds JSON values only; times are seconds."""

    kind: EventKind
    at: float
    message_id: int
    entry_id: int | None = None
    account_id: int | None = None
    data: Mapping[str, object] = field(factory=dict)


@frozen
class Event(NewEvent):
    """A recorded event; positions rise in commit order and are never given twice."""

    position: int = 0
