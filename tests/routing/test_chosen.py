"""Transports that an operator chose for an entry."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerOptions
from mailrelay.queue.entry import Entry, Message
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.router import Because, Decision, Router
from mailrelay.routing.transports import Direct, NamedTransport
from mailrelay.routing.ways import ByMX, ByRelayHost, Fail, RelayHost, ToPeer
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import reply

HUB = RelayHost("hub.test")
REFUSAL = Fail(reply(550, "5.7.1", "not from here"))
TRANSPORTS = [
    NamedTransport("hub", HUB),
    NamedTransport("direct", Direct(ipv6=False)),
    NamedTransport("away", ToPeer("peer")),
    NamedTransport("never", REFUSAL),
]
SETTINGS = RoutingSettings(
    [Route("*", discard=True)], transports={one.name: one for one in TRANSPORTS}
)
ENTRY = Entry(1, Message(1, 1, None, 0.0, 10, "smtp"), Address.parse("joe@example.net"), 0.0, 0.0)


def decided(transport: str | None, *, is_away: bool = False, local: bool = False) -> Decision:
    """Where ENTRY goes when that is chosen."""
    directory = Directory(peers={"peer": Peer(1, "peer", options=PeerOptions(fallback="smtp"))})
    settings = evolve(SETTINGS, local_only=local)
    router = Router(lambda: settings, lambda: directory, is_away=lambda peer, entry: is_away)
    return router.decide(evolve(ENTRY, transport=transport))


class ChosenTests(SynchronousTestCase):
    """What is chosen comes before all routes."""

    def test_chosen(self) -> None:
        """Each kind of transport."""
        for name, way in {
            "hub": ByRelayHost(HUB, tls_is_fixed=True),
            "direct": ByMX("example.net", ipv6=False),
            "away": ToPeer("peer"),
            "never": REFUSAL,
        }.items():
            decision = decided(name)
            self.assertEqual((decision.destination.way, decision.because), (way, Because.CHOSEN))
            self.assertIsNone(decision.route)

    def test_nothing_chosen(self) -> None:
        """Routes decide; also when there is no such transport any more."""
        for name in (None, "gone"):
            self.assertEqual(decided(name).because, Because.ROUTE, name)

    def test_peer_that_is_away(self) -> None:
        """Its fallback holds for what was chosen, too."""
        decision = decided("away", is_away=True)
        self.assertEqual(decision.destination.way, ByMX("example.net"))
        self.assertEqual(decision.because, Because.FALLBACK)

    def test_localserve(self) -> None:
        """Nothing leaves it; what fails on purpose does."""
        self.assertEqual(decided("hub", local=True).because, Because.LOCAL_ONLY)
        self.assertEqual(decided("never", local=True).destination.way, REFUSAL)
