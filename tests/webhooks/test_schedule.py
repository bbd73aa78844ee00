"""When a call is made again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.webhooks.schedule import next_call_at


class NextCallTests(SynchronousTestCase):
    """next_call_at."""

    def test_twelve_attempts(self) -> None:
        """One at once and eleven more, the last 31 hours, 59 and a half minutes after the first."""
        at, attempts = 0.0, 0
        due: float | None = at
        while due is not None:
            at, attempts = due, attempts + 1
            due = next_call_at(at, attempts, 0.5)
        self.assertEqual((attempts, at), (12, 31 * 3600 + 59.5 * 60))

    def test_jitter(self) -> None:
        """One percent either way, counted from the attempt's start."""
        self.assertEqual([next_call_at(100.0, 1, j) for j in (0.0, 1.0)], [159.4, 160.6])
