"""The suite for what is spoken with servers that are not ours: SMTP, and an application's HTTPS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import SMTPOutSection
from mailrelay.config.transports import RelayHostSection
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.scripted_server import Peer, ScriptedServer, polite
from tests.handoff.endpoint import Answer, HTTPEndpoint, resets, status
from tests.integration.ways.contract import Does, NextHop, WayContract

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
    refusing: int = 422
    behaviours: Sequence[Does] = ()

    def will(self, *behaviours: Does) -> None:
        """See NextHop."""
        answers: Mapping[Does, Answer] = {
            Does.TAKES: status(200, b"OK"),
            Does.DEFERS: status(503),
            Does.REFUSES: status(self.refusing),
            Does.CUTS: resets,
            Does.TAKES_AND_CUTS: resets,
        }
        self.behaviours = behaviours
        self.endpoint.answer_with(*(answers[one] for one in behaviours))

    def copies(self) -> Sequence[bytes]:
        """See NextHop."""
        kept = {}
        last = self.behaviours[-1]
        for number, request in enumerate(self.endpoint.requests):
            does = self.behaviours[number] if number < len(self.behaviours) else last
            if does in (Does.TAKES, Does.TAKES_AND_CUTS):
                kept[request.one(b"Idempotency-Key")] = request.body
        return list(kept.values())


class HandOffTests(WayContract, TestCase):
    """To an application's endpoint."""

    knows_repeats = True

    async def make(self) -> NextHop:
        """See WayContract."""
        endpoint = HTTPEndpoint()
        self.addCleanup(endpoint.close)
        section = HandOffSettings(
            "app",
            endpoint.url(),
            domains=["app.test"],
            permanent_statuses=[422],
            allowed_networks=["127.0.0.0/8"],
        )
        return EndpointHop("you@app.test", endpoint, {"handoff": [section]})
