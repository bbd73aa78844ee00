"""The relay host of what was handed in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Directory
from mailrelay.queue.entry import Entry, Message
from mailrelay.routing.next_hop import parse_next_hops
from mailrelay.routing.relay_environment import RelayEnvironment, read_recipient_routes
from mailrelay.routing.relay_files import read_relay_map
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.router import Because, Router
from mailrelay.routing.ways import ByRelayHost, RelayHost
from mailrelay.smtp.address import Address

OWN = (RelayHost("first.example"), RelayHost("second.example"))
RULES = RelaySources(
    RelayEnvironment(default=parse_next_hops("default.example")),
    read_relay_map("@named.test [rule.example]\n")[0],
    recipient_routes=read_recipient_routes("routed.test smtp:[route.example]\n"),
).rules()


def entry(sender: str, recipient: str, door: str = "handoff") -> Entry:
    """Mail that came by a door."""
    message = Message(1, None, Address.parse(sender), 1.0, 1, door)
    return Entry(2, message, Address.parse(recipient), 1.0, 1.0)


class HandedInTests(SynchronousTestCase):
    """Router."""

    def router(self, *routes: Route) -> Router:
        """One that knows relay hosts of every kind."""
        settings = RoutingSettings(list(routes), RelayHost("last.example"), handoff_relays=OWN)
        return Router(lambda: settings, Directory, relays=lambda: RULES)

    def test_order(self) -> None:
        """What names recipient or sender comes before it, and it before what is for everybody."""
        router = self.router(Route(domain="route.test", mx=True))
        for sender, recipient, because in (
            ("a@any.test", "x@far.test", Because.HANDOFF_RELAY),
            ("a@named.test", "x@far.test", Because.RELAY_RULE),
            ("a@any.test", "x@routed.test", Because.RECIPIENT_ROUTE),
            ("a@any.test", "x@route.test", Because.ROUTE),
        ):
            decision = router.decide(entry(sender, recipient))
            self.assertIs(decision.because, because, (sender, recipient))

    def test_hosts(self) -> None:
        """In their order; nobody else's mail goes there."""
        way = self.router().decide(entry("a@any.test", "x@far.test")).destination.way
        assert isinstance(way, ByRelayHost)
        self.assertEqual(tuple(way.relay_hosts), OWN)
        decision = self.router().decide(entry("a@any.test", "x@far.test", "mx"))
        self.assertIs(decision.because, Because.RELAY_RULE)

    def test_without_rules(self) -> None:
        """It needs no [relaying]."""
        settings = RoutingSettings([], None, handoff_relays=OWN)
        router = Router(lambda: settings, Directory)
        self.assertIs(router.decide(entry("a@b.test", "x@y.test")).because, Because.HANDOFF_RELAY)
        other = router.decide(entry("a@b.test", "x@y.test", "mx"))
        self.assertIs(other.because, Because.MX)
