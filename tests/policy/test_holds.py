"""Hold rules."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.holds import HoldRule, HoldRules, is_held
from mailrelay.smtp.address import Address

JANE, JOE = Address.parse("jane@example.org"), Address.parse("joe@example.net")


class HoldRuleTests(SynchronousTestCase):
    """HoldRule."""

    def fits(self, rule: HoldRule, sender: Address | None = JANE) -> bool:
        """Whether ``rule`` holds account 1's mail to Joe."""
        return is_held([rule], 1, sender, JOE)

    def test_everything(self) -> None:
        """A rule that names nothing holds everything; no rule holds nothing."""
        self.assertTrue(self.fits(HoldRule(1)))
        self.assertTrue(self.fits(HoldRule(1), None))
        self.assertFalse(is_held([], 1, JANE, JOE))

    def test_domain_or_address(self) -> None:
        """Sender and recipient are whole domains or whole addresses."""
        for wanted in ("example.org", "jane@example.org"):
            self.assertTrue(self.fits(HoldRule(1, sender=wanted)), wanted)
        for wanted in ("org", "ane@example.org", "example.net"):
            self.assertFalse(self.fits(HoldRule(1, sender=wanted)), wanted)
        self.assertTrue(self.fits(HoldRule(1, recipient="joe@example.net")))
        self.assertFalse(self.fits(HoldRule(1, recipient="jane@example.net")))

    def test_all_must_fit(self) -> None:
        """What is given is joined by AND."""
        self.assertTrue(self.fits(HoldRule(1, 1, "example.org", "example.net")))
        self.assertFalse(self.fits(HoldRule(1, 2, "example.org", "example.net")))
        self.assertFalse(self.fits(HoldRule(1, 1, "example.org", "example.org")))

    def test_null_sender(self) -> None:
        """The null reverse-path is named by an empty sender, and by nothing else."""
        self.assertTrue(self.fits(HoldRule(1, sender=""), None))
        self.assertFalse(self.fits(HoldRule(1, sender="")))
        self.assertFalse(self.fits(HoldRule(1, sender="example.org"), None))

    def test_of_several_accounts(self) -> None:
        """Everybody's rules and one's own hold; another account's do not."""
        rules = HoldRules([HoldRule(1, 1, "example.org"), HoldRule(2, None, None, "joe.test")])
        for account_id, recipient, expected in (
            (1, JOE, True),
            (2, JOE, False),
            (None, JOE, False),
            (2, Address.parse("a@joe.test"), True),
            (None, Address.parse("a@joe.test"), True),
        ):
            held = rules.holds(account_id, JANE, recipient)
            self.assertEqual(held, expected, (account_id, recipient))
