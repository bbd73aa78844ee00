"""Results are written in batches, beside the work that they are of."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.queue.store import StoreUnavailable
from mailrelay.reporting import recorder
from mailrelay.reporting.recorder import AGAIN_AFTER, TOGETHER, WRITE_AFTER, Recorder


class RecorderTests(SynchronousTestCase):
    """With a store that answers when the test says."""

    def setUp(self) -> None:
        """It runs."""
        self.clock = Clock()
        self.writes: list[tuple[list[int], Deferred[None]]] = []
        self.recorder: Recorder[int] = Recorder(self.clock, self.write)
        self.recorder.startService()

    def write(self, batch: Sequence[int]) -> Deferred[None]:
        """Remembered."""
        done: Deferred[None] = Deferred()
        self.writes.append((list(batch), done))
        return done

    def test_batches(self) -> None:
        """Nothing is written at once; then one batch at a time, in order, until none is left."""
        for number in range(TOGETHER + 1):
            self.recorder.note(number)
        self.clock.advance(WRITE_AFTER - 0.1)
        self.assertEqual(self.writes, [])
        self.clock.advance(0.1)
        [(batch, done)] = self.writes
        self.assertEqual(batch, list(range(TOGETHER)))
        self.recorder.note(7)
        done.callback(None)
        [_, (batch, done)] = self.writes
        self.assertEqual(batch, [TOGETHER, 7])
        done.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.recorder.note(8)
        self.clock.advance(WRITE_AFTER)
        self.assertEqual(self.writes[-1][0], [8])

    def test_store_that_fails(self) -> None:
        """What it does not take is written later, with what came meanwhile."""
        self.recorder.note(1)
        self.clock.advance(WRITE_AFTER)
        self.writes[0][1].errback(StoreUnavailable("full"))
        self.recorder.note(2)
        self.clock.advance(AGAIN_AFTER)
        [_, (batch, _)] = self.writes
        self.assertEqual(batch, [1, 2])

    def test_bad_data(self) -> None:
        """A batch that can never be written is left out, and said."""
        self.recorder.note(1)
        self.clock.advance(WRITE_AFTER)
        self.recorder.note(2)
        self.writes[0][1].errback(ValueError("no"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(AGAIN_AFTER)
        self.assertEqual(self.writes[-1][0], [2])

    def test_bound(self) -> None:
        """Memory does not grow with a store that is away."""
        self.patch(recorder, "MOST_WAITING", 3)
        for number in range(5):
            self.recorder.note(number)
        self.clock.advance(WRITE_AFTER)
        self.assertEqual((self.writes[0][0], self.recorder.lost), ([0, 1, 2], 2))

    def test_stop(self) -> None:
        """What waits is written first; a store that is away does not keep it."""
        self.recorder.note(1)
        stopping = self.recorder.stopService()
        self.assertNoResult(stopping)
        self.writes[0][1].callback(None)
        self.successResultOf(stopping)
        self.successResultOf(self.recorder.stopService())
        self.recorder.startService()
        self.recorder.note(2)
        stopping = self.recorder.stopService()
        self.writes[1][1].errback(StoreUnavailable("away"))
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_while_writing(self) -> None:
        """It waits for that, too."""
        self.recorder.note(1)
        self.clock.advance(WRITE_AFTER)
        stopping = self.recorder.stopService()
        self.assertNoResult(stopping)
        self.writes[0][1].callback(None)
        self.successResultOf(stopping)
