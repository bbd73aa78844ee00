"""How many reports a domain gets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.report_rate import LONGEST_WAIT, ReportRate


class ReportRateTests(SynchronousTestCase):
    """Turns."""

    def setUp(self) -> None:
        """Four an hour."""
        self.at, self.most = 1000.0, 4
        self.rate = ReportRate(lambda: self.at, lambda: self.most)

    def turns(self, count: int, domain: str = "a.test") -> list[float | None]:
        """The next ones, from now."""
        turns = [self.rate.turn(domain) for _ in range(count)]
        return [None if turn is None else turn - self.at for turn in turns]

    def test_turns(self) -> None:
        """As many as an hour has go at once, others one by one; each domain by itself."""
        self.assertEqual(self.turns(7), [0.0, 0.0, 0.0, 0.0, 0.0, 900.0, 1800.0])
        self.assertEqual(self.turns(1, "b.test"), [0.0])
        self.at += 1800.0
        self.assertEqual(self.turns(1), [900.0])
        self.at += 24 * 3600.0
        self.assertEqual(self.turns(6), [0.0, 0.0, 0.0, 0.0, 0.0, 900.0])

    def test_no_more(self) -> None:
        """What would wait too long has no turn, and makes nobody wait longer."""
        waits = self.turns(1000)
        known = [wait for wait in waits if wait is not None]
        self.assertLess(len(known), 300)
        self.assertLessEqual(max(known), LONGEST_WAIT)
        self.at += 3600.0
        self.assertIsNotNone(self.turns(1)[0])

    def test_no_limit(self) -> None:
        """0 is none."""
        self.most = 0
        self.assertEqual(set(self.turns(1000)), {0.0})
