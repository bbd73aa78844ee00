"""Changes of suppression lists, told to peers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.peer_sharing import SharedChange
from mailrelay.directory.peers import Peer
from mailrelay.peering.client import PeerClient
from mailrelay.peering.sharing import EVERY, PeerSharing
from mailrelay.queue.store import StoreUnavailable
from tests.peering.asked import HUB, NOW, FakePeer, Said

JOE = SharedChange(HUB.id, "joe@example.net", True, "asked", 50.0)


@define
class Remembered:
    """PeerShares in memory."""

    changes: list[SharedChange] = field(factory=list)

    def untold(self, limit: int) -> Deferred[Sequence[SharedChange]]:
        """See PeerShares."""
        return succeed(self.changes[:limit])

    def told(self, change: SharedChange) -> Deferred[None]:
        """See PeerShares."""
        self.changes.remove(change)
        return succeed(None)


class SharingTests(SynchronousTestCase):
    """PeerSharing."""

    def start(self, status: int, *changes: SharedChange, signs: bool = True) -> FakePeer:
        """A peer that answers so, and what it has yet to hear."""
        peer = FakePeer(lambda said: (status, b"{}"), signs=signs)
        self.shares, self.clock = Remembered(list(changes)), Clock()

        async def caller(_: Peer) -> Any:
            return peer

        peers = {"hub": HUB, "off": evolve(HUB, id=8, disabled=True)}
        client = PeerClient(caller, lambda: NOW)
        service = PeerSharing(self.clock, lambda: peers, client, self.shares)
        service.startService()
        self.clock.advance(EVERY)
        self.successResultOf(service.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return peer

    def test_told(self) -> None:
        """PUT for what is on a list, DELETE for what is not, with when and why."""
        domain = evolve(JOE, address="*@example.net", is_suppressed=False)
        put, delete = self.start(200, JOE, domain).said
        self.assertEqual(
            (put.method, put.path), ("PUT", "/relay/v1/suppressions/joe%40example.net")
        )
        self.assertEqual(json.loads(put.body), {"reason": "asked", "changed_at": 50.0})
        self.assertEqual(
            (delete.method, delete.path), ("DELETE", "/relay/v1/suppressions/%2A%40example.net")
        )
        self.assertNotEqual(self.key(put), self.key(delete))
        self.assertEqual(self.shares.changes, [])

    def key(self, said: Said) -> str:
        """What it is known by."""
        return said.headers["Idempotency-Key"]

    def test_not_now(self) -> None:
        """A peer that does not answer, or is not the one, is left alone until next time."""
        ann = evolve(JOE, address="ann@example.net")
        for status, signs in ((0, True), (503, True), (200, False)):
            peer = self.start(status, JOE, ann, signs=signs)
            self.assertEqual((len(peer.said), len(self.shares.changes)), (1, 2))

    def test_store_is_away(self) -> None:
        """That the store does not answer is no bug, and it is looked again."""
        self.patch(Remembered, "untold", lambda *of: fail(StoreUnavailable("full")))
        self.start(200, JOE)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_not_wanted(self) -> None:
        """Who shares nothing is not told again."""
        self.start(403, JOE)
        self.assertEqual(self.shares.changes, [])

    def test_nobody(self) -> None:
        """A peer that is switched off hears of it later."""
        peer = self.start(200, evolve(JOE, peer_id=8), evolve(JOE, peer_id=9))
        self.assertEqual((peer.said, len(self.shares.changes)), ([], 2))
