"""What lists in DNS say of addresses, and when they are not to be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.dnsbl import LONGEST_TEXT, ListAnswer, list_name, look_up, zone_fault
from mailrelay.testing.fakes import FakeResolver

ZONE = "list.test"
LISTED = "2.0.0.127.list.test"
ASKED = "1.2.0.192.list.test"


class NameTests(SynchronousTestCase):
    """What is asked."""

    def test_names(self) -> None:
        """Octets or nibbles in reverse, as the RFC's examples have them."""
        six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
        for ip, wanted in (
            ("192.0.2.99", "99.2.0.192.list.test"),
            ("2001:db8::1", f"{six}.list.test"),
            ("::ffff:192.0.2.99", "99.2.0.192.list.test"),
        ):
            self.assertEqual(list_name(ip, ZONE), wanted)
        self.assertRaises(ValueError, list_name, "mail.test", ZONE)


class LookUpTests(SynchronousTestCase):
    """What is believed."""

    def ask(
        self,
        hosts: Mapping[str, Sequence[str]],
        txt: Mapping[str, Sequence[bytes]] | None = None,
        failing: frozenset[str] = frozenset(),
    ) -> ListAnswer:
        """What the list says of 192.0.2.1."""
        resolver = FakeResolver(hosts=hosts, txt=txt or {}, failing=failing)
        asking = Deferred.fromCoroutine(look_up(resolver, ZONE, "192.0.2.1"))
        return self.successResultOf(asking)

    def fault(self, hosts: Mapping[str, Sequence[str]], *failing: str) -> str:
        """What is wrong with the list."""
        resolver = FakeResolver(hosts=hosts, failing=frozenset(failing))
        asking = Deferred.fromCoroutine(zone_fault(resolver, ZONE))
        return self.successResultOf(asking)

    def test_listed(self) -> None:
        """Codes in order, and the list's words."""
        found = self.ask({ASKED: ["127.0.0.4", "127.0.0.2"]}, {ASKED: [b"spam", b"see x"]})
        self.assertEqual(found, ListAnswer(ZONE, ["127.0.0.2", "127.0.0.4"], "see x; spam"))
        self.assertTrue(found.is_listed)

    def test_not_listed(self) -> None:
        """No such name, or one without addresses."""
        self.assertEqual(self.ask({}), ListAnswer(ZONE))
        self.assertEqual(self.ask({ASKED: []}), ListAnswer(ZONE))

    def test_refusals_list_nobody(self) -> None:
        """A refusal, an invented address and a failure are faults, also beside a real code."""
        for answer in ("127.255.255.254", "192.0.2.80", "127.0.0.1"):
            found = self.ask({ASKED: [answer, "127.0.0.2"]})
            self.assertFalse(found.is_listed, answer)
            self.assertIn(answer, found.fault)
        self.assertIn("Timeout", self.ask({}, failing=frozenset({ASKED})).fault)

    def test_words_from_outside(self) -> None:
        """Control characters are gone, and there is an end."""
        found = self.ask({ASKED: ["127.0.0.2"]}, {ASKED: [b"a\r\nb\x1b[31m\xff" + b"x" * 9000]})
        self.assertTrue(found.text.isprintable())
        self.assertEqual(len(found.text), LONGEST_TEXT)
        self.assertTrue(found.text.startswith("a??b?[31m"))

    def test_a_list_that_works(self) -> None:
        """It lists the address that tests ask for, and not this machine."""
        self.assertEqual(self.fault({LISTED: ["127.0.0.2"]}), "")

    def test_lists_that_gave_up(self) -> None:
        """Those that list everybody, nobody, or do not answer."""
        one = "1.0.0.127.list.test"
        everybody = {LISTED: ["127.0.0.2"], one: ["127.0.0.2"]}
        self.assertIn("everybody", self.fault(everybody))
        self.assertIn("does not list 127.0.0.2", self.fault({}))
        self.assertIn("Timeout", self.fault({}, LISTED))
        self.assertIn("127.255.255.254", self.fault({LISTED: ["127.255.255.254"]}))
