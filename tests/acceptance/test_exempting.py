"""Whom greylisting need not ask to come again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.exempting import Exempting, is_own_name
from mailrelay.acceptance.first_time import KnownSenders
from mailrelay.acceptance.greylisting import GreylistSettings
from mailrelay.smtp.address import Address
from mailrelay.testing.fakes import FakeResolver
from tests.acceptance.test_first_time import FakeKnownSenders
from tests.inbound.sessions import DIRECTORY

PEER = "192.0.2.9"
DNS = FakeResolver(
    hosts={
        "mail.far.test": [PEER],
        "9.2.0.192.home.test": ["192.0.2.10"],
        "lies.test": ["10.0.0.1"],
    },
    ptr={
        PEER: ["mail.far.test"],
        "192.0.2.10": ["9.2.0.192.home.test"],
        "192.0.2.11": ["lies.test"],
        "192.0.2.12": ["pool-192-0-2-12.home.test"],
    },
    failing=frozenset({"192.0.2.13"}),
    txt={"far.test": [b"v=spf1 ip4:192.0.2.9 -all"]},
)


class ExemptTests(SynchronousTestCase):
    """Peers and senders."""

    def setUp(self) -> None:
        """An account that knows one sender."""
        self.clock, self.store = Clock(), FakeKnownSenders({(1, "a@far.test"): 1000.0})

    def is_exempt(self, ip: str, sender: str | None = "a@far.test", **settings: Any) -> bool:
        """Whether it is."""
        known = KnownSenders(self.store, lambda: 2000.0, 86400.0)
        made = GreylistSettings(True, **settings)
        exempting = Exempting(made, DNS, self.clock, lambda: DIRECTORY, known)
        path = Address.parse(sender) if sender else None
        to = Address.parse("user@example.org")
        return self.successResultOf(Deferred.fromCoroutine(exempting(ip, path, to)))

    def test_named(self) -> None:
        """Who has a name that leads back and is its own; not lines, liars and the nameless."""
        for ip, wanted in (
            (PEER, True),
            ("192.0.2.10", False),
            ("192.0.2.11", False),
            ("192.0.2.12", False),
            ("192.0.2.13", False),
            ("192.0.2.14", False),
            ("local", False),
        ):
            self.assertEqual(self.is_exempt(ip, skip_named=True), wanted, ip)
        self.assertFalse(self.is_exempt(PEER))

    def test_known(self) -> None:
        """Whom the account knows, from where SPF says that it sends; nobody else."""
        for ip, sender, wanted in (
            (PEER, "a@far.test", True),
            (PEER, "A@far.test", True),
            (PEER, "b@far.test", False),
            (PEER, None, False),
            ("192.0.2.10", "a@far.test", False),
        ):
            self.assertEqual(self.is_exempt(ip, sender, skip_known=True), wanted, (ip, sender))

    def test_names(self) -> None:
        """An address in a name, however it is written, is none of its own."""
        for name, ip, wanted in (
            ("mail.example.test", PEER, True),
            ("mx9.dc2.example.test", PEER, True),
            ("192-0-2-9.home.test", PEER, False),
            ("9.2.0.192.home.test", PEER, False),
            ("host-2-9.0.home.test", PEER, False),
            ("192000002009.home.test", PEER, False),
            ("c0000209.home.test", PEER, False),
            ("mail.example.test", "2001:db8::25", True),
            ("2001-db8-0-0-0-0-0-25.home.test", "2001:db8::25", False),
            ("x0000000000000025.home.test", "2001:db8::25", False),
        ):
            self.assertEqual(is_own_name(name, ip), wanted, name)

    def test_late(self) -> None:
        """Who is not known in time is asked to come again."""
        self.store.slow = True
        made = GreylistSettings(True, skip_known=True)
        known = KnownSenders(self.store, lambda: 2000.0, 86400.0)
        exempting = Exempting(made, DNS, self.clock, lambda: DIRECTORY, known)
        path, to = Address.parse("a@far.test"), Address.parse("user@example.org")
        asking = Deferred.fromCoroutine(exempting(PEER, path, to))
        self.clock.advance(5.0)
        self.assertFalse(self.successResultOf(asking))
