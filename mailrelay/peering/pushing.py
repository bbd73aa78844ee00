"""Peers with a callback URL are told of their mail there: the page that they could ask for.

Invariants:

- A peer's position moves when the peer has answered, signed, up to where it has taken them; what
  was not answered is pushed again.
- A peer that does not take its events is tried less and less often, never given up: the events are
  kept as long as its messages are, and it may ask for them as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
from attrs import define, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.control.peer_mail import PeerMail
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.net.destination import UnusableURL
from mailrelay.net.http import CallFailed
from mailrelay.net.tls import UnusableCertificate
from mailrelay.peering.client import NoKey, PeerAnswer, PeerCall, PeerClient
from mailrelay.peering.feed import LONGEST_WAIT, Reader
from mailrelay.peering.telling import feed_out
from mailrelay.queue.store import StoreUnavailable

AT_ONCE = 100
"""Events that are pushed together."""

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 3600.0
LOOK_EVERY = 5.0


class NotTaken(Exception):
    """The peer did not say that it has the events."""


class _Cursor(msgspec.Struct, frozen=True):
    cursor: int


@frozen
class PushSurroundings:
    """What pushing is given.  ``now`` is since the epoch."""

    clock: IReactorTime
    now: Callable[[], float]
    peers: Callable[[], Mapping[str, Peer]]
    mail: PeerMail
    reader: Reader
    client: PeerClient


@define(eq=False)
class _Pushing:
    """One peer that is told: how often it did not listen, and up to where there was nothing."""

    name: str
    loop: Deferred[None] | None = None
    failures: int = 0
    position: int = 0


class Pusher(Service):
    """Pushes to all peers that have a callback URL."""

    _log = Logger()

    def __init__(self, surroundings: PushSurroundings) -> None:
        self._s = surroundings
        self._pushed: dict[str, _Pushing] = {}
        self._looking: Deferred[None] | None = None

    @property
    def failing(self) -> int:
        """Peers that do not take their events now."""
        return sum(one.failures > 0 for one in self._pushed.values())

    @override
    def startService(self) -> None:
        super().startService()
        self._looking = Deferred.fromCoroutine(self._look_on())
        self._looking.addErrback(_unless_canceled)

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        loops = [self._looking, *(one.loop for one in self._pushed.values())]
        return Deferred.fromCoroutine(_ended(loops))

    async def _look_on(self) -> None:
        """See which peers there are, again and again."""
        while self.running:
            for name, peer in self._s.peers().items():
                if _is_told(peer) and name not in self._pushed:
                    one = self._pushed[name] = _Pushing(name)
                    one.loop = Deferred.fromCoroutine(self._push_on(one))
                    one.loop.addErrback(_unless_canceled).addBoth(partial(self._over, one))
            await self._wait(LOOK_EVERY)

    def _over(self, one: _Pushing, _: object) -> None:
        self._pushed.pop(one.name, None)

    def _wait(self, seconds: float) -> Deferred[None]:
        return deferLater(self._s.clock, seconds, lambda: None)

    async def _push_on(self, one: _Pushing) -> None:
        while self.running:
            peer = self._s.peers().get(one.name)
            if peer is None or not _is_told(peer):
                return
            pause = await self._pushed_once(one, peer)
            if pause and self.running:
                await self._wait(pause)

    async def _pushed_once(self, one: _Pushing, peer: Peer) -> float:
        """Push what there is; seconds until it is tried again."""
        try:
            await self._push(one, peer)
        except CancelledError:
            raise
        except (NotTaken, CallFailed, NoKey, UnusableURL, UnusableCertificate) as error:
            if one.failures == 0 and self.running:
                self._log.warn("{name} takes no events: {why}", name=peer.name, why=str(error))
        except StoreUnavailable:
            self._log.warn("events of peers cannot be read; trying again")
        except Exception:
            self._log.failure("events of a peer cannot be pushed")
        else:
            one.failures = 0
            return 0.0
        one.failures += 1
        return min(FIRST_PAUSE * 2.0 ** min(one.failures - 1, 20), LONGEST_PAUSE)

    async def _push(self, one: _Pushing, peer: Peer) -> None:
        s = self._s
        assert peer.account_id is not None
        known = max(one.position, await s.mail.position(peer.id))
        feed = await s.reader.read(peer.id, peer.account_id, known, AT_ONCE, LONGEST_WAIT)
        page = feed_out(feed)
        if page["events"]:
            cursor = await self._told(peer, page, feed.position)
            if cursor <= known:
                raise NotTaken("it says that it has seen none of them")
            await s.mail.acknowledge(peer.id, cursor, s.now())
            one.position = cursor
        else:
            one.position = max(feed.position, known)

    async def _told(self, peer: Peer, page: dict[str, object], position: int) -> int:
        """Up to where the peer has them.  Raises: NotTaken, CallFailed."""
        call = PeerCall(
            "POST",
            "/events",
            body=msgspec.json.encode(page),
            content_type="application/json",
            key=f"events.{peer.id}.{position}",
        )
        answer = await self._s.client.ask(peer, call, url=peer.callback_url)
        return min(_cursor_in(answer), position)


def _cursor_in(answer: PeerAnswer) -> int:
    if answer.status != 200:
        raise NotTaken(f"it answered {answer.status}")
    if not answer.is_verified:
        raise NotTaken("it answered 200, without its signature")
    try:
        return msgspec.json.decode(answer.body, type=_Cursor).cursor
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotTaken("it answered 200, without a cursor") from None


def _is_told(peer: Peer) -> bool:
    is_ours = peer.protocol is PeerProtocol.MAILRELAY and not peer.disabled
    return is_ours and bool(peer.callback_url) and peer.account_id is not None


def _unless_canceled(failure: Failure) -> None:
    failure.trap(CancelledError)


async def _ended(loops: list[Deferred[None] | None]) -> None:
    for loop in loops:
        if loop is not None:
            loop.cancel()
            await loop
