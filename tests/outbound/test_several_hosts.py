"""Hosts tried one after the other within an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import reactor

from mailrelay.outbound.transport import SMTPTransport
from mailrelay.queue.transport import Result
from mailrelay.routing.ways import ByMX, ByRelayHost, RelayHost
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.scripted_server import Answer, Answers, Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import BODY, OutboundTestCase, make_job, mx_job, short


async def silent(peer: Peer) -> None:
    """Hang up without a word."""
    peer.close()


class SeveralHostTests(OutboundTestCase):
    """A domain with several MX hosts, each a scripted server."""

    async def by_mx(
        self,
        servers: Sequence[ScriptedServer],
        transport: SMTPTransport | None = None,
        recipients: int = 1,
    ) -> Result:
        """An attempt at a domain whose hosts these are, best first."""
        chosen = transport or self.for_hosts(servers)
        names = [f"r{number}@peer.test" for number in range(recipients)]
        return await chosen.attempt(make_job(ByMX("peer.test"), "mx:peer.test", names))

    def for_hosts(self, servers: Sequence[ScriptedServer], **settings: Any) -> SMTPTransport:
        """A transport that finds these as the domain's hosts."""
        overrides = {
            f"mx{number}.peer.test": f"127.0.0.1:{server.port}"
            for number, server in enumerate(servers)
        }
        mx = {"peer.test": [(number, name) for number, name in enumerate(overrides)]}
        return self.transport(FakeResolver(mx=mx), host_overrides=overrides, **settings)

    async def polite(self, *answers: Mapping[str, Answers]) -> list[ScriptedServer]:
        """A server for each mapping of verbs to answers."""
        return [await ScriptedServer.start(self, reactor, polite(**given)) for given in answers]

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
        for verb in ("MAIL", "RCPT", "DATA", "."):
            first, second = await self.polite({verb: b"550 5.1.1 no"}, {})
            result = await self.by_mx([first, second])
            self.assertEqual(short(result.outcomes[0]), "failure 550 5.1.1", verb)
            self.assertEqual(second.peers, [], verb)

    async def test_put_off_by_one_host(self) -> None:
        """4yz before the content: the next host is asked at once, and the history shows both."""
        later = b"451 4.7.1 later"
        for given in ({"EHLO": b"421 4.3.2 busy"}, {"MAIL": later}, {"RCPT": later}):
            first, second = await self.polite(given, {})
            result = await self.by_mx([first, second])
            self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0", given)
            self.assertEqual(result.attempt.host, "mx1.peer.test")
            self.assertEqual(result.attempt.ip, f"127.0.0.1:{second.port}")
            told = "\n".join(result.attempt.transcript)
            [answer] = given.values()
            self.assertRegex(told, rf"mx0\.peer(.*\n)*S: {answer.decode()}(.*\n)*.mx1\.peer")
            self.assertNotIn(BODY, first.contents)

    async def test_hangs_up_at_the_sender(self) -> None:
        """A host that breaks off before any reply, or at RCPT, is passed over, too."""
        for verb in ("MAIL", "RCPT"):
            first, second = await self.polite({verb: silent}, {})
            result = await self.by_mx([first, second])
            self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0", verb)
            self.assertEqual(len(first.peers), 1)

    async def test_what_was_sent_is_not_sent_elsewhere(self) -> None:
        """Once a host has had the content, its 4yz or its silence is the attempt's outcome."""
        expected: dict[Answer, str] = {
            b"451 4.3.0 later": "deferral 451 4.3.0",
            silent: "deferral 451 4.4.2",
        }
        for answer, outcome in expected.items():
            first, second = await self.polite({".": answer}, {})
            result = await self.by_mx([first, second])
            self.assertEqual(short(result.outcomes[0]), outcome)
            self.assertEqual(second.peers, [])

    async def test_some_are_put_off(self) -> None:
        """A host that took or refused somebody has answered for all: the others wait."""
        for one, outcome in {
            b"250 ok": "delivered 250 2.0.0",
            b"550 5.1.1 no": "failure 550 5.1.1",
        }.items():
            first, second = await self.polite({"RCPT": [one, b"450 4.2.1 later"]}, {})
            result = await self.by_mx([first, second], recipients=2)
            self.assertEqual([short(o) for o in result.outcomes], [outcome, "deferral 450 4.2.1"])
            self.assertEqual(second.peers, [])

    async def test_only_so_many_hosts_are_asked(self) -> None:
        """Two that answer in one attempt, the best ones, or as the setting says."""
        later = {"MAIL": b"451 4.7.1 later"}
        for most in (2, 3, 1):
            servers = await self.polite(later, later, later, {})
            settings = {} if most == 2 else {"most_sessions": most}
            result = await self.by_mx(servers, self.for_hosts(servers, **settings))
            self.assertEqual(short(result.outcomes[0]), "deferral 451 4.7.1")
            self.assertEqual(
                [len(server.peers) for server in servers], [1] * most + [0] * (4 - most)
            )
            self.assertFalse(result.host_failed)

    async def test_last_answer_counts(self) -> None:
        """The second host's refusal is final; when it is away, the first one's word stands."""
        later = {"MAIL": b"451 4.7.1 later"}
        result = await self.by_mx(await self.polite(later, {"MAIL": b"550 5.7.1 no"}))
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.7.1")
        servers = [*await self.polite(later), *await self.servers(b"", b"554 no")]
        result = await self.by_mx(servers)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.7.1")
        self.assertEqual(result.attempt.host, "mx0.peer.test")
        self.assertEqual(len(servers[2].peers), 1)
        self.assertFalse(result.host_failed)

    async def test_kept_connection_is_put_off(self) -> None:
        """After 4yz on a kept connection the other hosts are asked, its own one not again."""
        first, second = await self.polite({"MAIL": [b"250 ok", b"451 4.7.1 later"]}, {})
        transport = self.for_hosts([first, second])
        for host in ("mx0.peer.test", "mx1.peer.test", "mx1.peer.test"):
            result = await self.by_mx([], transport)
            self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
            self.assertEqual(result.attempt.host, host)
        self.assertEqual((len(first.peers), len(second.peers)), (1, 1))
        self.assertEqual(first.lines[-1], b"QUIT")

    async def test_put_off_without_another_host(self) -> None:
        """A single host's connection is kept though it said 4yz."""
        [server] = await self.polite({"MAIL": [b"451 4.7.1 later", b"250 ok"]})
        transport = self.for_hosts([server])
        for outcome in ("deferral 451 4.7.1", "delivered 250 2.0.0"):
            self.assertEqual(short((await self.by_mx([], transport)).outcomes[0]), outcome)
        self.assertEqual(len(server.peers), 1)

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
