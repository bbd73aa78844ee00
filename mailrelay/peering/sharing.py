"""Tells peers of changes of our suppression lists: the newest of each address.  A.6.3."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.control.peer_sharing import PeerShares, SharedChange
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.peering.client import PeerAnswer, PeerCall, PeerClient
from mailrelay.queue.store import StoreUnavailable

EVERY = 10.0
MOST_TOGETHER = 200
REFUSED = frozenset({400, 403, 404, 405, 422})
"""The peer does not want to hear of it: it is not told again."""


async def _nobody(peer: Peer, change: SharedChange) -> int | None:
    return None


class PeerSharing(Service):
    """Looks every few seconds what peers have not heard of yet."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        peers: Callable[[], Mapping[str, Peer]],
        client: PeerClient,
        shares: PeerShares,
        sites: Callable[[Peer, SharedChange], Awaitable[int | None]] = _nobody,
    ) -> None:
        self._clock, self._peers = clock, peers
        self._client, self._shares, self._sites = client, shares, sites
        self._next: IDelayedCall | None = None
        self._telling: Deferred[None] = succeed(None)

    @override
    def startService(self) -> None:
        super().startService()
        self._next = self._clock.callLater(EVERY, self._tell)

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._telling.cancel()
        return self._telling

    def _tell(self) -> None:
        self._telling = Deferred.fromCoroutine(self._tell_all())
        self._telling.addErrback(self._failed)
        self._telling.addCallback(self._again)

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is not None:
            self._log.warn("peers hear of suppression lists later: the store does not answer")
        elif self.running:
            self._log.failure("peers cannot be told of suppression lists", failure)

    def _again(self, _: object) -> None:
        if self.running:
            self._next = self._clock.callLater(EVERY, self._tell)

    async def _tell_all(self) -> None:
        """Tell what there is to tell; who does not answer is left alone until next time."""
        peers = {peer.id: peer for peer in self._peers().values() if not peer.disabled}
        for change in await self._shares.untold(MOST_TOGETHER):
            peer = peers.get(change.peer_id)
            if peer is None or not peer.url or not self.running:
                continue
            if not await self._told(peer, change):
                del peers[peer.id]

    async def _told(self, peer: Peer, change: SharedChange) -> bool:
        """Whether the peer heard of it, or does not want to."""
        try:
            status = await self._asked(peer, change)
        except Exception:  # its transport says more of that, and the next time is soon
            return False
        if status is None:
            return False
        if status in REFUSED:
            self._log.warn(
                "{name} takes no changes of suppression lists: it answered {status}",
                name=peer.name,
                status=status,
            )
        await self._shares.told(change)
        return True

    async def _asked(self, peer: Peer, change: SharedChange) -> int | None:
        """The status of an answer that is the peer's last word; None without one."""
        if peer.protocol is PeerProtocol.ZOTONIC:
            return await self._sites(peer, change)
        answer = await self._client.ask(peer, _call(change))
        return answer.status if _is_over(answer) else None


def _is_over(answer: PeerAnswer) -> bool:
    return answer.is_verified and (answer.status < 300 or answer.status in REFUSED)


def _call(change: SharedChange) -> PeerCall:
    digest = hashlib.sha256(change.address.encode()).hexdigest()[:24]
    body = {"reason": change.reason, "changed_at": change.changed_at}
    return PeerCall(
        "PUT" if change.is_suppressed else "DELETE",
        f"/suppressions/{quote(change.address, safe='')}",
        "",
        msgspec.json.encode(body),
        "application/json",
        f"suppression.{digest}.{int(change.changed_at * 1000)}",
    )
