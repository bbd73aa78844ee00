"""An account's webhook calls: what became of them, and having them made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.standings import Standings
from mailrelay.observe.events import Event
from mailrelay.webhooks.call import CallAttempt
from mailrelay.webhooks.endpoint import ENTRY_EVENTS
from mailrelay.webhooks.example import example_standard

MOST_ATTEMPTS = 100
"""Of one call, that are told."""
PAGE = 200
"""Events whose calls are made in one transaction."""
MOST_PAGES = 25
"""Of one request; it says where to go on."""


@frozen
class AccountCall:
    """A call as its account sees it.  ``endpoint_id`` is of a standard endpoint."""

    id: int
    endpoint_id: int | None
    event: str
    entry_id: int | None
    message_id: int | None
    url: str
    queued_at: float
    next_attempt_at: float
    attempts: int
    is_over: bool
    is_success: bool | None
    superseded_by: int | None
    is_canceled: bool
    replay_of: int | None


@frozen
class CallDetails:
    """A call, what it says, and how each attempt went."""

    call: AccountCall
    payload: bytes = field(repr=False)
    attempts: Sequence[CallAttempt] = ()


@frozen
class CallQuery:
    """Which calls, newest first; None is any, and all that is given must fit.

    ``state`` is waiting, taken, failed, canceled or superseded; times are seconds since the epoch.
    """

    endpoint_id: int | None = None
    state: str | None = None
    event: str | None = None
    since: float | None = None
    until: float | None = None
    before_id: int | None = None
    limit: int = 50


@frozen
class ReplayRange:
    """Which events are told again: of what kinds, when, and behind which position."""

    endpoint_id: int
    kinds: Sequence[str]
    since: float
    until: float
    after: int = 0


@frozen
class Replayed:
    """How many calls were made; ``next_after`` is where to go on, None at the end."""

    calls: int
    next_after: int | None


@frozen
class Progress:
    """How far a replay came that has a key."""

    position: int = 0
    calls: int = 0


class ReplayRecords(Protocol):
    """One account's calls.  What another account has is not there (threat 28).

    What makes calls tells running processes.  Methods fail with StoreUnavailable, and as told.
    """

    def find(self, account_id: int, wanted: CallQuery) -> Deferred[Sequence[AccountCall]]:
        """Calls, newest first."""

    def details(self, account_id: int, call_id: int) -> Deferred[CallDetails | None]:
        """One call."""

    def standings(self, account_id: int, endpoint_ids: Sequence[int]) -> Deferred[Standings]:
        """How its endpoints' calls went of late; of those that are another's nothing is said."""

    def again(self, actor: str, account_id: int, call_id: int, now: float) -> Deferred[int]:
        """Queue a call that is over once more, to where its endpoint is now; the new one's id.

        Fails with NoSuch without the call, with Refusal when it is not over or nobody to be called.
        """

    def example(
        self, actor: str, account_id: int, endpoint_id: int, event: str, payload: bytes, now: float
    ) -> Deferred[int]:
        """Queue a call that tells of nothing; its id.  Fails with NoSuch, and Refusal."""

    def events(self, account_id: int, wanted: ReplayRange, limit: int) -> Deferred[Sequence[Event]]:
        """Events of entries, in commit order."""

    def progress(self, account_id: int, key: str, now: float) -> Deferred[Progress]:
        """How far the replay of that key came."""

    def tell_again(
        self,
        actor: str,
        account_id: int,
        endpoint_id: int,
        events: Sequence[Event],
        key: str | None,
        now: float,
    ) -> Deferred[int]:
        """Queue calls for ``events``, and keep how far this is with the ``key``; how many.

        None are made when that key's replay is beyond them.  Fails with NoSuch, and Refusal.
        """


@frozen
class ReplayControl:
    """What an account may ask of its calls."""

    records: ReplayRecords
    now: Callable[[], float]
    actor: str

    async def find(self, account_id: int, wanted: CallQuery) -> Sequence[AccountCall]:
        """Calls, newest first."""
        return await self.records.find(account_id, wanted)

    async def details(self, account_id: int, call_id: int) -> CallDetails:
        """One call.  Raises: NoSuch."""
        found = await self.records.details(account_id, call_id)
        if found is None:
            raise NoSuch(f"no call {call_id}")
        return found

    async def standings(self, account_id: int, endpoint_ids: Sequence[int]) -> Standings:
        """How calls to these endpoints went of late, and to the webhooks in mox's shape."""
        return await self.records.standings(account_id, endpoint_ids)

    async def again(self, account_id: int, call_id: int) -> CallDetails:
        """Have a call made again that is over; the new one.  Raises: Refusal."""
        id_ = await self.records.again(self.actor, account_id, call_id, self.now())
        return await self.details(account_id, id_)

    async def test(self, account_id: int, endpoint_id: int, event: str) -> CallDetails:
        """Call an endpoint with an example; the call.  Raises: Refusal."""
        if event not in ENTRY_EVENTS:
            raise Refusal(f"no event {event!r}: choose of {', '.join(ENTRY_EVENTS)}")
        now = self.now()
        payload = example_standard(event, now)
        id_ = await self.records.example(self.actor, account_id, endpoint_id, event, payload, now)
        return await self.details(account_id, id_)

    async def replay(
        self, account_id: int, wanted: ReplayRange, key: str | None = None
    ) -> Replayed:
        """Have events told again to one endpoint, as many as one request may.

        With a ``key``, of this range alone, it goes on where an earlier one with it was
        interrupted, and no event is told twice by it.  Raises: Refusal.
        """
        done = Progress(wanted.after)
        if key is not None:
            known = await self.records.progress(account_id, key, self.now())
            done = known if known.position > wanted.after else done
        position, calls = done.position, done.calls
        for _ in range(MOST_PAGES):
            rest = ReplayRange(
                wanted.endpoint_id, wanted.kinds, wanted.since, wanted.until, position
            )
            events = await self.records.events(account_id, rest, PAGE)
            # Without any, too: whether there is such an endpoint is found there.
            calls += await self.records.tell_again(
                self.actor, account_id, wanted.endpoint_id, events, key, self.now()
            )
            if len(events) < PAGE:
                return Replayed(calls, None)
            position = events[-1].position
        return Replayed(calls, position)


def call_state(call: AccountCall) -> str:
    """One word for where a call stands."""
    if not call.is_over:
        return "waiting"
    if call.superseded_by is not None:
        return "superseded"
    if call.is_success:
        return "taken"
    return "canceled" if call.is_canceled else "failed"
