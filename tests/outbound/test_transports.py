"""What a transport asks of a connection: families, mechanisms, verified TLS for REQUIRETLS."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.dispatch import FailTransport
from mailrelay.queue.outcome import Outcome
from mailrelay.routing.transports import Direct, NamedTransport
from mailrelay.routing.ways import ByRelayHost, Fail, RelayHost
from mailrelay.smtp.reply import reply
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.scripted_server import Manners, ScriptedServer, polite
from tests.outbound.delivery import RECIPIENT, OutboundTestCase, make_job, short

AUTHORITY = Authority()
DELIVERED, LATER = "delivered 250 2.0.0", "deferral 454 4.7.0"


class HostTests(OutboundTestCase):
    """Transports that name a server."""

    trust_root = AUTHORITY.trust_root

    async def serve(self, *offers: bytes, **answers: Any) -> None:
        """A server that offers this within TLS, and REQUIRETLS."""
        tls = AUTHORITY.options(["127.0.0.1"])
        manners = Manners([], [b"REQUIRETLS", *offers], tls=tls, answers=answers)
        self.server = await ScriptedServer.start(self, reactor, polite(manners))
        self.made = self.transport()

    async def by(self, tls: TLSLevel = TLSLevel.VERIFY, **given: Any) -> Outcome:
        """What an attempt by a transport comes to; ``given`` is of RelayHost, and require_tls."""
        fields = {"require_tls": given.pop("require_tls", False)}
        host = RelayHost("127.0.0.1", self.server.port, tls, **given)
        destination = NamedTransport("t", host).destination("peer.test")
        job = make_job(destination.way, destination.key, [RECIPIENT], **fields)
        result = await self.made.attempt(job)
        self.flushLoggedErrors()
        return result.outcomes[0]

    async def test_requiretls(self) -> None:
        """Only a transport that is set to verified TLS takes it; for the others it is over."""
        await self.serve()
        self.assertEqual(short(await self.by(require_tls=True)), DELIVERED)
        for level in (TLSLevel.NONE, TLSLevel.MAY, TLSLevel.ENCRYPT):
            self.assertEqual(short(await self.by(level)), DELIVERED)
            outcome = await self.by(level, require_tls=True)
            self.assertEqual(short(outcome), "failure 550 5.7.30")
        self.assertEqual(len(self.server.contents), 4)

    async def test_requiretls_by_a_relay_host(self) -> None:
        """A relay host's level is raised, as before."""
        await self.serve()
        way = ByRelayHost(RelayHost("127.0.0.1", self.server.port, TLSLevel.MAY))
        result = await self.made.attempt(make_job(way, "relay", [RECIPIENT], require_tls=True))
        self.assertEqual(short(result.outcomes[0]), DELIVERED)
        self.assertIsNotNone(result.attempt.tls)

    async def test_requiretls_direct(self) -> None:
        """What goes to MX hosts is returned, through a proxy or not."""
        destination = NamedTransport("t", Direct(ipv6=False)).destination("peer.test")
        job = make_job(destination.way, destination.key, [RECIPIENT], require_tls=True)
        result = await self.transport().attempt(job)
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.7.30")

    async def test_mechanisms(self) -> None:
        """One that is not among them is not used, and nothing is sent without login."""
        await self.serve(b"AUTH PLAIN LOGIN", AUTH=b"235 2.7.0 welcome")
        login: dict[str, Any] = {"username": "me", "password": "secret"}
        self.assertEqual(short(await self.by(**login, mechanisms=("SCRAM-SHA-256",))), LATER)
        self.assertEqual(self.server.contents, [])
        self.assertEqual(short(await self.by(**login, mechanisms=("PLAIN",))), DELIVERED)
        self.assertTrue(any(line.startswith(b"AUTH PLAIN") for line in self.server.lines))

    async def test_another_password_is_another_connection(self) -> None:
        """A kept connection is not used once its password has changed."""
        await self.serve(b"AUTH PLAIN", AUTH=b"235 2.7.0 welcome")
        for password in ("old", "old", "new"):
            outcome = await self.by(username="me", password=password)
            self.assertEqual(short(outcome), DELIVERED)
        self.assertEqual([len(peer.contents) for peer in self.server.peers], [2, 1])


class DirectTests(OutboundTestCase):
    """A transport that leaves a family of addresses out."""

    async def hosts(self, kind: Direct) -> list[str]:
        """The addresses that are tried."""
        resolver = FakeResolver(hosts={"peer.test": ["::1", "127.0.0.1"]})
        made = self.transport(resolver, mx_port=1)
        destination = NamedTransport("t", kind).destination("peer.test")
        result = await made.attempt(make_job(destination.way, destination.key, [RECIPIENT]))
        lines = [line for line in result.attempt.transcript if line.endswith("]:1)")]
        return [line.partition("[")[2].partition("]")[0] for line in lines]

    async def test_families(self) -> None:
        """Both, or the one that is left; what is switched off for all stays off."""
        self.assertEqual(await self.hosts(Direct()), ["::1", "127.0.0.1"])
        self.assertEqual(await self.hosts(Direct(ipv4=False)), ["::1"])
        self.assertEqual(await self.hosts(Direct(ipv6=False)), ["127.0.0.1"])
        self.settings = evolve(self.settings, ipv6=False)
        self.assertEqual(await self.hosts(Direct(ipv4=False)), [])


class FailTests(SynchronousTestCase):
    """A transport that fails."""

    def test_codes(self) -> None:
        """Its code decides whether the mail is tried again."""
        made = FailTransport(lambda: 1.0, Clock())
        for code, expected in ((450, "deferral 450 4.7.0"), (554, "failure 554 5.7.0")):
            way = Fail(reply(code, f"{code // 100}.7.0", "closed"))
            destination = NamedTransport("t", way).destination("peer.test")
            job = make_job(destination.way, destination.key, [RECIPIENT])
            result = self.successResultOf(made.attempt(job))
            self.assertEqual(short(result.outcomes[0]), expected)
