"""What is kept of metrics for people who look at a page."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.threads import AtOnce
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.observe.metrics import Buckets, Metrics, Spread
from mailrelay.observe.sampling import KEPT, Sampler, resident_bytes


class SpreadTests(SynchronousTestCase):
    """Bounds that parts of values stay below."""

    def test_below(self) -> None:
        """The smallest bound that so many values do not exceed."""
        buckets = Buckets("a", "b", (1, 2, 5))
        for value in (0.5, 1, 1.5, 4):
            buckets.observe(value)
        spread = buckets.spread
        self.assertEqual([spread.below(p) for p in (0.25, 0.5, 0.75, 1.0)], [1, 1, 2, 5])
        self.assertEqual((spread.count, spread.mean), (4, 1.75))
        buckets.observe(100)
        self.assertIsNone(buckets.spread.below(0.99))

    def test_nothing(self) -> None:
        """Without values there is no mean."""
        self.assertIsNone(Spread((1,), (0, 0), 0.0).mean)

    def test_since(self) -> None:
        """Only what came later."""
        buckets = Buckets("a", "b", (1, 2))
        buckets.observe(0.5)
        before = buckets.spread
        buckets.observe(2)
        after = buckets.spread.since(before)
        self.assertEqual((after.counts, after.sum), ([0, 1, 0], 2.0))


class SamplerTests(SynchronousTestCase):
    """An hour of samples."""

    def test_samples(self) -> None:
        """Each has what was counted until then; the oldest go."""
        metrics, now = Metrics(), [100.0]
        sampler = Sampler(metrics, lambda: now[0], AtOnce(), lambda: 5)
        event = NewEvent(EventKind.DELIVERED, 0.0, 1)
        for _ in range(KEPT + 1):
            metrics.count([event])
            metrics.committed(3, 0.1)
            self.successResultOf(sampler.turn())
            now[0] += 10
        first, last = sampler.samples[0], sampler.samples[-1]
        self.assertEqual(len(sampler.samples), KEPT)
        self.assertEqual(first.events, {"delivered": 2})
        self.assertEqual(last.events["delivered"], KEPT + 1)
        self.assertEqual((first.at, last.memory_bytes), (110.0, 5))
        self.assertEqual(last.batches.since(first.batches).mean, 3)

    def test_memory(self) -> None:
        """This process has some."""
        found = resident_bytes()
        assert found is not None
        self.assertGreater(found, 10_000_000)

    def test_value(self) -> None:
        """A gauge is asked when it is wanted."""
        metrics = Metrics()
        metrics.gauge("mailrelay_x", "X", lambda: 7)
        self.assertEqual(metrics.value("mailrelay_x"), 7.0)
        self.assertIsNone(metrics.value("mailrelay_y"))
