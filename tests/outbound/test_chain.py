"""Relay hosts in a chain: the next when one cannot be talked to, the first again when it can."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.health import FIRST_REST, LONGEST_REST, RelayHealth
from mailrelay.outbound.transport import SMTPTransport
from mailrelay.queue.transport import Result
from mailrelay.routing.ways import ByRelayHost, RelayHost
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import Manners, ScriptedServer, polite
from tests.outbound.delivery import RECIPIENT, OutboundTestCase, make_job, short

ONE, TWO, THREE = (RelayHost(f"{name}.example") for name in ("one", "two", "three"))


class HealthTests(SynchronousTestCase):
    """Who rests, and until when."""

    def setUp(self) -> None:
        """Everybody is well."""
        self.clock = Clock()
        self.health = RelayHealth(self.clock.seconds)

    def order(self) -> str:
        """The hosts as they are tried."""
        found = self.health.in_order([ONE, TWO, THREE])
        return " ".join(host.host.removesuffix(".example") for host in found)

    def test_rest(self) -> None:
        """Two failures in a row; then the others come first, until the rest is over."""
        self.health.failed(ONE)
        self.assertEqual((self.order(), self.health.resting), ("one two three", 0))
        self.health.failed(ONE)
        self.assertEqual((self.order(), self.health.resting), ("two three one", 1))
        self.clock.advance(FIRST_REST)
        self.assertEqual(self.order(), "one two three")

    def test_one_probe_at_a_time(self) -> None:
        """Who asks while the probe is under way is sent to the others."""
        for _ in range(2):
            self.health.failed(ONE)
        self.clock.advance(FIRST_REST)
        self.assertEqual([self.order(), self.order()], ["one two three", "two three one"])
        self.health.answered(ONE)
        self.assertEqual((self.order(), self.health.resting), ("one two three", 0))

    def test_rests_grow(self) -> None:
        """They double, up to the longest; one success ends that."""
        rests = []
        for _ in range(8):
            self.health.failed(ONE)
            started = self.clock.seconds()
            while self.order() != "one two three":
                self.clock.advance(1.0)
            rests.append(self.clock.seconds() - started)
        self.assertEqual(rests, [0, 30, 60, 120, 240, 480, LONGEST_REST, LONGEST_REST])

    def test_everybody_rests(self) -> None:
        """Then they are tried in their order all the same."""
        for host in (ONE, TWO, THREE) * 2:
            self.health.failed(host)
        self.assertEqual(self.order(), "one two three")

    def test_logins_are_apart(self) -> None:
        """A password that is wrong says nothing of another's."""
        other = evolve(ONE, username="other")
        for _ in range(2):
            self.health.failed(other)
        self.assertEqual(list(self.health.in_order([ONE, other])), [ONE, other])


class ChainTests(OutboundTestCase):
    """Attempts at scripted servers."""

    async def attempt_by(
        self, hosts: Sequence[RelayHost], transport: SMTPTransport | None = None
    ) -> Result:
        """An attempt by a chain of relay hosts."""
        chosen = transport or self.transport()
        return await chosen.attempt(
            make_job(ByRelayHost(hosts[0], others=hosts[1:]), "relays:test", [RECIPIENT])
        )

    def at(self, port: int, **fields: object) -> RelayHost:
        """A relay host on loopback."""
        return RelayHost("127.0.0.1", port, TLSLevel.NONE, **fields)  # type: ignore[arg-type]

    async def test_next_host(self) -> None:
        """What refuses, hangs up or does not exist is passed over; the history has every hop."""
        busy = await ScriptedServer.start(self, reactor, polite(Manners(greeting=b"421 busy")))
        good = await ScriptedServer.start(self, reactor, polite())
        closed = free_port()
        missing = RelayHost("nowhere.invalid", 25)
        hosts = [self.at(closed), missing, self.at(busy.port), self.at(good.port)]
        result = await self.attempt_by(hosts)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        told = "\n".join(result.attempt.transcript)
        for said in (f"]:{closed})", "no such relay host", f"]:{busy.port})", f"]:{good.port})"):
            self.assertIn(said, told)

    async def test_first_is_enough(self) -> None:
        """Nobody else is bothered."""
        first, second = [await ScriptedServer.start(self, reactor, polite()) for _ in range(2)]
        await self.attempt_by([self.at(first.port), self.at(second.port)])
        self.assertEqual((len(first.contents), second.peers), (1, []))

    async def test_one_that_rests_is_not_tried(self) -> None:
        """After two failures the next message goes to the second host at once."""
        good = await ScriptedServer.start(self, reactor, polite())
        hosts = [self.at(free_port()), self.at(good.port)]
        transport = self.transport(reuse_most=1)
        for _ in range(2):
            await self.attempt_by(hosts, transport)
        self.assertEqual(transport.health.resting, 1)
        result = await self.attempt_by(hosts, transport)
        self.assertNotIn(f"]:{hosts[0].port})", "\n".join(result.attempt.transcript))
        self.assertEqual(len(good.contents), 3)

    async def test_login_of_each_host(self) -> None:
        """Each host gets its own credentials; one that refuses them is passed over."""
        servers = [
            await ScriptedServer.start(
                self,
                reactor,
                polite(Manners(extensions=(b"AUTH PLAIN",)), AUTH=answer),
            )
            for answer in (b"535 5.7.8 no", b"235 2.7.0 yes")
        ]
        hosts = [
            self.at(server.port, username=f"u{n}", password=f"p{n}", auth_without_tls=True)
            for n, server in enumerate(servers)
        ]
        result = await self.attempt_by(hosts)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.flushLoggedErrors()

    async def test_none_answers(self) -> None:
        """A deferral that says why, and the destination has failed."""
        result = await self.attempt_by([self.at(free_port()), self.at(free_port())])
        self.assertTrue(short(result.outcomes[0]).startswith("deferral 4"))
        self.assertTrue(result.host_failed)

    async def test_by_mx_records(self) -> None:
        """A relay host without brackets is what its MX records name, on its own port."""
        good = await ScriptedServer.start(self, reactor, polite())
        resolver = FakeResolver(mx={"relay.example": [(10, "mx.relay.example")]})
        transport = self.transport(
            resolver, host_overrides={"mx.relay.example": f"127.0.0.1:{good.port}"}
        )
        host = RelayHost("relay.example", 587, TLSLevel.NONE, mx_lookup=True)
        result = await self.attempt_by([host], transport)
        self.assertEqual(result.attempt.host, "mx.relay.example")
