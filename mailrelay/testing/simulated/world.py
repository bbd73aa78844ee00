"""What everything in a simulation shares: virtual time, one source of chance, trace and counts."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.base import DelayedCall

EPOCH = 1_800_000_000.0
"""What the wall clock shows at the beginning."""


UNNOTICED_FOR = 20.0
"""Seconds in which a node notices that the clock was set, a full disk allowed for."""


class VirtualClock:
    """Like ``task.Clock``, which sorts all calls each time; time moves to the next call at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._given = 0

    def seconds(self) -> float:
        """See IReactorTime."""
        return self.now

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> DelayedCall:
        """See IReactorTime."""
        at = self.now + delay
        call = DelayedCall(at, callable, args, kwargs, lambda call: None, self._push, self.seconds)
        self._push(call)
        return call

    def _push(self, call: DelayedCall) -> None:
        self._given += 1
        heappush(self._calls, (call.getTime(), self._given, call))

    def run_next(self) -> bool:
        """Go to the next call and make it; False when there is none."""
        while self._calls:
            at, _, call = heappop(self._calls)
            if call.cancelled or call.called or call.getTime() < at:
                continue  # one that was moved forward is in the heap twice
            if call.getTime() > at:
                self._push(call)
                continue
            self.now = max(self.now, at)
            call.called = 1
            call.func(*call.args, **call.kw)
            return True
        return False


@define(eq=False)
class World:
    """Time moves only when ``run_next`` is called; chance is ``random``'s alone."""

    seed: int
    random: Random = field(init=False)
    clock: VirtualClock = field(factory=VirtualClock, init=False)
    trace: list[str] = field(factory=list, init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    violations: list[str] = field(factory=list, init=False)
    wall_offset: float = field(default=EPOCH, init=False)
    forward_steps: list[tuple[float, float]] = field(factory=list, init=False)  # when, how far
    back_steps: list[tuple[float, float]] = field(factory=list, init=False)
    crashes: list[float] = field(factory=list, init=False)  # monotonic seconds
    ends: list[float] = field(factory=list, init=False)  # of lives, crashes included
    full_spells: list[tuple[float, float]] = field(factory=list, init=False)
    disk_full: bool = field(default=False, init=False)
    calm_after: float = field(default=400.0, init=False)  # peers behave from then on
    lives: int = field(default=0, init=False)
    _latest_now: float = field(default=EPOCH, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)

    def seconds(self) -> float:
        """Monotonic time."""
        return self.clock.now

    def now(self) -> float:
        """The wall clock."""
        return self.clock.now + self.wall_offset

    def latest_now(self) -> float:
        """The latest that the wall clock ever showed, and would have until a step is noticed."""
        return max(self.now(), self._latest_now)

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.clock.now:.6f} {text}")

    def count(self, what: str) -> None:
        """Count a fault or a step."""
        self.counts[what] += 1

    def violated(self, promise: str) -> None:
        """A promise is broken."""
        self.note(f"BROKEN {promise}")
        self.violations.append(promise)

    def chance(self, probability: float) -> bool:
        """True as often as ``probability`` says."""
        return self.random.random() < probability

    def run_next(self) -> bool:
        """Go to the next thing that happens; False when nothing will."""
        return self.clock.run_next()

    def step_wall_clock(self, step: float) -> None:
        """Set the wall clock; timers do not notice."""
        self._latest_now = self.latest_now() + UNNOTICED_FOR
        self.wall_offset += step
        if step > 0:
            self.forward_steps.append((self.seconds(), step))
        else:
            self.back_steps.append((self.seconds(), -step))
        self.count("clock step")
        self.note(f"clock step {step:+.0f}")

    def fill_disk(self, seconds: float) -> None:
        """No commit succeeds and no file grows for a while."""
        self.disk_full = True
        self.count("full disk")
        self.note(f"disk full for {seconds:.3f} s")
        self.full_spells.append((self.seconds(), self.seconds() + seconds))
        self.clock.callLater(seconds, self._free_disk)

    def _free_disk(self) -> None:
        self.disk_full = False
        self.note("disk has room")

    def was_full(self, since: float, until: float) -> bool:
        """Whether the disk was full at some moment between two."""
        return any(start <= until and end >= since for start, end in self.full_spells)
