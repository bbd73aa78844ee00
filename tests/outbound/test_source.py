"""The address we connect from (``source_ipv4``, ``source_ipv6``)."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.tls import TLSLevel, client_tls
from mailrelay.outbound.hosts import Target
from mailrelay.outbound.pool import Access, ConnectionPool
from mailrelay.outbound.settings import OutboundSettings
from mailrelay.outbound.transcript import Transcript
from mailrelay.testing.scripted_server import Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, short

SETTINGS = OutboundSettings(source_ipv4="192.0.2.77", source_ipv6="2001:db8::77")


class BindTests(SynchronousTestCase):
    """What the reactor is asked for."""

    def bound(self, ip: str, settings: OutboundSettings) -> Any:
        """The address that a connection to ``ip`` is bound to."""
        memory = MemoryReactorClock()
        pool = ConnectionPool(memory, memory, settings, "us", client_tls(), str)
        target, access = Target("peer.test", ip, 25), Access(TLSLevel.NONE)
        opening = Deferred.fromCoroutine(pool.connect(target, access, Transcript()))
        self.assertNoResult(opening)
        [(host, port, _, _, bind)] = memory.tcpClients
        self.assertEqual((host, port), (ip, 25))
        return bind

    def test_by_family(self) -> None:
        """Each family has its own, and a port that the kernel gives."""
        self.assertEqual(self.bound("192.0.2.1", SETTINGS), ("192.0.2.77", 0))
        self.assertEqual(self.bound("2001:db8::1", SETTINGS), ("2001:db8::77", 0))

    def test_one_family_only(self) -> None:
        """The other family's address is no source: the kernel chooses."""
        for ip, other in (
            ("192.0.2.1", evolve(SETTINGS, source_ipv4="")),
            ("2001:db8::1", evolve(SETTINGS, source_ipv6="")),
            ("192.0.2.1", OutboundSettings()),
        ):
            self.assertIsNone(self.bound(ip, other))


class ConnectionTests(OutboundTestCase):
    """What the peer sees."""

    async def test_seen_by_the_peer(self) -> None:
        """A connection comes from the address that is set."""
        seen: list[str] = []

        async def look(peer: Peer) -> None:
            seen.append(peer.transport.getPeer().host)
            peer.say(b"250 ok")

        server = await ScriptedServer.start(self, reactor, polite(MAIL=look))
        await self.outcome(server.port, transport=self.transport(source_ipv4="127.0.0.2"))
        self.assertEqual(seen, ["127.0.0.2"])

    async def test_address_that_is_not_ours(self) -> None:
        """Mail waits until the setting is mended."""
        server = await ScriptedServer.start(self, reactor, polite())
        transport = self.transport(source_ipv4="192.0.2.77")
        outcome = await self.outcome(server.port, transport=transport)
        self.assertEqual(short(outcome), "deferral 451 4.4.1")
        self.assertEqual(server.peers, [])
