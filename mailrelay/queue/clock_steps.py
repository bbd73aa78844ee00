"""Steps of the wall clock: noticed by the monotonic one, and stored times move with them."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mailrelay.queue.store import QueueStore, StoreUnavailable

STEP_NOTICED = 60.0
"""Seconds; less is what a clock is slewed by, and moves nothing."""

LOOK_EVERY = 5.0
"""Seconds.  What is stored between a step and its notice cannot be told from what was before."""


@define(eq=False)
class ClockSteps:
    """Compares the clocks, and has the store move its times before more is stored.

    Invariants:

    - Who waited for ``noticed`` stores times of the clock as it is; none of them moves any more.
    - A step is moved once: ``seen`` follows only when the store has recorded it, and what the
      store owes is done before the next.

    ``stepped`` is told of a step once it is recorded; ``moved`` is called when the stored times
    have moved: what was read of them before is worth nothing.
    """

    clock: IReactorTime
    now: Callable[[], float]
    store: QueueStore
    longest_wait: Callable[[], float]
    stepped: Callable[[float], None]
    moved: Callable[[], None]
    total: float = field(default=0.0, init=False)
    """Seconds by which the wall clock was set since the start."""
    _seen: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _owed: bool = field(default=True, init=False)  # an earlier life may have left something
    _moving: DeferredLock = field(factory=DeferredLock, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    def start(self) -> None:
        """The clocks agree now; look at them from now on."""
        self._seen = self._both()
        self._look_later()

    def stop(self) -> Deferred[None]:
        """Look no more; fires when nothing is being moved."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._moving.run(lambda: None)

    async def noticed(self) -> None:
        """Wait for this before every time that is stored.  Raises: StoreUnavailable."""
        if self._moving.locked or self._owed or abs(self._step()) > STEP_NOTICED:
            # Whoever comes meanwhile waits, too: writes are not done in the order they are given.
            await self._moving.run(lambda: Deferred.fromCoroutine(self._move()))
        else:
            self._seen = self._both()

    def _both(self) -> tuple[float, float]:
        return self.clock.seconds(), self.now()

    def _step(self) -> float:
        before_ticked, before_walked = self._seen
        ticked, walked = self._both()
        return (walked - before_walked) - (ticked - before_ticked)

    async def _move(self) -> None:
        if self._owed:
            await self._move_what_is_owed()
        step, seen = self._step(), self._both()
        if abs(step) <= STEP_NOTICED:
            return
        self._log.warn("the clock was set by {step} s: retry times move with it", step=step)
        await self.store.step_times(step, seen[1])
        self._seen, self._owed = seen, True
        self.total += step
        self.stepped(step)
        await self._move_what_is_owed()

    async def _move_what_is_owed(self) -> None:
        any_moved = False
        # A small step back, which moved nothing, has put what was stored before it further ahead.
        longest = self.longest_wait() + STEP_NOTICED
        while await self.store.move_times(self.now(), longest):
            any_moved = True
        self._owed = False
        if any_moved:
            self.moved()

    def _look_later(self) -> None:
        self._timer = self.clock.callLater(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._look_later()
        if self._moving.locked:
            return
        looked = Deferred.fromCoroutine(self.noticed())
        looked.addErrback(lambda failure: failure.trap(StoreUnavailable))
        looked.addErrback(lambda failure: self._log.failure("stored times do not move", failure))
