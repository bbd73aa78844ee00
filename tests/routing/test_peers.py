"""Routes to peers, and what they fall back to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.routes import way_text
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerOptions
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, Message
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.router import Because, Decision, Router
from mailrelay.routing.transports import NamedTransport
from mailrelay.routing.ways import ByMX, ToPeer
from mailrelay.smtp.address import Address

MESSAGE = Message(1, 1, None, 0.0, 10, "smtp")
ENTRY = Entry(1, MESSAGE, Address.parse("joe@example.net"), 0.0, next_attempt_at=0.0)
SETTINGS = RoutingSettings([Route("*", transport=NamedTransport("out", ToPeer("hub")))])


def decided(options: PeerOptions, *, is_away: bool = False) -> Decision:
    """Where ENTRY goes, with those options of hub."""
    others = PeerOptions(concurrency=2)
    peers = {"hub": Peer(1, "hub", options=options), "other": Peer(2, "other", options=others)}
    directory = Directory(peers=peers)
    router = Router(lambda: SETTINGS, lambda: directory, is_away=lambda peer, entry: is_away)
    return router.decide(ENTRY)


class PeerRouteTests(SynchronousTestCase):
    """``[[transport]] peer``."""

    def test_peer(self) -> None:
        """One destination for all that goes to a peer, with as many attempts as it says."""
        decision = decided(PeerOptions(concurrency=7, fallback="smtp"))
        destination = decision.destination
        self.assertEqual(destination, Destination("peer:hub", ToPeer("hub"), concurrency=7))
        self.assertEqual((destination.way, decision.because), (ToPeer("hub"), Because.ROUTE))
        self.assertEqual(way_text(destination.way), "to the peer hub")

    def test_unknown_peer(self) -> None:
        """Its mail waits at its destination: somebody may add it yet."""
        way = ToPeer("hub")
        router = Router(lambda: SETTINGS, Directory)
        self.assertEqual(router.decide(ENTRY).destination.way, way)

    def test_fallback(self) -> None:
        """By SMTP or another peer, and only while it is away."""
        for fallback, way, concurrency in (
            ("", ToPeer("hub"), 10),
            ("smtp", ByMX("example.net"), None),
            ("peer:other", ToPeer("other"), 2),
        ):
            options = PeerOptions(fallback=fallback)
            away = decided(options, is_away=True)
            self.assertEqual(away.destination.way, way)
            self.assertEqual(away.destination.concurrency, concurrency)
            here = decided(options)
            self.assertEqual(here.destination.way, ToPeer("hub"))
