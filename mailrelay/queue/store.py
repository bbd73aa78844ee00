"""What the queue asks of its storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.queue.entry import Begun, Content, Entry, Finished, NewMessage, StoredAnswer


class ContentGone(Exception):
    """The message's content was dropped: all its entries are retired and no mailbox has it."""


class StoreUnavailable(Exception):
    """The store cannot do this now (full, I/O error, no connection): nothing was changed."""


class NotStored(Exception):
    """A condition of the message does not hold: nothing was changed."""


class FromIDTaken(NotStored):
    """An entry has the FromID that must be the message's alone."""


class TooManyNewRecipients(NotStored):
    """The account would have sent to more new recipients in 24 hours than it may."""


class AllOverQuota(NotStored):
    """None of the mailboxes that the message is for has room for it."""


class AnsweredBefore(NotStored):
    """The request was done before, and its answer is kept: ``found``, where it was looked at."""

    def __init__(self, key: str, found: StoredAnswer | None = None) -> None:
        super().__init__(key)
        self.found = found


@frozen
class Together:
    """How several messages are stored in one transaction.

    With ``all_or_nothing`` one whose conditions do not hold leaves all of them out.  ``answer``
    makes what is kept with them of why each was not stored; it is called in the writer's thread.
    """

    all_or_nothing: bool = False
    answer: Callable[[Sequence[NotStored | None]], StoredAnswer] | None = None


class QueueStore(Protocol):
    """Durable record of every entry we answered for and have not retired.

    Invariant: once a Deferred fires, its change survives a crash.  Every method may fail
    with StoreUnavailable (retry later).  Data that cannot be stored fails its own call alone,
    whatever the exception, and nothing of that call is changed.  All times are seconds since
    the epoch (UTC).  A claim is this node's alone while its epoch is current.
    """

    def new_id(self) -> int:
        """An id never given before, below 2^53.  Raises: StoreUnavailable."""

    def add(self, message: NewMessage) -> Deferred[None]:
        """Store ``message`` whole.  Entries with an epoch are claimed by this node.

        Fails with NotStored when its conditions do not hold.
        """

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        """Store ``messages`` whole, in one transaction; why not, for each.

        Earlier ones count for the conditions of later ones.  Fails with NotStored, AnsweredBefore
        among them, when nothing was stored.
        """

    def claim_due(
        self, now: float, limit: int, full_lanes: Sequence[int], urgent: int = 0
    ) -> Deferred[Sequence[Entry]]:
        """Entries with ``next_attempt_at <= now``, earliest first, now this node's.

        Entries of ``full_lanes`` are left where they are.  With ``urgent``, up to so many urgent
        ones come before all others, also beyond ``limit``, and no more of them.
        """

    def next_due_at(self, *, urgent: bool = False) -> Deferred[float | None]:
        """When the earliest unclaimed ready entry is due, None when there is none.

        With ``urgent``, of those alone.
        """

    def begin_attempts(self, begun: Sequence[Begun]) -> Deferred[Sequence[bool]]:
        """Count attempts and set retry times *before* they are made, so that a crash cannot loop.

        False where the claim was lost or the entry is not ready: do not attempt.  Then the
        claim is this node's no more.
        """

    def finish_attempts(
        self, finished: Sequence[Finished], reports: Sequence[NewMessage]
    ) -> Deferred[Sequence[bool]]:
        """Record outcomes, events and the DSNs that tell of them, and give the claims up.

        False where the claim was lost, or an entry whose attempt was not begun is not ready:
        nothing of that entry was changed, and the claim is this node's no more.

        ``reports`` tell of all of ``finished``: when one is False, nothing of the others was
        recorded either, and their claims are kept.  Settle those again, without it.
        """

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """Give claims up without an attempt: the entries are due as before."""

    def content(self, message_id: int) -> Deferred[Content]:
        """The content of a message whose entries are not all retired."""

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """Up to ``size`` bytes of a large body from ``offset`` on; empty at its end."""

    def step_times(self, step: float, now: float) -> Deferred[None]:
        """The wall clock was set by ``step`` seconds to ``now``: ``move_times`` has work to do.

        Only when it has none left of an earlier step.
        """

    def move_times(self, now: float, longest_wait: float) -> Deferred[bool]:
        """Move the next few entries' times by the step that was recorded, by an earlier life too.

        None is put off beyond ``longest_wait`` seconds from ``now``.  False when there are no
        more.  No entry is moved twice, whatever crashes or is repeated.
        """
