"""The suite for each way out: SMTP, an application's HTTPS, and peers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import SMTPOutSection
from mailrelay.config.transports import RelayHostSection, RouteSection, TransportSection
from mailrelay.control.peers import PeerDetails
from mailrelay.control.queue import EntryFilter
from mailrelay.directory.peers import PeerProtocol
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.net.tls import TLSLevel
from mailrelay.peering.zotonic import PATH
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.scripted_server import Peer, ScriptedServer, polite
from tests.handoff.endpoint import Answer, HTTPEndpoint, Request, resets, status
from tests.integration.ways.contract import Does, NextHop, WayContract
from tests.integration.ways.peer_hop import KEY_ID, SECRET, PeerHop
from tests.integration.world import until
from tests.peering import zotonic_peer as site

IP = ["127.0.0.2"]


@define
class SMTPHop:
    """An SMTP server that keeps what it answers 250, and what it was about to."""

    recipient: str
    settings: Mapping[str, Any] = field(factory=dict)
    behaviours: list[Does] = field(factory=list)
    kept: list[bytes] = field(factory=list)
    server: ScriptedServer | None = None

    def will(self, *behaviours: Does) -> None:
        """See NextHop."""
        self.behaviours = list(behaviours)

    def copies(self) -> Sequence[bytes]:
        """See NextHop."""
        return self.kept

    async def listen(self, case: TestCase) -> int:
        """Its port."""
        self.server = await ScriptedServer.start(
            case, reactor, polite(**{".": self._answer}), interface=IP[0]
        )
        return self.server.port

    async def _answer(self, peer: Peer) -> None:
        does = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        if does in (Does.TAKES, Does.TAKES_AND_CUTS):
            self.kept.append(peer.contents[-1])
        match does:
            case Does.TAKES:
                peer.say(b"250 2.0.0 taken")
            case Does.DEFERS:
                peer.say(b"451 4.3.0 not now")
            case Does.REFUSES:
                peer.say(b"554 5.7.1 never")
            case _:
                peer.cut()


class MXTests(WayContract, TestCase):
    """To the hosts that DNS names."""

    knows_repeats = False

    async def make(self) -> NextHop:
        """See WayContract."""
        hop = SMTPHop("you@far.test")
        port = await hop.listen(self)
        hop.settings = {
            "smtp_out": SMTPOutSection(mx_port=port),
            "resolver": FakeResolver({"far.test": [(10, "mx.far.test")]}, {"mx.far.test": IP}),
        }
        return hop


class RelayHostTests(WayContract, TestCase):
    """To a relay host."""

    knows_repeats = False

    async def make(self) -> NextHop:
        """See WayContract."""
        hop = SMTPHop("you@far.test")
        port = await hop.listen(self)
        hop.settings = {"relay_host": RelayHostSection(IP[0], port, tls=TLSLevel.NONE)}
        return hop


@define
class EndpointHop:
    """An application that knows what it took by the Idempotency-Key."""

    recipient: str
    endpoint: HTTPEndpoint
    settings: Mapping[str, Any]
    behaviours: Sequence[Does] = ()

    def will(self, *behaviours: Does) -> None:
        """See NextHop."""
        self.behaviours = behaviours
        self.endpoint.answer_with(*(self.answers()[one] for one in behaviours))

    def answers(self) -> Mapping[Does, Answer]:
        """How it answers."""
        return {
            Does.TAKES: status(200, b"OK"),
            Does.DEFERS: status(503),
            Does.REFUSES: status(422),
            Does.CUTS: resets,
            Does.TAKES_AND_CUTS: resets,
        }

    def read(self, request: Request) -> tuple[str, bytes]:
        """What it knows a message by, and the message."""
        return request.one(b"Idempotency-Key").decode(), request.body

    def copies(self) -> Sequence[bytes]:
        """See NextHop."""
        kept: dict[str, bytes] = {}
        last = self.behaviours[-1]
        for number, request in enumerate(self.endpoint.requests):
            does = self.behaviours[number] if number < len(self.behaviours) else last
            if does in (Does.TAKES, Does.TAKES_AND_CUTS):
                key, content = self.read(request)
                kept[key] = content
        return list(kept.values())


class HandOffTests(WayContract, TestCase):
    """To an application's endpoint."""

    knows_repeats = True
    synchronous = False

    async def make(self) -> NextHop:
        """See WayContract."""
        endpoint = HTTPEndpoint()
        self.addCleanup(endpoint.close)
        section = HandOffSettings(
            "app",
            endpoint.url(),
            domains=["app.test"],
            permanent_statuses=[422],
            synchronous=self.synchronous,
            allowed_networks=["127.0.0.0/8"],
        )
        return EndpointHop("you@app.test", endpoint, {"handoff": [section]})


class SynchronousTests(HandOffTests):
    """To one whose answer is the reply: it is the client that tries again, and is told."""

    synchronous = True

    async def hand_in(self) -> None:
        """See WayContract."""
        self.put_off = 0
        while (reply := await self.submit()).startswith(b"4"):
            self.put_off += 1
        self.reply = reply

    async def expect(self, outcome: str, kinds: Sequence[str], copies: int) -> None:
        """See WayContract."""
        self.assertEqual(self.reply[:3], b"250")
        self.assertEqual(self.put_off, kinds.count("delayed"))
        await super().expect(outcome, [kind for kind in kinds if kind != "delayed"], copies)

    async def test_refused(self) -> None:
        """What is refused was never ours."""
        await self.begin(Does.REFUSES, Does.TAKES)
        self.assertEqual((self.reply[:3], self.put_off, self.hop.copies()), (b"550", 0, []))
        self.assertEqual(await self.control.queue.find(EntryFilter(retired=True)), [])


TO_PEER: Mapping[str, Any] = {
    "transport": [TransportSection("hub", peer="hub")],
    "route": [RouteSection(transport="hub", to_domain=["far.test"])],
}


class PeerContract(WayContract):
    """What takes mail for others: delivered is what it says later."""

    knows_repeats = True
    delivered = "handed_over"

    async def know(self, protocol: PeerProtocol, url: str, key: str) -> None:
        """Have the server know the peer."""
        details = PeerDetails(url=url, options={"allowed_networks": ("127.0.0.0/8",)})
        await self.control.peers.add("hub", protocol, details, our_key=key)
        server = self.server.server
        await until(reactor, lambda: "hub" in server.directory.peers)


class PeerTests(PeerContract, TestCase):
    """To a peer, by mailrelay/1."""

    async def make(self) -> NextHop:
        """See WayContract."""
        hop = self.peer = PeerHop("you@far.test", TO_PEER)
        self.addCleanup(hop.close)
        return hop

    async def prepare(self) -> None:
        """See WayContract."""
        key = f"{KEY_ID}:{SECRET.hex()}"
        await self.know(PeerProtocol.MAILRELAY, self.peer.url, key)


@define
class ZotonicHop(EndpointHop):
    """A Zotonic site that relays, and knows what it took by its number."""

    def answers(self) -> Mapping[Does, Answer]:
        """See EndpointHop."""
        has_it = Does.TAKES_AND_CUTS in self.behaviours
        return {
            Does.TAKES: site.http(200, site.QUEUED_BEFORE if has_it else site.QUEUED),
            Does.DEFERS: site.http(500, site.REFUSED),
            Does.REFUSES: site.http(400, site.PAYLOAD),
            Does.CUTS: resets,
            Does.TAKES_AND_CUTS: resets,
        }

    def read(self, request: Request) -> tuple[str, bytes]:
        """See EndpointHop."""
        asked = json.loads(request.body)
        return asked["message_nr"], asked["email"].encode()


class ZotonicTests(PeerContract, TestCase):
    """To a Zotonic relay, whose JSON has no eight-bit bytes."""

    arrives = b"\r\n\r\n.hidden dot\r\nand a byte: =E9\r\n"

    async def make(self) -> NextHop:
        """See WayContract."""
        endpoint = HTTPEndpoint()
        self.addCleanup(endpoint.close)
        self.url = endpoint.url(PATH)
        return ZotonicHop("you@far.test", endpoint, TO_PEER)

    async def prepare(self) -> None:
        """See WayContract."""
        await self.know(PeerProtocol.ZOTONIC, self.url, site.SECRET.decode())
