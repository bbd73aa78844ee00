"""How the process was during the last hour: what its metrics said, every few seconds.

It is for people who look at a page; whoever wants more scrapes the metrics.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.net.threads import Executor
from mailrelay.observe.metrics import Metrics, Spread

EVERY = 10.0
"""Seconds between two samples."""

KEPT = 361
"""Samples: those of an hour, and the one before."""


@frozen
class Sample:
    """What was counted until ``at``, seconds since the epoch.  ``memory_bytes`` is resident."""

    at: float
    events: Mapping[str, int]
    accepts: Spread
    attempts: Spread
    commits: Spread
    batches: Spread
    memory_bytes: int | None


@define
class Sampler:
    """Keeps samples; ``memory`` blocks."""

    metrics: Metrics
    now: Callable[[], float]
    executor: Executor
    memory: Callable[[], int | None]
    _samples: deque[Sample] = field(factory=lambda: deque(maxlen=KEPT), init=False)

    @property
    def samples(self) -> Sequence[Sample]:
        """Those of the last hour, the oldest first."""
        return tuple(self._samples)

    def turn(self) -> Deferred[object]:
        """Take one."""
        return self.executor.run(self.memory).addCallback(self._took)

    def _took(self, memory_bytes: int | None) -> None:
        metrics = self.metrics
        self._samples.append(
            Sample(
                self.now(),
                metrics.told(),
                metrics.accept_seconds.spread,
                metrics.attempt_seconds.spread,
                metrics.commit_seconds.spread,
                metrics.commit_size.spread,
                memory_bytes,
            )
        )


def resident_bytes() -> int | None:
    """The memory that the process has; None where the system does not tell (proc(5), statm)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
