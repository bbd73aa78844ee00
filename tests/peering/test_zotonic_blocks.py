"""What a Zotonic relay is told of recipients that are blocked here."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.peer_sharing import SharedChange
from mailrelay.directory.peers import Peer
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.peering.zotonic_blocks import ZotonicBlocks
from tests.peering import zotonic_peer as site
from tests.peering.test_zotonic_submission import HUB, KEYS, URL, FakeSite

CHANGE = SharedChange(7, "rita@remote.test", True, "asked us", 1.0)
OK = site.answer(200, b'{"status":"ok"}')


class BlockTests(SynchronousTestCase):
    """One change."""

    def told(self, relay: FakeSite, change: SharedChange = CHANGE, peer: Peer = HUB) -> int | None:
        """What came of it."""

        async def poster(peer: Peer) -> FakeSite:
            return relay

        blocks = ZotonicBlocks(poster, lambda: 5.0)
        told: Deferred[int | None] = Deferred.fromCoroutine(blocks.told(peer, change))
        return self.successResultOf(told)

    def test_posted(self) -> None:
        """Below the relay's URL, with the secret, blocked or not."""
        for is_suppressed, body in ((True, site.BLOCK), (False, site.UNBLOCK)):
            relay = FakeSite([OK])
            self.assertEqual(self.told(relay, evolve(CHANGE, is_suppressed=is_suppressed)), 200)
            [(url, headers, posted)] = relay.said
            self.assertEqual(url, f"{URL}/recipient?s={site.SECRET_IN_QUERY}")
            self.assertEqual((headers["Content-Type"], posted), ("application/json", body))

    def test_answers(self) -> None:
        """Only its own word ends it, or that it cannot be understood."""
        answers: tuple[tuple[HTTPAnswer, int | None], ...] = (
            (OK, 200),
            (site.answer(400, site.PAYLOAD), 400),
            (site.answer(200, site.LOGIN_PAGE), None),
            (site.answer(200, site.EACCES), None),
            (site.answer(403, site.EACCES), None),
            (site.answer(404, site.ENOENT), None),
            (site.answer(500, b""), None),
        )
        for answer, status in answers:
            self.assertEqual(self.told(FakeSite([answer])), status, answer)

    def test_not_asked(self) -> None:
        """Without a secret nothing is asked; who cannot be reached is told later."""
        relay = FakeSite([OK])
        self.assertIsNone(self.told(relay, peer=evolve(HUB, keys=KEYS[1:])))
        self.assertEqual(relay.said, [])

        async def poster(peer: Peer) -> FakeSite:
            return FakeSite(["nobody is there"])

        telling = ZotonicBlocks(poster, lambda: 5.0).told(HUB, CHANGE)
        self.failureResultOf(Deferred.fromCoroutine(telling), CallFailed)
