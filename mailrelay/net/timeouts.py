"""A connection's timeout that costs nothing to move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LOOK_EVERY = 30.0


class LazyTimeout:
    """In place of TimeoutMixin's methods, for protocols that move their deadline at every line.

    One timer looks at the deadline at least every 30 seconds; moving the deadline sets a number.
    Twisted's ``DelayedCall.reset`` to an earlier time searches the list of all timers.
    """

    clock: IReactorTime
    timeoutConnection: Callable[[], Any]
    _deadline: float | None = None
    _look: IDelayedCall | None = None
    _look_at = 0.0
    _period: float | None = None

    def setTimeout(self, period: float | None) -> None:
        """Call ``timeoutConnection`` in ``period`` seconds; never, when None."""
        self._period = period
        if period is None:
            self._deadline = None
            return
        self._deadline = deadline = self.clock.seconds() + period
        if self._look is not None:
            if deadline >= self._look_at:
                return
            self._look.cancel()
        self._look_after(period)

    def resetTimeout(self) -> None:
        """Begin the period anew."""
        if self._period is not None:
            self.setTimeout(self._period)

    def endTimeouts(self) -> None:
        """The connection is gone: leave no timer behind."""
        self._deadline = self._period = None
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_after(self, seconds: float) -> None:
        seconds = min(max(0.0, seconds), LOOK_EVERY)
        self._look_at = self.clock.seconds() + seconds
        self._look = self.clock.callLater(seconds, self._looked)

    def _looked(self) -> None:
        self._look = None
        if self._deadline is None:
            self._look_after(LOOK_EVERY)
            return
        left = self._deadline - self.clock.seconds()
        if left > 0:
            self._look_after(left)
        else:
            self._deadline = None
            self.timeoutConnection()
