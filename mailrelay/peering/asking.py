"""Asks peers what became of the mail that they took from us.  A.6.3.

One request a peer waits there for events while some are awaited; else it is asked now and then.
What comes is recorded in the transaction that moves our position in its events: each is recorded
once, however often it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import quote

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.control.peer_feed import PeerFeedStore
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.net.destination import UnusableURL
from mailrelay.net.http import CallFailed
from mailrelay.net.tls import UnusableCertificate
from mailrelay.peering.client import NoKey, PeerAnswer, PeerCall, PeerClient
from mailrelay.peering.told import Page, news_of, news_of_standing, read_oldest, read_page
from mailrelay.peering.told import read_standing as standing_in
from mailrelay.queue.store import StoreUnavailable

WAIT = 25
"""Seconds that a peer keeps a request for events that are awaited."""

ANSWER_WITHIN = 15.0
"""Seconds beyond that."""

MOST_EVENTS = 200
IDLE_EVERY = 300.0
"""Seconds between two looks at a peer that has nothing of ours to tell of."""

LOOK_EVERY = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
SWEEP_EVERY, SWEPT_TOGETHER = 3600.0, 500
MOST_ASKED_ONE_BY_ONE = 100


class FeedTrouble(Exception):
    """The peer did not say what it was asked."""


@frozen
class FeedSurroundings:
    """What a feed is given.  ``kept_for`` is how long an account's retired entries are.

    ``reached`` is told of peers that answer.
    """

    clock: IReactorTime
    now: Callable[[], float]
    peers: Callable[[], Mapping[str, Peer]]
    client: PeerClient
    store: PeerFeedStore
    kept_for: Callable[[int | None], float]
    reached: Callable[[Peer], object] = lambda peer: None


@define(eq=False)
class _Asking:
    """One peer that is asked: its loop, and the pause between two requests."""

    name: str
    loop: Deferred[None] | None = None
    pause: IDelayedCall | None = None
    resumed: Deferred[None] | None = None
    failures: int = 0
    most: int = MOST_EVENTS
    is_wanted: bool = field(default=False)


class PeerFeeds(Service):
    """Asks all peers that mail may be handed to."""

    _log = Logger()

    def __init__(self, surroundings: FeedSurroundings) -> None:
        self._s = surroundings
        self._asked: dict[str, _Asking] = {}
        self._look: IDelayedCall | None = None
        self._sweep_due = 0.0

    @override
    def startService(self) -> None:
        super().startService()
        self._look_around()

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._look is not None and self._look.active():
            self._look.cancel()
        loops = [one.loop for one in self._asked.values() if one.loop is not None]
        for loop in loops:
            loop.cancel()
        return Deferred.fromCoroutine(_all_over(loops))

    def wake(self, peer: Peer) -> None:
        """It took something just now: ask it."""
        asking = self._asked.get(peer.name)
        if asking is None:
            return
        asking.is_wanted = True
        if asking.failures == 0:
            _resume(asking)

    def _look_around(self) -> None:
        """See which peers there are now."""
        for name, peer in self._s.peers().items():
            if _is_asked(peer) and name not in self._asked:
                asking = self._asked[name] = _Asking(name)
                asking.loop = Deferred.fromCoroutine(self._ask_on(asking))
                asking.loop.addBoth(partial(self._ended, asking))
        if self._s.now() >= self._sweep_due:
            self._sweep_due = self._s.now() + SWEEP_EVERY
            now, store = self._s.now(), self._s.store
            swept = store.expire(now, SWEPT_TOGETHER)
            swept.addCallback(lambda _: store.sweep(now, SWEPT_TOGETHER))
            swept.addErrback(self._not_swept)
        self._look = self._s.clock.callLater(LOOK_EVERY, self._look_around)

    def _not_swept(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self._log.failure("requests to peers are not swept", failure)

    def _ended(self, asking: _Asking, result: object) -> None:
        self._asked.pop(asking.name, None)

    async def _ask_on(self, asking: _Asking) -> None:
        while self.running:
            peer = self._s.peers().get(asking.name)
            if peer is None or not _is_asked(peer):
                return
            pause = await self._asked_once(asking, peer)
            if pause and self.running:  # a request that is canceled is one that failed
                await self._rest(asking, pause)

    async def _asked_once(self, asking: _Asking, peer: Peer) -> float:
        """Ask for events; seconds to wait before it is done again."""
        try:
            pause = await self._more(asking, peer)
        except CancelledError:
            raise
        except (FeedTrouble, CallFailed, NoKey, UnusableURL, UnusableCertificate) as error:
            if asking.failures == 0 and self.running:
                self._log.warn("{name} tells no events: {why}", name=peer.name, why=str(error))
        except StoreUnavailable:
            self._log.warn("what a peer tells cannot be recorded; trying again")
        except Exception:
            self._log.failure("what a peer tells cannot be taken in")
        else:
            asking.failures = 0
            return pause
        asking.failures += 1
        return min(FIRST_PAUSE * 2.0 ** min(asking.failures - 1, 20), LONGEST_PAUSE)

    async def _more(self, asking: _Asking, peer: Peer) -> float:
        """Take in the next events; seconds until it is asked again."""
        asking.is_wanted = False
        store, now = self._s.store, self._s.now()
        state = await store.state(peer.id, now)
        wait = WAIT if state.is_awaited else 0
        query = f"after={state.position}&limit={asking.most}&wait={wait}"
        answer = await self._s.client.ask(
            peer, PeerCall("GET", "/events", query), wait + ANSWER_WITHIN
        )
        if answer.status == 410 and answer.is_verified:
            await self._one_by_one(peer, answer)
            return 0.0
        page = _page(answer)
        if page is None:
            if answer.status == 200 and asking.most > 1:
                asking.most //= 2  # it may be too long to be taken whole
            raise FeedTrouble(_why(answer))
        asking.most = MOST_EVENTS
        self._s.reached(peer)
        await self.record(peer, page)
        if page.events or page.more or state.is_awaited or asking.is_wanted:
            return 0.0 if state.is_awaited or page.more or asking.is_wanted else FIRST_PAUSE
        return IDLE_EVERY

    async def record(self, peer: Peer, page: Page) -> int:
        """Take in ``page``; up to where all is taken in.  Raises: StoreUnavailable."""
        told = [news_of(peer, event) for event in page.events]
        news = [one for one in told if one is not None]
        recorded = await self._s.store.record(
            peer.id, news, page.position, self._s.now(), self._s.kept_for
        )
        return recorded.position

    async def _one_by_one(self, peer: Peer, answer: PeerAnswer) -> None:
        """Events that we have not seen are gone: ask for what became of each message."""
        oldest = read_oldest(answer.body)
        if oldest is None:
            raise FeedTrouble(_why(answer))
        store, now = self._s.store, self._s.now()
        self._log.warn("{name} has no events of that time any more", name=peer.name)
        for request in await store.open_requests(peer.id, now, MOST_ASKED_ONE_BY_ONE):
            call = PeerCall("GET", f"/messages/{quote(request.relay_id, safe='')}")
            said = await self._s.client.ask(peer, call)
            standing = standing_in(said.body) if said.is_verified and said.status == 200 else None
            if standing is not None:
                news = news_of_standing(peer, request, standing)
                await store.record(peer.id, news, 0, self._s.now(), self._s.kept_for)
        await store.record(peer.id, [], oldest, self._s.now(), self._s.kept_for)

    async def _rest(self, asking: _Asking, seconds: float) -> None:
        asking.resumed = Deferred()
        asking.pause = self._s.clock.callLater(seconds, partial(_resume, asking))
        try:
            await asking.resumed
        finally:
            if asking.pause.active():
                asking.pause.cancel()
            asking.resumed = None


def _resume(asking: _Asking) -> None:
    resumed, asking.resumed = asking.resumed, None
    if resumed is not None:
        resumed.callback(None)


async def _all_over(loops: list[Deferred[None]]) -> None:
    for loop in loops:
        await loop


def _is_asked(peer: Peer) -> bool:
    return peer.protocol is PeerProtocol.MAILRELAY and bool(peer.url) and not peer.disabled


def _page(answer: PeerAnswer) -> Page | None:
    if answer.status != 200 or not answer.is_verified:
        return None
    return read_page(answer.body)


def _why(answer: PeerAnswer) -> str:
    if answer.status == 200:
        why = "which cannot be read" if answer.is_verified else "without its signature"
        return f"it answered 200, {why}"
    return f"it answered {answer.status}"
