"""Results noted beside the work that they are of, which never waits for the store.

Invariants:

- What is noted is written within WRITE_AFTER seconds, or when the store can be written again.
- A crash loses what was not written yet; a stop writes it first.
- At most MOST_WAITING wait; beyond, new ones are lost, and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.queue.store import StoreUnavailable

T = TypeVar("T")

WRITE_AFTER = 2.0
AGAIN_AFTER = 30.0
TOGETHER = 200
MOST_WAITING = 20_000


class Recorder(Service, Generic[T]):
    """Gathers results and writes them in batches, one batch at a time, in their order."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, write: Callable[[Sequence[T]], Deferred[None]]) -> None:
        self._clock, self._write = clock, write
        self._waiting: deque[T] = deque()
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self.lost = 0

    def note(self, result: T) -> None:
        """Have ``result`` written soon."""
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        self._waiting.append(result)
        if self._timer is None and self._writing is None:
            self._wake_after(WRITE_AFTER)

    def _wake_after(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is None and self._waiting:
            writing = self._writing = Deferred()
            self._write_all().addBoth(lambda _: writing.callback(None))

    def _write_all(self) -> Deferred[None]:
        batch = list(islice(self._waiting, TOGETHER))
        if not batch:
            self._writing = None
            return succeed(None)
        writing, count = self._write(batch), (len(batch),)
        return writing.addCallbacks(
            self._written, self._failed, callbackArgs=count, errbackArgs=count
        )

    def _written(self, _: object, count: int) -> Deferred[None]:
        self._drop(count)
        return self._write_all()

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()

    def _failed(self, failure: Failure, count: int) -> None:
        self._writing = None
        if not failure.check(StoreUnavailable):
            self._log.failure("results for reports cannot be written", failure)
            self._drop(count)
        if self.running and self._waiting:
            self._wake_after(AGAIN_AFTER)

    @override
    def stopService(self) -> Deferred[None]:
        """Write what waits."""
        super().stopService()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._flush()
        return self._writing or succeed(None)
