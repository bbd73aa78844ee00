"""How much one peer may bring in an hour."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy import rates
from mailrelay.policy.rates import (
    HOUR,
    TOO_MANY_MESSAGES,
    TOO_MANY_OF_DOMAIN,
    TOO_MANY_TO,
    Hourly,
    Rates,
    SenderLimits,
)


class RatesTests(SynchronousTestCase):
    """Peers that bring much."""

    def setUp(self) -> None:
        """A clock at the beginning of an hour."""
        self.clock = Clock()

    def taken(self, made: Rates, *ips: str) -> list[bool]:
        """Which messages are taken."""
        return [made.refuse_message(ip) is None for ip in ips]

    def test_none(self) -> None:
        """Without limits nothing is counted."""
        self.assertFalse(SenderLimits(messages_per_domain=1).judges_peers)
        made = Rates(SenderLimits(), self.clock.seconds)
        self.assertEqual(self.taken(made, *["192.0.2.1"] * 50), [True] * 50)

    def test_address(self) -> None:
        """An address has its own count; an IPv6 /64 is one address."""
        made = Rates(SenderLimits(messages_per_address=2), self.clock.seconds)
        one, other = "192.0.2.1", "192.0.2.2"
        self.assertEqual(self.taken(made, one, one, one, other), [True, True, False, True])
        self.assertIs(made.refuse_message(one), TOO_MANY_MESSAGES)
        three = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")
        self.assertEqual(self.taken(made, *three), [True, True, False, True])

    def test_network(self) -> None:
        """So has a network; what is refused is not counted for either."""
        limits = SenderLimits(messages_per_address=9, messages_per_network=2)
        made = Rates(limits, self.clock.seconds)
        peers = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1")
        self.assertEqual(self.taken(made, *peers), [True, True, False, True])
        six = ("2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:1::1")
        self.assertEqual(self.taken(made, *six), [True, True, False, True])

    def test_recipients_and_domains(self) -> None:
        """They have counts of their own."""
        limits = SenderLimits(recipients_per_address=1, messages_per_domain=1)
        made = Rates(limits, self.clock.seconds)
        self.assertIsNone(made.refuse_recipient("192.0.2.1"))
        self.assertIs(made.refuse_recipient("192.0.2.1"), TOO_MANY_TO)
        self.assertIsNone(made.refuse_domain("a.test"))
        self.assertIs(made.refuse_domain("a.test"), TOO_MANY_OF_DOMAIN)
        self.assertIsNone(made.refuse_domain("b.test"))

    def test_time(self) -> None:
        """What is more than an hour ago counts no more, and what is less does."""
        made = Rates(SenderLimits(messages_per_address=10), self.clock.seconds)
        one = "192.0.2.1"
        self.assertEqual(self.taken(made, *[one] * 10), [True] * 10)
        self.clock.advance(HOUR)
        self.assertEqual(self.taken(made, one), [False])
        self.clock.advance(HOUR / 2)
        self.assertEqual(self.taken(made, *[one] * 6), [True] * 5 + [False])
        self.clock.advance(2 * HOUR)
        self.assertEqual(self.taken(made, *[one] * 11), [True] * 10 + [False])

    def test_bound(self) -> None:
        """Those not seen for longest are forgotten."""
        self.patch(rates, "MOST_KEPT", 3)
        counts = Hourly(self.clock.seconds)
        for name in ("a", "b", "a", "c", "d"):
            counts.add(name)
        self.assertEqual([counts.count(name) for name in "abcd"], [2, 0, 1, 1])
