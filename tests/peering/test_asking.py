"""What a peer tells: read, asked for, and taken in once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.peer_feed import PeerFeedState, PeerNews, Recorded
from mailrelay.control.peer_requests import PeerRequest
from mailrelay.directory.peers import Peer, PeerOptions, PeerProtocol
from mailrelay.observe.events import EventKind
from mailrelay.peering.asking import IDLE_EVERY, LONGEST_PAUSE, FeedSurroundings, PeerFeeds
from mailrelay.peering.client import PeerClient
from mailrelay.peering.told import ToldEvent, news_of, read_oldest, read_page
from tests.peering.asked import HUB, NOW, FakePeer, Said


def told(seq: int, type_: str = "relayed", **more: Any) -> dict[str, Any]:
    """An event as a peer tells it."""
    return {"seq": seq, "type": type_, "msg_id": "k", "rcpt": "joe@remote.test", **more}


def page(*events: dict[str, Any], next_: int = 0, more: bool = False) -> tuple[int, bytes]:
    """An answer with events."""
    return 200, json.dumps({"events": events, "next": next_, "more": more}).encode()


class ToldTests(SynchronousTestCase):
    """Reading events.  Pure."""

    def test_kinds(self) -> None:
        """Each type is an event of ours, or none."""
        expected = {
            "deferred": EventKind.DELAYED,
            "relayed": EventKind.DELIVERED,
            "delivered": EventKind.DELIVERED,
            "bounced": EventKind.FAILED,
            "dsn_failed": EventKind.FAILED,
            "dsn_delayed": EventKind.DELAYED,
            "expired": EventKind.FAILED,
            "suppressed": EventKind.SUPPRESSED,
            "cancelled": EventKind.CANCELED,
            "queued": None,
            "no_bounce": EventKind.NO_BOUNCE,
            "what will be": None,
        }
        for type_, kind in expected.items():
            found = news_of(HUB, ToldEvent(1, type_))
            self.assertEqual(found.kind if found else None, kind, type_)
        suppressed = ToldEvent(1, "suppression_changed", "k", "r@remote.test")
        found = news_of(HUB, suppressed)
        assert found is not None
        self.assertEqual((found.kind, found.recipient), (None, "r@remote.test"))
        alone = evolve(HUB, options=PeerOptions(shares_suppression=False))
        self.assertIsNone(news_of(alone, suppressed))

    def test_data(self) -> None:
        """What ours would have, with the peer's name; nothing that cannot be shown."""
        event = ToldEvent(
            7,
            "bounced",
            "k",
            "joe@remote.test",
            at=12.0,
            attempt=2,
            smtp_code=550,
            enhanced="5.1.1",
            text="no\r\nsuch \x1buser" + "!" * 999,
            remote_host="mx.remote.test",
        )
        news = news_of(HUB, event)
        assert news is not None
        data = dict(news.data)
        reply = str(data.pop("reply"))
        self.assertTrue(reply.isprintable() and len(reply) <= 500)
        self.assertEqual(
            data,
            {
                "destination": "peer:hub",
                "peer": "hub",
                "code": 550,
                "status": "5.1.1",
                "host": "mx.remote.test",
                "ended_at": 12.0,
                "answered": True,
                "attempt": 2,
            },
        )

    def test_little(self) -> None:
        """An event of which nothing is known but its type."""
        news = news_of(HUB, ToldEvent(7, "dsn_failed", enhanced="junk", smtp_code=999))
        assert news is not None
        self.assertEqual((news.data["code"], news.data["status"]), (0, ""))
        self.assertTrue(news.data["dsn"])

    def test_junk(self) -> None:
        """What is no page is none; what is not known of one is passed over."""
        for text in (b"", b"[]", b"{}", b'{"events": [{}]}', b'{"events": [{"seq": -1}]}', b"\xff"):
            self.assertIsNone(read_page(text), text)
        for text in (b"", b"{}", b'{"oldest": "1"}', b'{"oldest": true}', b'{"oldest": -1}'):
            self.assertIsNone(read_oldest(text), text)
        self.assertEqual(read_oldest(b'{"oldest": 5, "x": 1}'), 5)
        found = read_page(json.dumps({"events": [told(3, new={"a": 1})], "next": 2}).encode())
        assert found is not None
        self.assertEqual((found.position, found.more), (3, False))


@define
class Remembered:
    """PeerFeedStore in memory."""

    position: int = 0
    is_awaited: bool = True
    news: list[PeerNews] = field(factory=list)
    open_: list[PeerRequest] = field(factory=list)
    rounds: list[str] = field(factory=list)

    def state(self, peer_id: int, now: float) -> Deferred[PeerFeedState]:
        """See PeerFeedStore."""
        return succeed(PeerFeedState(self.position, self.is_awaited))

    def record(
        self, peer_id: int, news: Sequence[PeerNews], position: int, at: float, kept_for: object
    ) -> Deferred[Recorded]:
        """See PeerFeedStore."""
        self.news += [one for one in news if not one.position or one.position > self.position]
        self.position = max(self.position, position)
        return succeed(Recorded(self.position))

    def open_requests(
        self, peer_id: int, now: float, limit: int
    ) -> Deferred[Sequence[PeerRequest]]:
        """See PeerFeedStore."""
        return succeed(self.open_)

    def expire(self, now: float, limit: int) -> Deferred[int]:
        """See PeerFeedStore."""
        self.rounds.append("expire")
        return succeed(0)

    def sweep(self, now: float, limit: int) -> Deferred[int]:
        """See PeerFeedStore."""
        self.rounds.append("sweep")
        return succeed(0)


class FeedTests(SynchronousTestCase):
    """PeerFeeds, with a peer that answers at once, or not yet."""

    def setUp(self) -> None:
        """A peer that keeps every request."""
        self.clock = Clock()
        self.store = Remembered()
        self.waiting: list[Deferred[None]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.peer = FakePeer(lambda said: self.answers.pop(0))
        self.hub: Peer = HUB

        async def caller(peer: Peer) -> Any:
            return self

        self.feeds = PeerFeeds(
            FeedSurroundings(
                self.clock,
                lambda: NOW + self.clock.seconds(),
                lambda: {"hub": self.hub},
                PeerClient(caller, lambda: NOW),
                self.store,
                lambda account_id: 0.0,
            )
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Nothing is left behind."""
        if self.feeds.running:
            self.successResultOf(self.feeds.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def call(self, method: str, url: str, headers: Any, body: Any, timeout: float) -> Any:
        """See Caller: answers when there is an answer, and waits for one."""
        while not self.answers:
            self.waiting.append(Deferred())
            await self.waiting[-1]
        return await self.peer.call(method, url, headers, body, timeout)

    def answer(self, *answers: tuple[int, bytes]) -> None:
        """What the peer answers now."""
        self.answers += answers
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)

    @property
    def said(self) -> list[Said]:
        """What was asked."""
        return self.peer.said

    def test_taken_in(self) -> None:
        """It asks on from where it is, waiting at the peer while something is awaited."""
        self.feeds.startService()
        self.assertEqual(self.store.rounds, ["expire", "sweep"])
        self.answer(page(told(4), told(6, "queued"), next_=9))
        self.assertEqual([one.position for one in self.store.news], [4])
        self.answer(page(next_=9))
        self.assertEqual(
            [one.query for one in self.said],
            ["after=0&limit=200&wait=25", "after=9&limit=200&wait=25"],
        )
        self.assertEqual(len(self.waiting), 1)

    def test_idle(self) -> None:
        """A peer of which nothing is awaited is asked now and then, and when it took something."""
        self.store.is_awaited = False
        self.feeds.startService()
        self.answer(page(next_=0))
        self.assertEqual((len(self.said), self.waiting), (1, []))
        self.clock.pump([10.0] * int(IDLE_EVERY / 10))
        self.assertEqual(len(self.waiting), 1)
        self.answer(page(next_=0))
        self.store.is_awaited = True
        self.feeds.wake(HUB)
        self.answer(page(next_=0))
        self.assertEqual(self.said[-1].query, "after=0&limit=200&wait=25")

    def test_trouble(self) -> None:
        """Answers that are not its own, errors, silence: later and later, then well again."""
        self.feeds.startService()
        for count, answer in enumerate(((500, b""), (200, b"junk"), (0, b"")), 1):
            self.answer(answer)
            self.assertEqual((len(self.said), self.waiting), (count, []))
            self.clock.advance(2.0 ** (count - 1))
            self.assertEqual(len(self.waiting), 1)
        self.peer.signs = False
        self.answer(page(told(4), next_=9))
        self.assertEqual((self.store.news, self.store.position), ([], 0))
        self.peer.signs = True
        self.clock.pump([1.0] * int(LONGEST_PAUSE))
        self.answer(page(told(4), next_=9))
        self.assertEqual(self.store.position, 9)

    def test_gone(self) -> None:
        """Events that the peer has no more: each open message is asked for, then it goes on."""
        self.store.open_ = [PeerRequest(7, "k", 1, {1: "joe@remote.test"}, b"", 0.0, 1.0, "q/1")]
        results = [
            {"rcpt": "joe@remote.test", "state": "bounced", "final": True},
            {"rcpt": "ann@remote.test", "state": "deferred", "final": False},
        ]
        self.feeds.startService()
        standing = json.dumps({"id": "q/1", "results": results}).encode()
        self.answer((410, b'{"oldest": 50}'), (200, standing))
        self.assertEqual(self.said[1].path, "/relay/v1/messages/q%2F1")
        self.assertEqual([(n.key, n.kind) for n in self.store.news], [("k", EventKind.FAILED)])
        self.assertEqual(self.store.position, 50)

    def test_who_is_asked(self) -> None:
        """Nobody who is switched off, has no URL, or speaks something else; who is new, soon."""
        for hub in (
            evolve(HUB, disabled=True),
            evolve(HUB, url=""),
            evolve(HUB, protocol=PeerProtocol.ZOTONIC),
        ):
            self.hub = hub
            if not self.feeds.running:
                self.feeds.startService()
            self.clock.advance(10.0)
            self.assertEqual(self.waiting, [])
        self.hub = HUB
        self.clock.advance(10.0)
        self.assertEqual(len(self.waiting), 1)
