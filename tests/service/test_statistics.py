"""Events are counted, and old numbers removed, as time goes by."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.statistics import DAY, HOUR
from mailrelay.queue.store import StoreUnavailable
from mailrelay.service.statistics import BATCHES_A_TURN, SWEEP_EVERY, counting_service
from mailrelay.storage.upkeep import Intervals


@define
class Store:
    """As many batches of events as it says; what was asked of it."""

    batches: int = 0
    is_lost: bool = False
    counted: int = 0
    swept: list[int] = field(factory=list)

    def count_more(self) -> Deferred[bool]:
        """See StatisticsStore."""
        if self.is_lost:
            return fail(StoreUnavailable("gone"))
        self.counted += 1
        self.batches = max(0, self.batches - 1)
        return succeed(self.batches > 0)

    def sweep(self, before_hour: int) -> Deferred[bool]:
        """See StatisticsStore."""
        if self.is_lost:
            return fail(StoreUnavailable("gone"))
        self.swept.append(before_hour)
        return succeed(len(self.swept) % 3 != 0)


class CountingTests(SynchronousTestCase):
    """counting_service."""

    def setUp(self) -> None:
        """One that runs."""
        self.clock, self.store = Clock(), Store(batches=BATCHES_A_TURN * 2 + 1)
        surroundings: Any = type("S", (), {"clock": self.clock, "now": lambda: 1000 * DAY})
        queue = type("Q", (), {"statistics_keep_after": 10 * DAY})
        settings: Any = type("Settings", (), {"queue": queue})
        stores: Any = type("Stores", (), {"statistics": self.store})
        self.service = counting_service(
            surroundings, settings, stores, Intervals(statistics=1.0), Logger()
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def test_much_at_once(self) -> None:
        """What an upgrade finds is counted in turns, with time between them."""
        self.assertEqual(self.store.counted, BATCHES_A_TURN)
        self.clock.advance(1.0)
        self.assertEqual(self.store.counted, BATCHES_A_TURN * 2)
        self.clock.advance(1.0)
        self.assertEqual(self.store.counted, BATCHES_A_TURN * 2 + 1)

    def test_old_numbers(self) -> None:
        """They go at the start and from time to time, until there are no more."""
        before = int(990 * DAY / HOUR)
        self.assertEqual(self.store.swept, [before] * 3)
        self.clock.advance(SWEEP_EVERY)
        self.assertEqual(self.store.swept, [before] * 6)

    def test_store_is_lost(self) -> None:
        """It is tried again, and nobody is told of what others tell."""
        self.store.is_lost = True
        self.clock.advance(SWEEP_EVERY)
        self.store.is_lost = False
        counted = self.store.counted
        self.clock.advance(1.0)
        self.assertGreater(self.store.counted, counted)
        self.assertEqual(self.flushLoggedErrors(), [])
