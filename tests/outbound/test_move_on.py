"""Chains of relay hosts: which answers have the next one asked, who is drawn first, who is out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.health import FIRST_REST, FORGOTTEN_AFTER, RelayHealth
from mailrelay.outbound.pool import Access
from mailrelay.outbound.sessions import Source, by_weight
from mailrelay.outbound.transport import SMTPTransport
from mailrelay.queue.transport import Result
from mailrelay.routing.ways import ByRelayHost, RelayHost
from mailrelay.smtp.reply_pattern import ReplyPattern
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import Answers, Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, make_job, short

DELIVERED = "delivered 250 2.0.0"
NOT_ALLOWED = b"550 5.7.1 not by us"


async def lost_after_content(peer: Peer) -> None:
    """Take the content, and hang up without an answer to it."""
    peer.say(b"220 x")
    await peer.expect(b"EHLO")
    peer.say(b"250 x")
    for verb in (b"MAIL", b"RCPT"):
        await peer.expect(verb)
        peer.say(b"250 2.1.0 ok")
    await peer.expect(b"DATA")
    peer.say(b"354 go on")
    await peer.content()
    peer.cut()


class RecordedAlarms:
    """What was raised and not cleared."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}

    def raised(self, subject: str, reason: str) -> None:
        """See Alarms."""
        self.now[subject] = reason

    def cleared(self, subject: str) -> None:
        """See Alarms."""
        del self.now[subject]


class ChainTestCase(OutboundTestCase):
    """Relay hosts that are scripted servers; rests are in virtual time."""

    def chained(self, **settings: Any) -> SMTPTransport:
        """A transport whose health is judged by a clock of the test's own."""
        self.rests, self.alarms = Clock(), RecordedAlarms()
        health = RelayHealth(self.rests.seconds, self.alarms)
        return evolve(self.transport(**settings), health=health)

    async def polite(self, *answers: Mapping[str, Answers]) -> list[ScriptedServer]:
        """A server for each mapping of verbs to answers."""
        return [await ScriptedServer.start(self, reactor, polite(**given)) for given in answers]

    async def attempt_at(
        self,
        ports: Sequence[int],
        *move_on: str,
        transport: SMTPTransport | None = None,
        recipients: int = 1,
        weights: Sequence[int] = (),
    ) -> Result:
        """An attempt by a chain of relay hosts on these ports."""
        first, *others = [RelayHost("127.0.0.1", port, TLSLevel.NONE) for port in ports]
        patterns = tuple(map(ReplyPattern.parse, move_on))
        way = ByRelayHost(first, others=others, weights=weights, move_on=patterns)
        names = [f"r{number}@peer.test" for number in range(recipients)]
        job = make_job(way, f"relays:{ports}", names)
        return await (transport or self.chained()).attempt(job)


class MoveOnTests(ChainTestCase):
    """Two hosts; what the first one says, and whether the second one is asked."""

    async def test_answers(self) -> None:
        """Those that are configured, wherever they come; without any, those that put off."""
        policy = ("550 5.7.1",)
        cases: Sequence[tuple[dict[str, Answers], tuple[str, ...], str]] = (
            ({"MAIL": NOT_ALLOWED}, (), "failure 550 5.7.1"),
            ({"MAIL": NOT_ALLOWED}, policy, DELIVERED),
            ({"MAIL": NOT_ALLOWED}, ("550",), DELIVERED),
            ({"MAIL": NOT_ALLOWED}, ("5.7.1",), DELIVERED),
            ({"MAIL": NOT_ALLOWED}, ("554 5.7.1", "421"), "failure 550 5.7.1"),
            ({"RCPT": NOT_ALLOWED}, policy, DELIVERED),
            ({"DATA": NOT_ALLOWED}, policy, DELIVERED),
            ({"RCPT": b"450 4.2.0 later"}, (), DELIVERED),
            ({"RCPT": b"450 4.2.0 later"}, policy, "deferral 450 4.2.0"),
            ({"RCPT": b"450 4.2.0 later"}, ("4.2.0",), DELIVERED),
            ({"MAIL": b"421 4.3.2 going down"}, policy, DELIVERED),
        )
        for answers, move_on, expected in cases:
            servers = await self.polite(answers, {})
            result = await self.attempt_at([each.port for each in servers], *move_on)
            self.assertEqual(short(result.outcomes[0]), expected, (answers, move_on))
            self.assertEqual(len(servers[1].contents), int(expected == DELIVERED))

    async def test_after_content(self) -> None:
        """A refusal of the content is an answer; a connection that breaks there is none."""
        refused = Manners(answers={".": NOT_ALLOWED})
        leaving = Manners(answers={".": b"421 4.3.2 going down"})
        cases: Sequence[tuple[Any, tuple[str, ...], str]] = (
            (polite(refused), ("550",), DELIVERED),
            (polite(refused), (), "failure 550 5.7.1"),
            (polite(leaving), ("421",), DELIVERED),
            (polite(leaving), ("550",), "deferral 421 4.3.2"),
            (lost_after_content, ("451", "4.4.2", "4.4.1", "421"), "deferral 451 4.4.2"),
        )
        for script, move_on, expected in cases:
            first = await ScriptedServer.start(self, reactor, script)
            [second] = await self.polite({})
            result = await self.attempt_at([first.port, second.port], *move_on)
            self.assertEqual(short(result.outcomes[0])[:8], expected[:8], (move_on, expected))
            self.assertEqual(len(second.contents), int(expected == DELIVERED))

    async def test_each_recipient(self) -> None:
        """Who is taken stays with the host that took them; the next is asked for the others."""
        servers = await self.polite({"RCPT": [b"250 ok", NOT_ALLOWED, b"250 ok"]}, {}, {})
        result = await self.attempt_at([each.port for each in servers], "5.7.1", recipients=3)
        self.assertEqual([short(one) for one in result.outcomes], [DELIVERED] * 3)
        [asked] = servers[1].peers
        rcpts = [line for line in asked.lines if line.startswith(b"RCPT")]
        self.assertEqual(rcpts, [b"RCPT TO:<r1@peer.test>"])
        self.assertEqual(servers[2].peers, [])

    async def test_everybody_refuses(self) -> None:
        """For good when the last one does; every hop is in the history."""
        servers = await self.polite(*[{"MAIL": NOT_ALLOWED}] * 3)
        result = await self.attempt_at([each.port for each in servers], "5.7.1")
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.7.1")
        told = "\n".join(result.attempt.transcript)
        for server in servers:
            self.assertIn(f"]:{server.port})", told)
        self.assertEqual(told.count("550 5.7.1 not by us"), 3)

    async def test_next_is_away(self) -> None:
        """A refusal that the next host was to be asked about is none while that is away."""
        [refusing] = await self.polite({"MAIL": NOT_ALLOWED})
        result = await self.attempt_at([refusing.port, free_port()], "5.7.1")
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.1")
        [later] = await self.polite({"MAIL": b"450 4.2.0 later"})
        result = await self.attempt_at([later.port, free_port()])
        self.assertEqual(short(result.outcomes[0]), "deferral 450 4.2.0")


class WeightTests(SynchronousTestCase):
    """Who comes first."""

    def test_shares(self) -> None:
        """By their weights; those without one follow in their order."""
        sources = [
            Source(Access(TLSLevel.NONE), RelayHost(name), weight=weight)
            for name, weight in (("last", 0), ("one", 1), ("three", 3), ("very last", 0))
        ]
        random, firsts = Random(1), []
        for _ in range(400):
            drawn = [each.relay_host.host for each in by_weight(sources, random) if each.relay_host]
            self.assertEqual(
                (sorted(drawn[:2]), drawn[2:]), (["one", "three"], ["last", "very last"])
            )
            firsts.append(drawn[0])
        self.assertAlmostEqual(firsts.count("three") / 400, 0.75, delta=0.06)


class KeptConnectionTests(ChainTestCase):
    """Connections are the relay hosts', not the chains'."""

    async def test_weights(self) -> None:
        """A connection that is kept does not draw all that follows to its host."""
        servers = await self.polite({}, {})
        transport = self.chained()
        for _ in range(20):
            ports = [each.port for each in servers]
            await self.attempt_at(ports, transport=transport, weights=[1, 1])
        self.assertEqual(sum(len(each.contents) for each in servers), 20)
        self.assertGreater(min(len(each.contents) for each in servers), 3)
        self.assertEqual([len(each.peers) for each in servers], [1, 1])

    async def test_shared_between_chains(self) -> None:
        """Two chains with one host share its connection."""
        [first, second] = await self.polite({}, {})
        transport = self.chained()
        await self.attempt_at([first.port], transport=transport)
        result = await self.attempt_at([first.port, second.port], transport=transport)
        self.assertEqual((len(first.peers), len(first.contents), second.peers), (1, 2, []))
        told = result.attempt.transcript
        self.assertEqual(told[:2], [f"(127.0.0.1 [127.0.0.1]:{first.port})", "(connection reused)"])

    async def test_not_with_another_login_or_level(self) -> None:
        """Passwords, users and levels keep connections apart."""
        manners = Manners(extensions=(b"AUTH PLAIN",))
        server = await ScriptedServer.start(self, reactor, polite(manners, AUTH=b"235 ok"))
        transport = self.chained()
        base = RelayHost("127.0.0.1", server.port, TLSLevel.NONE)
        login = evolve(base, username="u", password="p", auth_without_tls=True)
        hosts = (
            *(base, evolve(base, tls=TLSLevel.MAY), login),
            *(evolve(login, username="v"), evolve(login, password="q")),
        )
        for host in hosts:
            await transport.attempt(make_job(ByRelayHost(host), "relays:same key", ["a@peer.test"]))
        self.assertEqual(len(server.peers), len(hosts))
        await transport.attempt(make_job(ByRelayHost(login), "relays:other key", ["a@peer.test"]))
        self.assertEqual(len(server.peers), len(hosts))


class CircuitTests(ChainTestCase):
    """Hosts that go out and come back, in virtual time."""

    async def test_out_and_back(self) -> None:
        """Two failures and a host is out; one probe after its rest, and it is the first again."""
        going_down = polite(MAIL=b"421 4.3.2 going down")
        first = await ScriptedServer.start(self, reactor, going_down, going_down, polite())
        [second] = await self.polite({})
        ports, transport = [first.port, second.port], self.chained()
        for _ in range(3):
            result = await self.attempt_at(ports, transport=transport)
            self.assertEqual(short(result.outcomes[0]), DELIVERED)
        subject = f"relay host 127.0.0.1:{first.port}"
        self.assertEqual((len(first.peers), list(self.alarms.now)), (2, [subject]))
        self.assertIn("421 4.3.2", self.alarms.now[subject])
        self.assertEqual((transport.health.resting, transport.health.chains_out), (1, 0))
        self.rests.advance(FIRST_REST)
        await self.attempt_at(ports, transport=transport)
        self.assertEqual((len(first.contents), len(second.contents)), (1, 3))
        self.assertEqual((self.alarms.now, transport.health.resting), ({}, 0))
        self.flushLoggedErrors()

    async def test_refusals_take_nobody_out(self) -> None:
        """What a host says of a message says nothing of the host."""
        servers = await self.polite({"MAIL": NOT_ALLOWED}, {})
        transport = self.chained()
        for _ in range(3):
            await self.attempt_at([s.port for s in servers], "5.7.1", transport=transport)
        self.assertEqual((transport.health.resting, self.alarms.now), (0, {}))

    async def test_the_last_one(self) -> None:
        """When it is out, too, there is an alarm of the chain; all of them are tried on."""
        ports, transport = [free_port(), free_port()], self.chained()
        for _ in range(3):
            result = await self.attempt_at(ports, transport=transport)
            self.assertTrue(result.host_failed)
            told = "\n".join(result.attempt.transcript)
            self.assertTrue(all(f"]:{port})" in told for port in ports))
        hosts = [f"127.0.0.1:{port}" for port in ports]
        subjects = [*(f"relay host {host}" for host in hosts), f"all of {', '.join(hosts)}"]
        self.assertEqual(list(self.alarms.now), subjects)
        self.assertEqual((transport.health.resting, transport.health.chains_out), (2, 1))
        self.rests.advance(FORGOTTEN_AFTER * 2)
        self.assertEqual((transport.health.resting, transport.health.chains_out), (0, 0))
        self.assertEqual(self.alarms.now, {})
