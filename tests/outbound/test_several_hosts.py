"""Hosts tried one after the other within an attempt."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet import reactor

from mailrelay.queue.transport import Result
from mailrelay.routing.ways import ByRelayHost, RelayHost
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.scripted_server import Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, make_job, mx_job, short


async def silent(peer: Peer) -> None:
    """Hang up without a word."""
    peer.close()


class SeveralHostTests(OutboundTestCase):
    """A domain with several MX hosts, each a scripted server."""

    async def by_mx(self, servers: Sequence[ScriptedServer]) -> Result:
        """An attempt at a domain whose hosts these are, best first."""
        overrides = {
            f"mx{number}.peer.test": f"127.0.0.1:{server.port}"
            for number, server in enumerate(servers)
        }
        mx = {"peer.test": [(number, name) for number, name in enumerate(overrides)]}
        transport = self.transport(FakeResolver(mx=mx), host_overrides=overrides)
        return await transport.attempt(mx_job("peer.test"))

    async def servers(self, *greetings: bytes) -> list[ScriptedServer]:
        """A server for each greeting; none is one that hangs up."""
        return [
            await ScriptedServer.start(
                self, reactor, polite(Manners(greeting=greeting)) if greeting else silent
            )
            for greeting in greetings
        ]

    async def test_second_host_takes_it(self) -> None:
        """A best host that is away costs nothing; the history names both."""
        servers = await self.servers(b"", b"220 hi")
        result = await self.by_mx(servers)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(result.attempt.host, "mx1.peer.test")
        self.assertEqual(result.attempt.ip, f"127.0.0.1:{servers[1].port}")
        self.assertIn(f"(mx0.peer.test [127.0.0.1]:{servers[0].port})", result.attempt.transcript)

    async def test_best_host_is_enough(self) -> None:
        """No other host is bothered."""
        servers = await self.servers(b"220 hi", b"220 hi")
        await self.by_mx(servers)
        self.assertEqual((len(servers[0].contents), servers[1].peers), (1, []))

    async def test_refusing_greeting_is_passed_over(self) -> None:
        """554 of one host is not the domain's word."""
        result = await self.by_mx(await self.servers(b"554 no", b"421 busy", b"220 hi"))
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")

    async def test_all_fail(self) -> None:
        """For good when all say so, else for now; and the destination has failed."""
        result = await self.by_mx(await self.servers(b"554 5.3.2 no", b"554 5.3.2 no"))
        self.assertEqual(short(result.outcomes[0]), "failure 554 5.3.2")
        for greetings in ([b"421 4.3.2 busy", b"554 no"], [b"554 no", b"421 4.3.2 busy"]):
            result = await self.by_mx(await self.servers(*greetings))
            self.assertEqual(short(result.outcomes[0]), "deferral 421 4.3.2")
            self.assertTrue(result.host_failed)

    async def test_answer_of_one_host_is_final_for_the_attempt(self) -> None:
        """What a host says of sender and recipient holds: 550 is not asked elsewhere."""
        first = await ScriptedServer.start(self, reactor, polite(RCPT=b"550 5.1.1 no such user"))
        second = await ScriptedServer.start(self, reactor, polite())
        result = await self.by_mx([first, second])
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.1.1")
        self.assertEqual(second.peers, [])

    async def test_lookups_that_fail(self) -> None:
        """What DNS says is an outcome: never for NXDOMAIN and null MX, else later."""
        resolver = FakeResolver(mx={"null.test": [(0, "")]}, failing=frozenset({"mute.test"}))
        transport = self.transport(resolver)
        expected = {
            "gone.test": "failure 550 5.1.2",
            "null.test": "failure 556 5.1.10",
            "mute.test": "deferral 451 4.4.3",
        }
        for domain, outcome in expected.items():
            result = await transport.attempt(mx_job(domain))
            self.assertEqual(short(result.outcomes[0]), outcome)
            self.assertFalse(result.host_failed)

    async def test_relay_host_that_does_not_exist(self) -> None:
        """A relay host's name is the operator's mistake: mail waits until it is mended."""
        job = make_job(ByRelayHost(RelayHost("relay.invalid")), "relay", ["a@peer.test"])
        result = await self.transport().attempt(job)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.4")
