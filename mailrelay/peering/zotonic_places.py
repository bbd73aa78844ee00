"""Where Zotonic relays report to us: a path for each, which only the relay is told.  Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from attrs import field, frozen

from mailrelay.directory.peers import Peer
from mailrelay.peering.zotonic import LONGEST_URL

PATH = "/relay/zotonic"
"""The last segment is the relay's own."""


@frozen
class ZotonicPlaces:
    """Makes and knows the URLs, below ``public_url``: none without."""

    secret: bytes = field(repr=False)
    public_url: str

    def of(self, peer: Peer) -> str:
        """Where ``peer`` is to report, "" when it cannot."""
        base = self.public_url.rstrip("/")
        url = f"{base}{PATH}/{self._token(peer)}"
        return url if base and len(url) <= LONGEST_URL else ""

    def peer_at(self, token: str, peers: Iterable[Peer]) -> Peer | None:
        """Whose place this is, told in constant time."""
        given = token.encode()  # as text, it would have to be ASCII
        found = [one for one in peers if hmac.compare_digest(self._token(one).encode(), given)]
        return found[0] if found else None

    def _token(self, peer: Peer) -> str:
        told = f"zotonic reports {peer.id}".encode()
        return hmac.digest(self.secret, told, "sha256").hex()[:32]
