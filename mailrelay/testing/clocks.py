"""A clock for whole servers on loopback: real time, and leaps over what nobody waits for."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import TestCase


class LeapingClock(Clock):
    """Goes as the world does, from 0; ``advance`` is a leap on top of that.

    Timers that a leap passes are called before it returns, each once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen_at = time.monotonic()

    @classmethod
    def start(cls, case: TestCase, reactor: Any) -> LeapingClock:
        """A clock that goes until the test ends: start it before what uses it."""
        clock = cls()
        ticking = LoopingCall(clock._tick)
        ticking.clock = reactor
        ticking.start(0.005).addErrback(case.fail)
        case.addCleanup(ticking.stop)
        return clock

    def _tick(self) -> None:
        now = time.monotonic()
        passed, self._seen_at = now - self._seen_at, now
        self.advance(passed)
