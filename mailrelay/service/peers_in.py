"""What takes mail of peers and tells them what became of it, composed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.acceptance.accept import Acceptance
from mailrelay.config.convert import queue_settings
from mailrelay.config.settings import Settings
from mailrelay.control.queue import EntryFilter, QueueControl
from mailrelay.directory.login import Authenticator
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import NewEvent
from mailrelay.observe.metrics import Metrics
from mailrelay.peering.api import PeerAPI
from mailrelay.peering.blocking import Blocking
from mailrelay.peering.client import PeerClient
from mailrelay.peering.door import Door
from mailrelay.peering.feed import Feed, Reader
from mailrelay.peering.pushed import Pushed
from mailrelay.peering.pushing import Pusher, PushSurroundings
from mailrelay.peering.taking import Policy, Taking
from mailrelay.peering.told import Page
from mailrelay.queue.report import Reporter
from mailrelay.queue.store import StoreUnavailable
from mailrelay.service.snapshots import Snapshots
from mailrelay.smtp.reply import Reply
from mailrelay.storage.keeping import DatabaseAnswers
from mailrelay.storage.peer_mail import DatabasePeerMail
from mailrelay.storage.peer_upkeep import PeerUpkeep
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import repeated
from mailrelay.web.request import Route

SETTLE_EVERY, SWEEP_EVERY = 60.0, 86400.0
Committed = Callable[[Sequence[NewEvent]], None]

_log = Logger()


def as_round(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Deferred[object]]:
    """``work`` as it is repeated; a store that does not answer is asked the next time."""

    def run() -> Deferred[object]:
        done: Deferred[object] = Deferred.fromCoroutine(work())
        return done.addErrback(lambda failure: failure.trap(StoreUnavailable))

    return run


@frozen
class PeerDoors:
    """What the server has for whoever brings mail."""

    acceptance: Acceptance
    authenticator: Authenticator
    known: Snapshots
    bell: Bell
    store_trouble: Callable[[], Reply | None]
    reporter: Reporter
    told: Callable[[Peer, Page], Awaitable[int]]  # records what a peer tells of our mail


@frozen
class PeersIn:
    """The receiving side of mailrelay/1."""

    s: Surroundings
    settings: Settings
    stores: Stores
    doors: PeerDoors

    def routes(self, behind_proxy: bool) -> Sequence[Route]:
        """For one listener."""
        doors, stores, now = self.doors, self.stores, self.s.now
        door = Door(lambda: doors.known.directory, now, doors.authenticator, behind_proxy)
        mail = DatabasePeerMail(stores.database)
        taking = Taking(
            door,
            self._policy(),
            doors.acceptance,
            stores.spool.open,
            mail,
            DatabaseAnswers(stores.database, now),
            self._drop,
            now,
            self.s.workers,
        )
        feed = Feed(door, Reader(mail, doors.bell))
        blocking = Blocking(door, mail, lambda: doors.known.changed({"suppression"}))
        pushed = Pushed(door, doors.told)
        return PeerAPI(door, taking, feed, blocking, pushed).routes()

    def pusher(self, client: PeerClient, metrics: Metrics) -> Pusher:
        """What tells those who want to be told."""
        mail, known, s = DatabasePeerMail(self.stores.database), self.doors.known, self.s
        reader = Reader(mail, self.doors.bell)
        peers = PushSurroundings(
            s.clock, s.now, lambda: known.directory.peers, mail, reader, client
        )
        pusher = Pusher(peers)
        metrics.gauge(
            "mailrelay_peers_not_told",
            "Peers that do not take their events",
            lambda: pusher.failing,
        )
        return pusher

    def upkeep(self, committed: Committed, metrics: Metrics) -> MultiService:
        """What is done to peers' rows now and then."""
        upkeep = PeerUpkeep(self.stores.database, self.s.now, committed)
        removed = [0]

        async def settle() -> None:
            for peer in self.doors.known.directory.peers.values():
                if peer.account_id is not None and peer.protocol is PeerProtocol.MAILRELAY:
                    while await upkeep.settle(peer):
                        pass

        async def sweep() -> None:
            while count := await upkeep.sweep():
                removed[0] += count

        metrics.gauge(
            "mailrelay_peer_rows_removed", "Rows of peers that were swept", lambda: removed[0]
        )
        rounds = MultiService()
        for every, work in ((SETTLE_EVERY, settle), (SWEEP_EVERY, sweep)):
            repeated(self.s.clock, every, as_round(work), _log).setServiceParent(rounds)
        return rounds

    def _policy(self) -> Policy:
        known, limits = self.doors.known, self.settings.limits
        return Policy(
            self.stores.server_id,
            lambda: known.directory,
            known.suppressed,
            known.daily.refuse,
            self.doors.store_trouble,
            limits.message_bytes,
            limits.recipients,
            queue_settings(self.settings.queue).profile.give_up_after,
        )

    async def _drop(self, actor: str, ids: Sequence[int]) -> Sequence[int]:
        stores, node = self.stores, self.stores.node
        control = QueueControl(
            DatabaseQueueRecords(stores.database, lambda: node, stores.spool.remove),
            stores.queue,
            self.doors.reporter,
            self.s.now,
            self.settings.queue.retired_keep_after,
            actor,
            self.doors.known.account_kept_for,
        )
        return await control.drop(EntryFilter(ids=list(ids)))
