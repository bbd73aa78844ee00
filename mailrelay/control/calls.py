"""Webhook calls as operators see and change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.webhooks.call import INCOMING_EVENT, CallAttempt, EndpointKind
from mailrelay.webhooks.example import example_incoming, example_outgoing
from mailrelay.webhooks.types import OUTGOING_EVENTS

CANCELED = "canceled by admin"
"""The error of the last attempt of a call that was canceled, which was none."""
LONGEST_WAIT = 365 * 86400.0
"""Seconds from now: nothing is scheduled later."""
_PAGE = 5000


@frozen
class Relative:
    """A time before or after ``offset`` seconds from now; what is past has a negative one."""

    is_before: bool
    offset: float


@frozen
class CallFilter:
    """Which calls; None is any, and all that is given must fit."""

    ids: Sequence[int] | None = None
    account: str | None = None
    event: str | None = None
    submitted: Relative | None = None
    next_attempt: Relative | None = None
    retired: bool = False
    limit: int = 1000
    after_id: int = 0

    @property
    def names_something(self) -> bool:
        """Whether anything narrows it: what changes calls asks for that."""
        given = (self.ids, self.account, self.event, self.submitted, self.next_attempt)
        return any(one is not None for one in given)


@frozen
class CallView:
    """A call as shown, without its authorization.  Times are seconds since the epoch."""

    id: int
    account: str | None
    url: str
    has_authorization: bool
    event: str
    entry_id: int | None
    message_id: int | None
    queued_at: float
    next_attempt_at: float
    attempts: int
    is_retired: bool = False
    is_claimed: bool = False
    is_success: bool | None = None
    is_canceled: bool = False
    superseded_by: int | None = None
    keep_until: float | None = None


@frozen
class CallHistory:
    """A call with what it says and how each attempt went."""

    view: CallView
    payload: bytes = field(repr=False)
    attempts: Sequence[CallAttempt] = ()


class CallRecords(Protocol):
    """The calls' rows as operators need them.  Methods may fail with StoreUnavailable.

    Those that change something answer the ids that they changed, of living calls only, tell
    running processes and are audited as ``actor``'s.
    """

    def find(self, wanted: CallFilter, now: float) -> Deferred[Sequence[CallView]]:
        """Calls, by id."""

    def history(self, call_id: int) -> Deferred[CallHistory | None]:
        """A call and its attempts, retired or not."""

    def schedule(
        self, actor: str, ids: Sequence[int], now: float, at: float
    ) -> Deferred[Sequence[int]]:
        """Have calls made at ``at``."""

    def postpone(
        self, actor: str, ids: Sequence[int], now: float, by: float
    ) -> Deferred[Sequence[int]]:
        """Have calls made ``by`` seconds later than they would be, up to LONGEST_WAIT."""

    def cancel(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """Retire calls; an attempt with the error CANCELED says why.

        One that is under way is recorded when it ends, and the call stays retired.
        """

    def queue_example(
        self, actor: str, account: str, kind: EndpointKind, event: str, payload: bytes, now: float
    ) -> Deferred[int]:
        """Queue a call of an account's webhook; its id.  Fails with NoSuch without one."""


@frozen
class CallControl:
    """What may be asked of webhook calls, and by whom it was."""

    records: CallRecords
    now: Callable[[], float]
    actor: str

    async def find(self, wanted: CallFilter) -> Sequence[CallView]:
        """The calls that ``wanted`` fits."""
        return await self.records.find(wanted, self.now())

    async def history(self, call_id: int) -> CallHistory:
        """A call and its attempts, retired or not.  Raises: NoSuch."""
        found = await self.records.history(call_id)
        if found is None:
            raise NoSuch(f"no call {call_id}: it never was, or is swept after its retention")
        return found

    async def retry(self, wanted: CallFilter) -> Sequence[int]:
        """Have what fits called now; the ids."""
        return await self.schedule(wanted, 0.0)

    async def schedule(self, wanted: CallFilter, after: float) -> Sequence[int]:
        """Have what fits called ``after`` seconds from now; the ids.  Raises: Refusal."""
        now = self.now()
        at = now + _checked_wait(after)
        return await self.records.schedule(self.actor, await self._ids(wanted), now, at)

    async def postpone(self, wanted: CallFilter, by: float) -> Sequence[int]:
        """Have what fits called ``by`` seconds later; the ids.  Raises: Refusal."""
        by = _checked_wait(by)
        return await self.records.postpone(self.actor, await self._ids(wanted), self.now(), by)

    async def cancel(self, wanted: CallFilter) -> Sequence[int]:
        """Never call what fits; the ids."""
        return await self.records.cancel(self.actor, await self._ids(wanted), self.now())

    async def test(
        self, account: str, kind: EndpointKind, event: str = "delivered"
    ) -> tuple[int, bytes]:
        """Queue a call with an example; its id and what it says.  Raises: Refusal."""
        now = self.now()
        if kind is EndpointKind.INCOMING:
            event, payload = INCOMING_EVENT, example_incoming(now)
        elif event in OUTGOING_EVENTS:
            payload = example_outgoing(event, now)
        else:
            raise Refusal(f"no event {event!r}: choose of {', '.join(OUTGOING_EVENTS)}")
        id_ = await self.records.queue_example(self.actor, account, kind, event, payload, now)
        return id_, payload

    async def _ids(self, wanted: CallFilter) -> list[int]:
        """Every id of a living call that fits, page by page."""
        ids: list[int] = []
        page = evolve(wanted, limit=_PAGE, retired=False)
        while found := await self.find(page):
            ids += [view.id for view in found]
            page = evolve(page, after_id=ids[-1])
        return ids


def _checked_wait(seconds: float) -> float:
    if not 0.0 <= seconds <= LONGEST_WAIT:
        raise Refusal(f"calls are made within {LONGEST_WAIT / 86400:.0f} days")
    return seconds


def call_word(view: CallView) -> str:
    """One word for where a call stands."""
    if not view.is_retired:
        return "active" if view.is_claimed else "waiting" if view.attempts else "ready"
    if view.superseded_by is not None:
        return "superseded"
    if view.is_success:
        return "delivered"
    return "canceled" if view.is_canceled else "failed"
