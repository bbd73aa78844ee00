"""A bounded window of due entries in memory, by destination; the store is the truth.

Mail and webhook calls are entries of two kinds: each kind has a Window, which knows when to take
what, and leaves to its subclass what an attempt is.

Invariants:

- An entry in memory is in one backlog or under one attempt, never both.
- One timer, at most 300 seconds ahead: a stepped wall clock stalls nothing.
- What raises anything unexpected loses no entry: its claim is given back after a while.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.queue.destination import Backlog, BackOff, Destination, Waiting
from mailrelay.queue.recorder import STORE_RETRY_AFTER
from mailrelay.queue.store import StoreUnavailable

LONGEST_SLEEP = 300.0

BROKEN_OFF_RETRY = 60.0
"""Seconds until entries are given back whose attempt broke off."""

E = TypeVar("E", bound=Waiting)


class ClaimStore(Protocol[E]):
    """What a window asks of its entries' store: see queue/store.py for what each guarantees."""

    def claim_due(self, now: float, limit: int, full_lanes: Sequence[int]) -> Deferred[Sequence[E]]:
        """See QueueStore."""

    def next_due_at(self) -> Deferred[float | None]:
        """See QueueStore."""

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """See QueueStore."""


@frozen
class WindowSettings:
    """How much is in memory, and how much is attempted at once."""

    concurrency: int = 10  # attempts at once per destination
    entries_per_attempt: int = 100
    window: int = 10_000  # entries in memory
    window_per_lane: int = 1_000  # ... of one account for one destination
    claim_batch: int = 500
    back_off: BackOff = BackOff()


class Window(Service, Generic[E]):
    """Takes due entries and starts their attempts.  Subclasses say what an attempt is."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        store: ClaimStore[E],
        settings: WindowSettings,
    ) -> None:
        self._clock, self._now, self._claims, self._sizes = clock, now, store, settings
        self._backlogs: dict[str, Backlog[E]] = {}
        self._in_memory = 0  # waiting or under attempt
        # Why due entries may wait in the store alone: no room in memory, or not in their lane.
        self._window_was_full = False
        self._full: set[tuple[str, bool]] = set()  # destination's key, and whether for urgent ones
        self._filling = False
        self._fill_again = False  # asked for while filling
        self._timer: IDelayedCall | None = None
        self._wakes_at = 0.0  # monotonic
        self._running_attempts: set[Deferred[None]] = set()
        self._broken_off: list[tuple[float, int]] = []  # monotonic, when to give that entry back

    # What subclasses say

    def destination_of(self, entry: E) -> Destination:
        """Where ``entry`` goes now."""
        raise NotImplementedError

    def attempt(self, backlog: Backlog[E], group: Sequence[E]) -> Coroutine[Any, Any, None]:
        """One attempt for ``group``, from its record to its outcome's."""
        raise NotImplementedError

    def put_off(self, backlog: Backlog[E]) -> None:
        """The host does not answer: put off all that waits in ``backlog``, unattempted."""
        raise NotImplementedError

    async def before_claim(self) -> None:
        """What is done before due entries are asked for.  Raises: StoreUnavailable."""

    async def claim(self, limit: int, full_lanes: Sequence[int]) -> Sequence[E]:
        """Due entries that there is room for, now this node's.  Raises: StoreUnavailable."""
        return await self._claims.claim_due(self._now(), limit, full_lanes) if limit > 0 else []

    async def next_urgent_at(self) -> float | None:
        """When the next entry is due for which there is room when others wait for some."""
        return None

    def backlog_of(self, key: str) -> Backlog[E] | None:
        """What is in memory for a destination, and how it is doing."""
        return self._backlogs.get(key)

    # Lifecycle

    def startService(self) -> None:
        """Begin with what is due."""
        super().startService()
        self.wake()

    def stopService(self) -> Deferred[None]:
        """Fires when no attempt is under way; then what waits in memory is given back."""
        super().stopService()
        self._cancel_timer()
        waiting = [entry.id for b in self._backlogs.values() for entry in b.pop_all()]
        ended: Deferred[Any] = DeferredList(list(self._running_attempts))

        def give_back(_: object) -> Deferred[None]:
            ids = waiting + [id_ for _, id_ in self._broken_off]
            self._broken_off.clear()
            return self._claims.release_claims(ids) if ids else succeed(None)

        ended.addCallback(give_back)
        ended.addErrback(lambda failure: failure.trap(StoreUnavailable))
        return ended.addCallback(lambda _: None)

    def wake(self) -> None:
        """Look at the store now: something there changed, or may have."""
        self.wake_after(0.0)

    def reclaim(self) -> None:
        """Give back what waits in memory, and claim it anew: it may go elsewhere now."""
        now = self._clock.seconds()
        for backlog in list(self._backlogs.values()):
            waiting = backlog.pop_all()
            self._in_memory -= len(waiting)
            self._broken_off[:0] = [(now, entry.id) for entry in waiting]
            self._drop_if_over(backlog)
        self.wake()

    def resize(self, settings: WindowSettings) -> None:
        """Go on with other sizes."""
        self._sizes = settings

    # What operators ask

    def backlogs(self) -> Sequence[Backlog[E]]:
        """The destinations with entries or a state in memory."""
        return list(self._backlogs.values())

    def at_once(self, backlog: Backlog[E]) -> int:
        """How many attempts may be under way; one to look whether a host is well again."""
        down = backlog.failures >= self._sizes.back_off.failures
        return 1 if down else backlog.destination.concurrency or self._sizes.concurrency

    def resume(self, key: str) -> None:
        """Forget that a destination's host failed, and try what waits."""
        backlog = self._backlogs.get(key)
        if backlog is not None:
            backlog.host_answered()
            self.pump(backlog)
            self._drop_if_over(backlog)

    @property
    def in_memory(self) -> int:
        """Entries in memory, waiting or under attempt."""
        return self._in_memory

    # In and out of memory

    def has_room(
        self, backlog: Backlog[E] | None, account_id: int | None, *, urgent: bool = False
    ) -> bool:
        """Whether one more of an account's entries fits."""
        in_lane = backlog.lane_size(account_id, urgent=urgent) if backlog is not None else 0
        return in_lane < self._sizes.window_per_lane and self.room(urgent=urgent) > 0

    def room(self, *, urgent: bool = False) -> int:
        """How many more entries fit in memory; for urgent ones a lane's worth is kept free."""
        beyond = self._sizes.window_per_lane if urgent else 0
        return self._sizes.window + beyond - self._in_memory

    def left_behind(self, destination: Destination | None, *, urgent: bool = False) -> None:
        """A due entry stays in the store: remember what it waits for."""
        if self.room(urgent=urgent) <= 0:
            self._window_was_full = True
        elif destination is not None:
            self._full.add((destination.key, urgent))
        else:
            self.wake()

    def push(self, entry: E) -> Backlog[E]:
        """Take ``entry``, which this node has claimed, into memory."""
        destination = self.destination_of(entry)
        backlog = self._backlogs.get(destination.key)
        if backlog is None:
            backlog = self._backlogs[destination.key] = Backlog(destination)
        else:
            backlog.destination = destination  # the configuration may have changed
        backlog.push(entry)
        self._in_memory += 1
        return backlog

    def _push_claimed(self, entry: E) -> None:
        try:
            self.push(entry)
        except Exception:
            self.broke_off(Failure(), [entry])

    def _forget(self, backlog: Backlog[E], count: int) -> None:
        self._in_memory -= count
        self._drop_if_over(backlog)
        window_free = self._in_memory <= self._sizes.window // 2
        if (self._window_was_full and window_free) or (self._full and self._lane_freed(backlog)):
            self._fill()

    def _lane_freed(self, backlog: Backlog[E]) -> bool:
        """Whether there is room again for what was left behind for this destination."""
        key, few = backlog.destination.key, self._sizes.window_per_lane // 2
        return (backlog.size <= few and (key, False) in self._full) or (
            backlog.urgent_size <= few and (key, True) in self._full
        )

    def _drop_if_over(self, backlog: Backlog[E]) -> None:
        if backlog.is_over(self._sizes.back_off, self._clock.seconds()):
            self._backlogs.pop(backlog.destination.key, None)

    def _fill(self) -> None:
        if self._filling:
            self._fill_again = True
        if self._filling or not self.running:
            return
        self._filling, self._fill_again = True, False
        filling = Deferred.fromCoroutine(self._fill_window())

        def ended(_: object) -> None:
            self._filling = False
            if self._fill_again:
                self._fill()

        filling.addErrback(self._fill_failed).addBoth(ended)
        self.track(filling)

    def _fill_failed(self, failure: object) -> None:
        self._log.warn("the queue cannot be read; trying again", failure=failure)
        self.wake_after(STORE_RETRY_AFTER)

    async def _fill_window(self) -> None:
        self._window_was_full = False
        self._full.clear()
        await self._give_back()
        while self.running:
            await self.before_claim()
            batch = min(self.room(), self._sizes.claim_batch)
            claimed = await self.claim(batch, self._full_lanes())
            for entry in claimed:
                self._push_claimed(entry)
            if batch <= 0:
                self._window_was_full = True
            if not claimed or len(claimed) < batch:
                break
        for backlog in list(self._backlogs.values()):
            self.pump(backlog)
            self._drop_if_over(backlog)
        due_at = await self._claims.next_due_at()
        if due_at is not None and self.running:
            delay = due_at - self._now()
            if delay <= 0 and (self._window_was_full or self._full):
                delay = await self._until_urgent()  # others are taken when there is room
            self.wake_after(max(delay, 0.05))  # it may have come due since the claim
        elif self.running:
            self.wake_after(LONGEST_SLEEP)

    async def _until_urgent(self) -> float:
        due_at = await self.next_urgent_at()
        delay = due_at - self._now() if due_at is not None else LONGEST_SLEEP
        return delay if delay > 0 else LONGEST_SLEEP

    def _full_lanes(self) -> list[int]:
        full = []
        for backlog in self._backlogs.values():
            for account, is_urgent, size in backlog.lanes():
                if size >= self._sizes.window_per_lane:
                    full.append(backlog.destination.lane(account, urgent=is_urgent))
                    self._full.add((backlog.destination.key, is_urgent))
        return full

    def age(self, step: float) -> None:
        """The wall clock was set by ``step`` seconds: nothing here is older for it."""
        for backlog in self._backlogs.values():
            backlog.move_times(step)

    # Attempts

    def pump(self, backlog: Backlog[E]) -> None:
        """Start as many attempts as may be under way."""
        if not self.running:
            return
        if backlog.suspended_until > self._clock.seconds():
            if backlog.size:
                self.put_off(backlog)
            return
        most = self.at_once(backlog)
        together = backlog.destination.together or self._sizes.entries_per_attempt
        while backlog.size and backlog.active < most:
            group = backlog.pop_group(together)
            self.start(backlog, self.attempt(backlog, group), group)

    def start(
        self, backlog: Backlog[E], work: Coroutine[Any, Any, None], entries: Sequence[E]
    ) -> None:
        """Have ``work`` done for ``entries``, which were popped from ``backlog``."""
        backlog.active += 1
        attempt = Deferred.fromCoroutine(work)

        def ended(_: object) -> None:
            backlog.active -= 1
            self.pump(backlog)
            self._forget(backlog, len(entries))

        attempt.addErrback(self.broke_off, entries)
        self.track(attempt.addCallback(ended))

    def broke_off(self, failure: Failure, entries: Sequence[E]) -> None:
        """What was to be done with ``entries`` raised: they are given back after a while.

        What was recorded of them stays, and an entry whose claim is over by then is left alone.
        """
        self._log.failure("an attempt broke off", failure)
        at = self._clock.seconds() + BROKEN_OFF_RETRY
        self._broken_off += [(at, entry.id) for entry in entries]
        self.wake_after(BROKEN_OFF_RETRY)

    async def _give_back(self) -> None:
        """Give the claims back whose time has come.  Raises: StoreUnavailable."""
        now = self._clock.seconds()
        ids = [id_ for at, id_ in self._broken_off if at <= now]
        if ids:
            await self._claims.release_claims(ids)
        self._broken_off = [one for one in self._broken_off if one[0] > now]
        if self._broken_off:
            self.wake_after(self._broken_off[0][0] - now)

    def track(self, running: Deferred[None]) -> None:
        """Have a stop wait for ``running``."""
        self._running_attempts.add(running)
        running.addBoth(lambda _: self._running_attempts.discard(running))

    # Time

    def wake_after(self, delay: float) -> None:
        """Wake at the latest ``delay`` seconds from now."""
        if not self.running:
            return
        delay = min(max(0.0, delay), LONGEST_SLEEP)
        at = self._clock.seconds() + delay
        if self._timer is not None and self._timer.active():
            if self._wakes_at <= at:
                return
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._clock.callLater(delay, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._fill()

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
