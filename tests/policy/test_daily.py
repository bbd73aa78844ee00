"""The daily limit of an account."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account
from mailrelay.policy.daily import HOUR, OVER_DAILY_LIMIT, DailyCount

ALICE = Account(1, "alice", messages_per_day=10)


class DailyCountTests(SynchronousTestCase):
    """DailyCount."""

    def setUp(self) -> None:
        """Start at a full hour."""
        self.time = 1000 * HOUR
        self.count = DailyCount(lambda: self.time)

    def test_limit(self) -> None:
        """What is within the limit goes, one more does not."""
        self.count.sent(1, 8)
        self.assertIsNone(self.count.refuse(ALICE, 2))
        self.assertEqual(self.count.refuse(ALICE, 3), OVER_DAILY_LIMIT)

    def test_others(self) -> None:
        """Another account's messages, and an account without a limit, do not count."""
        self.count.sent(2, 100)
        self.assertIsNone(self.count.refuse(ALICE, 10))
        self.assertIsNone(self.count.refuse(Account(2, "bob"), 1_000_000))

    def test_a_day_later(self) -> None:
        """After 24 hours the messages no longer count, and are forgotten."""
        self.count.sent(1, 10)
        self.time += 23 * HOUR
        self.assertIsNotNone(self.count.refuse(ALICE, 1))
        self.time += HOUR
        self.assertIsNone(self.count.refuse(ALICE, 10))
        self.time += 24 * HOUR
        self.count.sent(1, 1)
        self.assertEqual(list(self.count._hours[1].values()), [1])

    def test_before_the_start(self) -> None:
        """What the store counted before the start counts on."""
        self.count.load([(1, 1000, 4), (1, 999, 5), (1, 900, 50)])
        self.assertIsNone(self.count.refuse(ALICE, 1))
        self.assertIsNotNone(self.count.refuse(ALICE, 2))
