"""From sections to the settings that the packages own."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, fields
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.convert import (
    listener_settings,
    outbound_settings,
    queue_settings,
    relay_host,
    routing_settings,
)
from mailrelay.config.settings import (
    ListenerSection,
    QueueSection,
    Settings,
    SMTPOutSection,
)
from mailrelay.config.transports import RelayHostSection, RouteSection
from mailrelay.inbound.context import Role
from mailrelay.policy.limits import Limits, ListenerLimits
from mailrelay.queue.schedule import MOX

SETTINGS = Settings("mx.example.org", Path("/d"), limits=Limits(recipients=5, errors=3))


class ConvertTests(SynchronousTestCase):
    """Each section."""

    def test_listener(self) -> None:
        """A listener has its role and the general limits."""
        section = ListenerSection("submission", "tcp:587", proxy_protocol=True)
        made = listener_settings(section, SETTINGS)
        self.assertIs(made.role, Role.SUBMISSION)
        self.assertEqual((made.endpoint, made.limits.recipients), ("tcp:587", 5))
        self.assertTrue(made.proxy_protocol and made.hide_submitters)

    def test_limits_of_a_listener(self) -> None:
        """They take the place of those that they name; 0 is a value, and the rest stays."""
        section = ListenerSection("mx", "tcp:25", limits=ListenerLimits(recipients=9, errors=0))
        made = listener_settings(section, SETTINGS).limits
        self.assertEqual(made, evolve(SETTINGS.limits, recipients=9, errors=0))

    def test_limits_that_a_listener_can_have(self) -> None:
        """All but the one that acceptance applies, which is the same for every door."""
        general = {(f.name, f.type) for f in fields(Limits)}
        own = {(f.name, str(f.type).removesuffix(" | None")) for f in fields(ListenerLimits)}
        self.assertEqual(general - own, {("received_fields", "int")})

    def test_queue(self) -> None:
        """A profile is the base; what is given changes it."""
        self.assertEqual(queue_settings(QueueSection("mox")).profile, MOX)
        changed = queue_settings(QueueSection(first_retry_after=5.0, delay_dsn_after=60.0)).profile
        self.assertEqual((changed.first_after, changed.delay_dsn_after), (5.0, 60.0))
        self.assertEqual(changed.give_up_after, 5 * 86400.0)

    def test_relay_host(self) -> None:
        """Without a user there is no login."""
        section = RelayHostSection("r", username="", password="x")
        self.assertIsNone(relay_host(section).username)
        host = relay_host(evolve(section, username="u"))
        self.assertEqual((host.username, host.password), ("u", "x"))
        self.assertNotIn("'x'", repr(host))

    def test_routes(self) -> None:
        """Domains are kept as recipients' are."""
        settings = evolve(
            SETTINGS,
            route=[
                RouteSection("MÜNCHEN.example", mx=True),
                RouteSection(".Example.org", discard=True),
                RouteSection("*", relay_host=RelayHostSection("r")),
            ],
            localserve=True,
        )
        made = routing_settings(settings)
        domains = [route.domain for route in made.routes]
        self.assertEqual(domains, ["xn--mnchen-3ya.example", ".example.org", "*"])
        self.assertTrue(made.local_only and made.simulate)
        self.assertIsNone(made.relay_host)
        host = evolve(SETTINGS, relay_host=RelayHostSection("r"))
        self.assertIsNotNone(routing_settings(host).relay_host)

    def test_outbound(self) -> None:
        """The EHLO name is the host name unless given."""
        self.assertEqual(outbound_settings(SETTINGS).ehlo_name, "mx.example.org")
        other = evolve(SETTINGS, smtp_out=SMTPOutSection(ehlo_name="out", command_timeout=7.0))
        made = outbound_settings(other)
        self.assertEqual((made.ehlo_name, made.timeouts.command), ("out", 7.0))
        self.assertEqual(made.own_names, ("mx.example.org",))
