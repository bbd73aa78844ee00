"""Telling a Zotonic relay which recipients an operator blocks here, or does no longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from attrs import frozen

from mailrelay.control.peer_sharing import SharedChange
from mailrelay.directory.peers import Peer
from mailrelay.net.http import HTTPAnswer
from mailrelay.peering.zotonic import block_body, with_secret

BAD_REQUEST = 400


class Poster(Protocol):
    """What HTTPClient is asked for here."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See HTTPClient.  Raises: CallFailed."""


@frozen
class ZotonicBlocks:
    """Asks relays."""

    poster: Callable[[Peer], Awaitable[Poster]]
    now: Callable[[], float]

    async def told(self, peer: Peer, change: SharedChange) -> int | None:
        """The status of an answer that ends it; None when it is to be told again.

        A wrong secret or path ends nothing: it is mended here or there.  Raises: CallFailed.
        """
        key = peer.our_key(self.now())
        if key is None:
            return None
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        url = with_secret(f"{peer.url}/recipient", key.secret)
        body = block_body(change.address, is_blocked=change.is_suppressed)
        poster = await self.poster(peer)
        answer = await poster.post(url, headers, body, peer.options.timeout)
        if answer.status == BAD_REQUEST or (answer.status == 200 and _is_ok(answer)):
            return answer.status
        return None


def _is_ok(answer: HTTPAnswer) -> bool:
    try:
        said = msgspec.json.decode(answer.body_start)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("status") == "ok"
