"""Where a recipient's mail goes: mailbox, route, relay host, MX."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Directory
from mailrelay.net.tls import TLSLevel
from mailrelay.queue.entry import Entry, Message
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.router import Router
from mailrelay.routing.transports import relay_key
from mailrelay.routing.ways import ByMX, ByRelayHost, Discard, Fail, RelayHost, Way
from mailrelay.smtp.address import Address

RELAY = RelayHost("relay.test", 587, username="me", password="secret")
SPECIAL = RelayHost("special.test")


class RouteTests(SynchronousTestCase):
    """A server without local domains."""

    def way(self, recipient: str, settings: RoutingSettings) -> object:
        """The way of a recipient's entry."""
        message = Message(1, 1, None, 0.0, 10, "smtp")
        entry = Entry(1, message, Address.parse(recipient), 0.0, 0.0)
        return Router(lambda: settings, Directory)(entry).way

    def check(self, settings: RoutingSettings, expected: dict[str, Way]) -> None:
        """Each recipient's way."""
        for recipient, way in expected.items():
            self.assertEqual(self.way(recipient, settings), way, recipient)

    def test_mx_by_default(self) -> None:
        """Without any setting mail goes to the domain's hosts."""
        self.check(RoutingSettings(), {"a@peer.test": ByMX("peer.test")})

    def test_relay_host(self) -> None:
        """A relay host takes everything."""
        self.check(RoutingSettings(relay_host=RELAY), {"a@peer.test": ByRelayHost(RELAY)})

    def test_first_fitting_route_decides(self) -> None:
        """Whole domains, those below a domain, and all, in the order given."""
        routes = [
            Route("by-mx.test", mx=True),
            Route("nothing.test", discard=True),
            Route(".below.test", relay_host=SPECIAL),
            Route("below.test", discard=True),
        ]
        settings = RoutingSettings(routes, RELAY)
        self.check(
            settings,
            {
                "a@by-mx.test": ByMX("by-mx.test"),
                "a@x.by-mx.test": ByRelayHost(RELAY),
                "a@nothing.test": Discard(),
                "a@deep.below.test": ByRelayHost(SPECIAL),
                "a@below.test": Discard(),
                "a@notbelow.test": ByRelayHost(RELAY),
            },
        )
        everything = RoutingSettings([Route("*", discard=True), *routes])
        self.check(everything, {"a@by-mx.test": Discard(), "a@peer.test": Discard()})

    def test_nothing_leaves_a_local_server(self) -> None:
        """localserve refuses what is not its own, whatever the routes say."""
        settings = RoutingSettings([Route("*", relay_host=RELAY)], RELAY, local_only=True)
        way = self.way("a@peer.test", settings)
        assert isinstance(way, Fail)
        self.assertEqual(way.reply.code, 550)

    def test_key_keeps_apart_what_must_not_be_shared(self) -> None:
        """Host, port, user, level and implicit TLS each make another destination; no secret."""
        hosts = [
            RELAY,
            RelayHost("relay.test", 588, username="me"),
            RelayHost("other.test", 587, username="me"),
            RelayHost("relay.test", 587, username="you"),
            RelayHost("relay.test", 587),
            RelayHost("relay.test", 587, TLSLevel.VERIFY, username="me"),
            RelayHost("relay.test", 587, implicit_tls=True, username="me"),
        ]
        keys = {relay_key(host) for host in hosts}
        self.assertEqual(len(keys), len(hosts))
        self.assertNotIn("secret", relay_key(RELAY))
