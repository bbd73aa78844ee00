"""What hands mail to peers, composed: their clients, the transport, and how it stands with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults

from mailrelay.config.convert import queue_settings
from mailrelay.config.settings import Settings
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerOptions, PeerProtocol
from mailrelay.net.http import ClientSettings, HTTPClient
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import ClientTLS, client_certificate, client_tls, trust_root
from mailrelay.observe.events import NewEvent
from mailrelay.peering.asking import FeedSurroundings, PeerFeeds
from mailrelay.peering.client import PeerClient
from mailrelay.peering.sharing import PeerSharing
from mailrelay.peering.standing import Standing
from mailrelay.peering.submission import Contents, Digests, MessageSubmitter
from mailrelay.peering.transport import PeerTransport
from mailrelay.peering.zotonic_blocks import ZotonicBlocks
from mailrelay.peering.zotonic_places import ZotonicPlaces
from mailrelay.peering.zotonic_submission import ZotonicSubmitter
from mailrelay.queue.content_cache import ContentCache
from mailrelay.storage.peer_feed import DatabasePeerFeed
from mailrelay.storage.peer_requests import DatabasePeerRequests
from mailrelay.storage.peer_sharing import DatabasePeerShares
from mailrelay.storage.stores import Stores

MOST_ANSWER_BYTES = 1024 * 1024


@define(eq=False)
class PeerClients:
    """HTTP clients, one for all peers that are called alike."""

    s: Surroundings
    _made: dict[tuple[object, ...], HTTPClient] = field(factory=dict)

    async def of(self, peer: Peer) -> HTTPClient:
        """The client for a peer.  Raises: UnusableCertificate."""
        options = peer.options
        key = (options.trusted_ca, options.client_certificate, *options.allowed_networks)
        if key not in self._made:
            tls = await self.s.workers.run(_tls, options)
            s, networks = self.s, options.allowed_networks
            settings = ClientSettings(networks, most_body_bytes=MOST_ANSWER_BYTES)
            client = HTTPClient(s.reactor, s.clock, s.resolver, tls, settings)
            self._made.setdefault(key, client)
        return self._made[key]

    def close(self) -> Deferred[Any]:
        """Let go of the connections."""
        return gatherResults([client.close() for client in self._made.values()])


def _tls(options: PeerOptions) -> ClientTLS:
    root = trust_root(Path(options.trusted_ca)) if options.trusted_ca else None
    own = options.client_certificate
    return client_tls(root, client_certificate(Path(own)) if own else None)


class PeersOut:
    """The way to peers, and back what becomes of what they took."""

    def __init__(
        self,
        s: Surroundings,
        settings: Settings,
        stores: Stores,
        cache: ContentCache,
        directory: Callable[[], Directory],
        committed: Callable[[Sequence[NewEvent]], None],
    ) -> None:
        self.standing = Standing(s.clock.seconds, s.now)
        self.clients = PeerClients(s)
        self.client = PeerClient(self.clients.of, s.now)
        self.requests = DatabasePeerRequests(stores.database, stores.queue.new_id)
        contents = Contents(cache.content, stores.queue.read_spool)
        submitter = MessageSubmitter(
            stores.server_id,
            self.client,
            self.requests,
            contents,
            Digests(s.workers),
            s.now,
            queue_settings(settings.queue).profile.give_up_after,
        )
        zotonic = ZotonicSubmitter(
            settings.hostname.lower(),
            self.clients.of,
            self.requests,
            contents,
            s.workers,
            s.now,
            ZotonicPlaces(stores.secret, settings.http.public_url).of,
        )

        def kept_for(account_id: int | None) -> float:
            own = directory().retired_kept_for(account_id)
            return settings.queue.retired_keep_after if own is None else own

        store = DatabasePeerFeed(stores.database, committed, stores.spool.remove)
        self.feeds = PeerFeeds(
            FeedSurroundings(
                s.clock,
                s.now,
                lambda: directory().peers,
                self.client,
                store,
                kept_for,
                self.standing.reached,
            )
        )
        self.sharing = PeerSharing(
            s.clock,
            lambda: directory().peers,
            self.client,
            DatabasePeerShares(stores.database),
            ZotonicBlocks(self.clients.of, s.now).told,
        )
        self.transport = PeerTransport(
            lambda: directory().peers,
            {PeerProtocol.MAILRELAY: submitter, PeerProtocol.ZOTONIC: zotonic},
            self.standing,
            self.requests,
            s.now,
            self.feeds.wake,
        )

    def close(self) -> Deferred[Any]:
        """Let go of what is open."""
        return self.clients.close()
