"""Whom an account no longer sends to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.suppression import Suppressed, base_address, is_immediate, reason_of
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, reply


class BaseAddressTests(SynchronousTestCase):
    """base_address."""

    def test_spellings(self) -> None:
        """Suffix, dots and case do not matter, for any domain."""
        for text, base in (
            ("Jane.Doe+news@example.org", "janedoe@example.org"),
            ("jane-doe@example.org", "jane@example.org"),
            ("j-a+b@EXAMPLE.org", "j@example.org"),
            ("+x@example.org", "+x@example.org"),
            ("Ünal.x@bücher.example", "ünalx@xn--bcher-kva.example"),
        ):
            self.assertEqual(base_address(Address.parse(text)), base, text)


class ImmediateTests(SynchronousTestCase):
    """is_immediate, and how it is told."""

    def test_codes(self) -> None:
        """Refusals that say that the mailbox is not there."""
        for answer in (reply(550, "5.0.0", "x"), reply(521, "5.7.0", "x"), Reply(556, "x")):
            self.assertTrue(is_immediate(answer), answer)
        for status in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.2.1", "5.7.1"):
            self.assertTrue(is_immediate(reply(554, status, "x")), status)

    def test_others(self) -> None:
        """Content, policy and everything that may pass."""
        for answer in (
            reply(554, "5.6.0", "x"),
            reply(552, "5.2.2", "x"),
            reply(450, "4.2.1", "x"),
            Reply(554, "x"),
        ):
            self.assertFalse(is_immediate(answer), answer)

    def test_reason(self) -> None:
        """The texts that mox writes."""
        self.assertEqual(
            reason_of(reply(550, "5.0.0", "x"), "queue", in_a_row=False),
            'delivery failure from queue with smtp code 550, enhanced code "0.0"',
        )
        self.assertEqual(
            reason_of(Reply(554, "x"), "DSN", in_a_row=True),
            "delivery failure from DSN and three consecutive failures",
        )


class SuppressedTests(SynchronousTestCase):
    """Suppressed."""

    def test_known(self) -> None:
        """By account and base address; mail of no account is nobody's to suppress."""
        suppressed = Suppressed([(1, "jane@example.org")])
        spelled = Address.parse("J.ane+x@example.org")
        self.assertTrue(suppressed(1, spelled))
        self.assertFalse(suppressed(2, spelled))
        self.assertFalse(suppressed(None, spelled))
        suppressed.add(2, Address.parse("jane+y@example.org"))
        self.assertTrue(suppressed(2, spelled))
        suppressed.remove(2, "jane@example.org")
        self.assertFalse(suppressed(2, spelled))
        suppressed.replace([])
        self.assertFalse(suppressed(1, spelled))
