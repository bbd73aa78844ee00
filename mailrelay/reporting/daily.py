"""When reports are made: after the end of each day in UTC, at a moment that chance says.

Without results nothing is asked but whether there are some, every LOOK_EVERY seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.queue.store import StoreUnavailable
from mailrelay.reporting.making import Making
from mailrelay.reporting.store import DAY

LOOK_EVERY = 600.0
FIRST_AFTER = 900.0
"""Seconds of the new day in which the last results of the old one are written."""

SPREAD = 4 * 3600.0
"""Not all servers of the world report at midnight."""

AGAIN_AFTER = 3600.0
"""Seconds until what waited for DNS is tried again."""


class Daily(Service):
    """Has reports made, and removes what is old: ``sweep`` answers whether more is left."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        random: Random,
        makings: Sequence[Making],
        sweep: Callable[[], Awaitable[bool]],
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._clock, self._now, self._random = clock, now, random
        self._makings, self._sweep, self._look_every = makings, sweep, look_every
        self._timer: IDelayedCall | None = None
        self._looking: Deferred[None] = succeed(None)
        self._day = -1
        self._run_at: float | None = None

    @override
    def startService(self) -> None:
        super().startService()
        self._wake()

    def _wake(self) -> None:
        self._timer = self._clock.callLater(self._look_every, self._look)

    def _look(self) -> None:
        self._timer = None
        self._looking = Deferred.fromCoroutine(self.look())
        self._looking.addErrback(self._not_now).addBoth(lambda _: self._looked())

    def _looked(self) -> None:
        if self.running:
            self._wake()

    def _not_now(self, failure: Failure) -> None:
        if not failure.check(StoreUnavailable, CancelledError):
            self._log.failure("reports cannot be made", failure)

    async def look(self) -> None:
        """Make reports if it is time.  Raises: StoreUnavailable."""
        while await self._sweep():
            pass
        now, today = self._now(), int(self._now() // DAY)
        if today != self._day:
            self._day, self._run_at = today, None
        due = [making for making in self._makings if await making.is_any_due()]
        if not due:
            return
        if self._run_at is None:
            self._run_at = today * DAY + FIRST_AFTER + SPREAD * self._random.random()
        if now >= self._run_at:
            self._run_at = now + AGAIN_AFTER
            for making in due:
                await making.run()

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for making in self._makings:
            making.stop()
        self._looking.cancel()
        return self._looking
