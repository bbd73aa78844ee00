"""Sessions of peers whom nobody vouches for: who waits for what, and what they are told."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.greylisting import Greylist, GreylistSettings
from mailrelay.acceptance.screening import Screening, TurnedAway
from mailrelay.policy.blocklists import Blocklists, DNSBLSettings, WaitAt
from mailrelay.policy.rates import Rates, SenderLimits
from tests.acceptance.test_greylisting import FakeGreylistStore
from tests.inbound.sessions import START, Door, MemoryClient
from tests.policy.test_blocklists import LISTED, Zones, zones

PEER = "192.0.2.9"
SAID = b"5.7.1 192.0.2.9 is listed by a.test (see https://a.test/?[1m)\r\n"


class ScreeningTests(SynchronousTestCase):
    """An MX listener that asks."""

    def make(self, wait: WaitAt = WaitAt.RCPT, **parts: Any) -> Door:
        """A door with a list that names ``PEER``, or with ``parts``."""
        door = Door(trusted=["192.0.2.99"])
        self.told: list[TurnedAway] = []
        self.dns = Zones({"a.test": {**LISTED, "99.2.0.192": ["127.0.0.2"]}})
        settings = DNSBLSettings(zones("a.test"), wait)
        given = parts or {"blocklists": Blocklists(settings, self.dns, door.clock)}
        door.context = evolve(door.context, screening=Screening(self.told.append, **given))
        return door

    def rcpt(self, client: MemoryClient, *more: bytes) -> bytes:
        """The answer to RCPT."""
        client.ask(b"EHLO client.test", b"MAIL FROM:<a@far.test>")
        return client.ask(b"RCPT TO:<user@example.org>", *more)

    def test_listed(self) -> None:
        """Who is listed hears it at RCPT; postmaster can be written to, and the session goes on."""
        client = self.make().connect(PEER)
        self.assertEqual(self.rcpt(client), b"550 " + SAID)
        [told] = self.told
        seen = (told.reason, told.peer_ip, str(told.reverse_path), str(told.recipient))
        self.assertEqual(seen, ("dnsbl", PEER, "a@far.test", "user@example.org"))
        self.assertEqual(client.codes(b"DATA", b"RCPT TO:<postmaster@example.org>"), [503, 250])
        self.assertEqual(client.codes(b"DATA", b"a: b", b"."), [354, 250])

    def test_others(self) -> None:
        """Others are not refused; trusted networks are not even asked about."""
        door = self.make()
        client = door.connect("192.0.2.99")
        self.assertEqual(self.rcpt(client)[:3], b"250")
        self.assertEqual(self.dns.asked, [])
        self.assertEqual(self.rcpt(door.connect("192.0.2.8"))[:3], b"250")
        self.assertEqual(self.told, [])

    def test_asked_while_it_talks(self) -> None:
        """Look-ups begin when the peer comes; it waits at RCPT, and what follows waits in order."""
        door = self.make()
        self.dns.held.add("a.test")
        client = door.connect(PEER)
        self.assertEqual(len(self.dns.asked), 1)
        self.assertEqual(client.codes(b"EHLO client.test", b"MAIL FROM:<a@far.test>"), [250, 250])
        self.assertEqual(client.ask(b"RCPT TO:<user@example.org>", b"NOOP"), b"")
        self.dns.held.clear()
        self.dns.let_go()
        self.assertEqual(client.heard(), b"550 " + SAID + b"250 2.0.0 ok\r\n")

    def test_late(self) -> None:
        """A list that does not answer in time refuses nobody."""
        door = self.make()
        self.dns.held.add("a.test")
        client = door.connect(PEER)
        self.assertEqual(self.rcpt(client), b"")
        door.clock.advance(5.0)
        self.assertEqual(client.heard(), b"250 2.1.5 recipient ok\r\n")
        self.assertEqual(client.codes(b"DATA", b"a: b", b"."), [354, 250])

    def test_gone_meanwhile(self) -> None:
        """A peer that goes while it waits leaves nothing behind."""
        door = self.make()
        self.dns.held.add("a.test")
        client = door.connect("192.0.2.8")
        self.assertEqual(self.rcpt(client, b"DATA"), b"")
        client.vanish()
        self.dns.held.clear()
        self.dns.let_go()
        self.assertEqual((client.heard(), door.store.stored), (b"", []))

    def test_greeting(self) -> None:
        """A listener may let peers wait for the greeting; who is listed gets 554 and no session."""
        door = self.make(WaitAt.GREETING)
        self.dns.held.add("a.test")
        client, other = MemoryClient(door, PEER), MemoryClient(door, "192.0.2.8")
        self.assertEqual(client.ask(b"EHLO early.test"), b"")
        self.dns.held.clear()
        self.dns.let_go()
        self.assertEqual(client.heard(), b"554 " + SAID)
        self.assertTrue(client.is_closed)
        self.assertEqual(other.heard()[:4], b"220 ")
        self.assertEqual(self.rcpt(other)[:3], b"250")
        self.assertEqual([one.reverse_path for one in self.told], [None])
        waiting = MemoryClient(door, "192.0.2.7")
        waiting.vanish()

    def test_greeting_and_stop(self) -> None:
        """A server that stops does not wait for the lists."""
        door = self.make(WaitAt.GREETING)
        self.dns.held.add("a.test")
        client = MemoryClient(door, "192.0.2.8")
        client.session.leave()
        self.assertEqual(client.heard()[:9], b"421 4.3.2")
        self.dns.held.clear()
        self.dns.let_go()
        self.assertEqual(client.heard(), b"")

    def test_rates(self) -> None:
        """Too many messages close the session; too many recipients do not."""
        limits = SenderLimits(messages_per_address=2, recipients_per_address=3)
        door = self.make(rates=Rates(limits, lambda: 0.0))
        client = door.connect(PEER)
        to = b"RCPT TO:<user@example.org>"
        said = client.codes(b"EHLO c.test", b"MAIL FROM:<a@far.test>", to, to, to, to)
        self.assertEqual(said, [250, 250, 250, 250, 250, 451])
        self.assertEqual(client.codes(b"RSET", b"MAIL FROM:<a@far.test>"), [250, 250])
        self.assertEqual(client.ask(b"RSET", b"MAIL FROM:<>")[:18], b"250 2.0.0 reset\r\n4")
        self.assertTrue(client.is_closed)
        self.assertEqual([one.reason for one in self.told], ["rate", "rate"])

    def test_greylisted(self) -> None:
        """Who is new comes again; the store is waited for in order."""
        store = FakeGreylistStore()
        door = Door()
        now = lambda: START + door.clock.seconds()  # noqa: E731
        screening = Screening(
            lambda one: None, greylist=Greylist(GreylistSettings(True), store, now, b"secret")
        )
        door.context = evolve(door.context, screening=screening)
        held: list[Deferred[None]] = []
        store.held = held
        client = door.connect(PEER)
        self.assertEqual(self.rcpt(client, b"NOOP"), b"")
        held[0].callback(None)
        said = b"451 4.7.1 greylisted, try again in 61 seconds\r\n250 2.0.0 ok\r\n"
        self.assertEqual(client.heard(), said)
        door.clock.advance(60)
        self.assertEqual(client.codes(b"RCPT TO:<user@example.org>"), [250])

    def test_refused_anyway(self) -> None:
        """Whoever is refused anyway is neither counted nor remembered."""
        store = FakeGreylistStore()
        greylist = Greylist(GreylistSettings(True), store, lambda: START, b"secret")
        client = self.make(greylist=greylist).connect(PEER)
        client.ask(b"EHLO client.test", b"MAIL FROM:<a@far.test>")
        self.assertEqual(client.codes(b"RCPT TO:<nobody@example.org>"), [550])
        self.assertEqual((store.finds, self.told), (0, []))
