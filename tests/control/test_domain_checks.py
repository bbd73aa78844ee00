"""Checks of domains that go on by themselves."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.dns_finding import CheckReport
from mailrelay.control.domain_checks import MOST_AT_ONCE, MOST_KEPT, DomainChecks
from mailrelay.control.errors import NoSuch, Refusal


class DomainChecksTests(SynchronousTestCase):
    """What is kept of them."""

    def setUp(self) -> None:
        """Checks that are done when the test says so."""
        self.waiting: dict[str, Deferred[CheckReport]] = {}
        self.at = 1.0

        def check(domain: str) -> Deferred[CheckReport]:
            return self.waiting.setdefault(domain, Deferred())

        self.checks = DomainChecks(check, lambda: self.at)

    def done(self, domain: str) -> None:
        """A check is over."""
        self.at += 1
        self.waiting.pop(domain).callback(CheckReport(domain, (), "", ()))

    def test_under_way(self) -> None:
        """It is told of while it goes on, begun once, and what it found is kept until the next."""
        self.assertIsNone(self.checks.of("a.test"))
        self.checks.begin("a.test")
        first = self.waiting["a.test"]
        self.checks.begin("a.test")
        checked = self.checks.of("a.test")
        assert checked is not None
        self.assertTrue(checked.is_under_way and self.waiting["a.test"] is first)
        self.done("a.test")
        checked = self.checks.of("a.test")
        assert checked is not None and checked.report is not None
        self.assertEqual((checked.began_at, checked.ended_at), (1.0, 2.0))
        self.assertFalse(checked.is_under_way)
        self.checks.begin("a.test")
        again = self.checks.of("a.test")
        assert again is not None
        self.assertTrue(again.is_under_way)

    def test_trouble(self) -> None:
        """What goes wrong is told; what nobody thought of is in the log."""
        for error, said in ((NoSuch("it is gone"), "it is gone"), (ZeroDivisionError(), "log")):
            self.checks.begin("a.test")
            self.waiting.pop("a.test").errback(error)
            checked = self.checks.of("a.test")
            assert checked is not None
            self.assertIn(said, checked.problem)
            self.assertFalse(checked.is_under_way)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bounds(self) -> None:
        """Few at once, and no more kept than so many."""
        for number in range(MOST_AT_ONCE):
            self.checks.begin(f"{number}.test")
        with self.assertRaises(Refusal):
            self.checks.begin("more.test")
        for number in range(MOST_AT_ONCE):
            self.done(f"{number}.test")
        for number in range(MOST_KEPT):
            self.checks.begin(f"n{number}.test")
            self.done(f"n{number}.test")
        self.assertIsNone(self.checks.of("0.test"))
        self.assertIsNotNone(self.checks.of("n0.test"))

    def test_localserve(self) -> None:
        """Where nothing is looked up, that is said."""
        with self.assertRaises(Refusal):
            DomainChecks(None, lambda: 0.0).begin("a.test")
