"""Direct delivery through a SOCKS5 proxy on loopback, which is the mail host at the same time."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor

from mailrelay.net.tls import TLSLevel
from mailrelay.queue.transport import Job, Result
from mailrelay.routing.ways import ByMX, SocksProxy
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import Manners, Peer, Script, ScriptedServer, polite
from tests.outbound.delivery import QUICK, RECIPIENT, OutboundTestCase, make_job, short

AUTHORITY = Authority()
NAME = "mx.peer.test"
HOSTS = FakeResolver(
    mx={"peer.test": [(1, NAME)]},
    hosts={NAME: ["2001:db8::25", "192.0.2.25"], "proxy.test": ["127.0.0.1"]},
)
GRANTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


class Proxied:
    """A script: a SOCKS server that grants, or answers so, then an SMTP server."""

    def __init__(self, smtp: Script, answer: bytes = GRANTED) -> None:
        self._smtp, self._answer = smtp, answer
        self.asked: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        """See Script."""
        assert await peer.take(3) == b"\x05\x01\x00"
        peer.send(b"\x05\x00")
        request = await peer.take(4)
        self.asked.append(request + await peer.take((4 if request[3] == 1 else 16) + 2))
        peer.send(self._answer)
        if self._answer[1] == 0:
            await self._smtp(peer)
        else:
            await peer.be_silent()


class SocksDeliveryTests(OutboundTestCase):
    """Mail for peer.test, whose addresses only the proxy can reach."""

    trust_root = AUTHORITY.trust_root

    def job(self, port: int, host: str = "proxy.test", **given: Any) -> Job:
        """A message by a proxy on ``port``."""
        way = ByMX("peer.test", socks=SocksProxy(host, port, "out.proxy.test"), **given)
        return make_job(way, "transport:proxied:mx:peer.test", [RECIPIENT])

    async def through(self, script: Script, level: TLSLevel = TLSLevel.MAY) -> Result:
        """An attempt through a proxy that does this."""
        self.server = await ScriptedServer.start(self, reactor, script)
        transport = self.transport(HOSTS, level)
        return await transport.attempt(self.job(self.server.port, ipv6=False))

    async def test_delivered(self) -> None:
        """The proxy is given the address, EHLO has the proxy's name, the history has the host."""
        proxied = Proxied(polite(Manners()))
        result = await self.through(proxied)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(proxied.asked, [b"\x05\x01\x00\x01\xc0\x00\x02\x19\x00\x19"])
        self.assertIn(b"EHLO out.proxy.test", self.server.lines)
        self.assertEqual((result.attempt.host, result.attempt.ip), (NAME, "192.0.2.25:25"))
        self.assertIn(
            f"(through SOCKS proxy proxy.test [127.0.0.1]:{self.server.port})",
            result.attempt.transcript,
        )

    async def test_verified_tls(self) -> None:
        """STARTTLS goes through, and the certificate is the mail host's."""
        manners = Manners([b"STARTTLS"], tls=AUTHORITY.options([NAME]))
        result = await self.through(Proxied(polite(manners)), TLSLevel.VERIFY)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertIsNotNone(result.attempt.tls)

    async def test_refused(self) -> None:
        """Each address is asked for; no answer of a proxy returns mail to its sender."""
        proxied = Proxied(polite(Manners()), b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
        self.server = await ScriptedServer.start(self, reactor, proxied)
        result = await self.transport(HOSTS).attempt(self.job(self.server.port))
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.1")
        self.assertIn("connection refused by the host", result.outcomes[0].reply.text)
        self.assertEqual([asked[3] for asked in proxied.asked], [4, 1])
        self.assertTrue(result.host_failed)
        self.assertEqual(self.server.contents, [])

    async def test_silent(self) -> None:
        """A proxy that says nothing costs no more than the time for connecting."""

        async def silent(peer: Peer) -> None:
            await peer.be_silent()

        self.settings = evolve(self.settings, timeouts=QUICK)
        result = await self.through(silent)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.1")
        self.assertIn("no answer in time", result.outcomes[0].reply.text)

    async def test_proxy_unknown_or_away(self) -> None:
        """Nothing is connected to directly instead."""
        result = await self.transport(HOSTS).attempt(self.job(1080, "gone.test"))
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.4")
        result = await self.transport(HOSTS).attempt(self.job(free_port()))
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.1")
        self.assertIn("cannot be connected to", result.outcomes[0].reply.text)

    async def test_connections_are_not_shared(self) -> None:
        """A kept connection is for the same proxy and the same name only."""
        server = await ScriptedServer.start(self, reactor, Proxied(polite(Manners())))
        transport = self.transport(HOSTS)
        for host in ("proxy.test", "proxy.test", "127.0.0.1"):
            result = await transport.attempt(self.job(server.port, host))
            self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual([len(peer.contents) for peer in server.peers], [2, 1])

    async def test_stopped_while_connecting(self) -> None:
        """At a stop nothing waits for a proxy that does not answer."""

        async def silent(peer: Peer) -> None:
            self.pool.abort_all()
            await peer.be_silent()

        result = await self.through(silent)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.2")
        self.assertEqual(self.pool.open_connections, 0)
