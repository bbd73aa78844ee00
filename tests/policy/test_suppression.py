"""Whom an account no longer sends to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.suppression import (
    SERVER,
    Listed,
    Suppressed,
    Suppression,
    base_address,
    is_immediate,
    listed_as,
    lists_of,
    reason_of,
)
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
            self.assertEqual(listed_as(text), base, text)

    def test_whole_domain(self) -> None:
        """Only a list has whole domains; a mailbox of that name is one mailbox."""
        self.assertEqual(listed_as("*@Example.org"), "*@example.org")
        for text in ("*@example.org", "*+x@example.org", '"*"@example.org'):
            self.assertEqual(base_address(Address.parse(text)), '"*"@example.org')
        self.assertEqual(listed_as('"*"@example.org'), '"*"@example.org')
        self.assertEqual(listed_as("*+x@example.org"), '"*"@example.org')


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


class GivesWayTests(SynchronousTestCase):
    """What takes the place of what is on a list."""

    def test_later_end(self) -> None:
        """What ends gives way to what lasts longer, and to nothing shorter."""
        week, day, always = (
            Suppression(1, 1, "a@x", "a@x", 0.0, expires_at=e) for e in (7, 1, None)
        )
        self.assertTrue(day.gives_way_to(week))
        self.assertTrue(week.gives_way_to(always))
        for one in (week, always):
            self.assertFalse(one.gives_way_to(day))
            self.assertFalse(one.gives_way_to(one))

    def test_what_the_recipient_said(self) -> None:
        """A failed address that wants no mail is not sent to when it works again."""
        kept = {
            cause: Suppression(1, 1, "a@x", "a@x", 0.0, manual=cause == "manual", cause=cause)
            for cause in ("", "bounce", "complaint", "unsubscribe", "manual")
        }
        for new in ("complaint", "unsubscribe"):
            giving = [name for name, one in kept.items() if one.gives_way_to(kept[new])]
            self.assertEqual(giving, ["", "bounce"])
        self.assertFalse(kept["unsubscribe"].gives_way_to(kept["bounce"]))
        by_hand = Suppression(1, 1, "a@x", "a@x", 0.0, manual=True)  # of an older version
        self.assertFalse(by_hand.gives_way_to(kept["unsubscribe"]))


class SuppressedTests(SynchronousTestCase):
    """Suppressed."""

    spelled = Address.parse("J.ane+x@example.org")

    def suppressed(self, *known: Listed, now: float = 5.0) -> Suppressed:
        """These, at that time."""
        return Suppressed(lambda: now, lists_of(known))

    def test_known(self) -> None:
        """By account and base address; mail of no account is nobody's to suppress."""
        suppressed = self.suppressed(Listed(1, "jane@example.org"))
        self.assertTrue(suppressed(1, self.spelled))
        self.assertFalse(suppressed(2, self.spelled))
        self.assertFalse(suppressed(None, self.spelled))
        suppressed.add(Listed(2, "jane@example.org"))
        self.assertTrue(suppressed(2, self.spelled))
        suppressed.remove(2, "jane@example.org")
        self.assertFalse(suppressed(2, self.spelled))
        suppressed.remove(9, "nobody@example.org")
        suppressed.replace({})
        self.assertFalse(suppressed(1, self.spelled))

    def test_servers(self) -> None:
        """The server's list holds for every account, but not for mail of none."""
        suppressed = self.suppressed(Listed(SERVER, "jane@example.org"))
        self.assertTrue(suppressed(1, self.spelled))
        self.assertTrue(suppressed(2, self.spelled))
        self.assertFalse(suppressed(None, self.spelled))
        self.assertFalse(suppressed(1, Address.parse("joe@example.org")))

    def test_domains(self) -> None:
        """A whole domain is every mailbox of it, and of no other."""
        for whose in (1, SERVER):
            suppressed = self.suppressed(Listed(whose, "*@example.org"))
            self.assertTrue(suppressed(1, self.spelled))
            self.assertFalse(suppressed(1, Address.parse("jane@sub.example.org")))

    def test_ended(self) -> None:
        """What has ended suppresses no more, from that very second."""
        suppressed = self.suppressed(Listed(1, "jane@example.org", 5.0))
        self.assertFalse(suppressed(1, self.spelled))
        suppressed = self.suppressed(Listed(1, "jane@example.org", 5.1))
        self.assertTrue(suppressed(1, self.spelled))
        both = self.suppressed(Listed(1, "jane@example.org", 5.0), Listed(1, "*@example.org"))
        self.assertTrue(both(1, self.spelled))
