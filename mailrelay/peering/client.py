"""Signed requests to a peer, and its answers, which are believed when they are signed.  A.6.2.

Invariant: what is not signed by the peer, for exactly this request, is nobody's word: a proxy or a
captive portal answers 200 as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from attrs import field, frozen

from mailrelay.directory.peers import Peer, PeerKey
from mailrelay.net.destination import parse_url
from mailrelay.net.http import Body, HTTPAnswer
from mailrelay.peering.signature import PREFIX, Signed, fits, response_signature

BASE = "/relay/v1"
LONGEST_WAIT = 3600.0
"""Seconds: of a longer Retry-After the rest is not waited."""

_SECONDS = re.compile(r"[0-9]{1,12}")


class NoKey(Exception):
    """No key of ours works for this peer."""


class Caller(Protocol):
    """What HTTPClient is asked for here."""

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> HTTPAnswer:
        """See HTTPClient.  Raises: CallFailed."""


@frozen
class PeerCall:
    """A request.  ``path`` is behind the peer's URL, percent-encoded, as ``query`` is.

    ``digest`` is the SHA-256 of the body: it must be given where that is streamed.
    """

    method: str
    path: str
    query: str = ""
    body: Body = b""
    content_type: str = ""
    key: str = ""
    digest: bytes | None = field(default=None, repr=False)


@frozen
class PeerAnswer:
    """What came; ``is_verified`` when it is whole, and the peer's own, to this request."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    is_verified: bool

    @property
    def wait(self) -> float:
        """Seconds that it asks to wait."""
        text = self.headers.get("retry-after", "").strip()
        return min(float(text), LONGEST_WAIT) if _SECONDS.fullmatch(text) else 0.0


@frozen
class PeerClient:
    """Asks peers; ``caller`` has the client for one of them.  ``now`` is since the epoch."""

    caller: Callable[[Peer], Awaitable[Caller]]
    now: Callable[[], float]

    async def ask(
        self, peer: Peer, call: PeerCall, timeout: float | None = None, url: str = ""
    ) -> PeerAnswer:
        """The answer within ``timeout`` seconds, the peer's own unless given.

        ``url`` is whole, in place of the peer's.

        Raises: CallFailed, NoKey, UnusableURL, UnusableCertificate.
        """
        key = peer.our_key(self.now())
        if key is None:
            raise NoKey(f"no key of ours works for {peer.name}: mailrelay peer rotate --ours")
        there = parse_url(url or peer.url + BASE + call.path)
        signed = self._signed(there.path, call, key)
        signature = signed.signature(key.secret)
        url = f"{there.scheme}://{there.authority}{there.path}"
        url += f"?{call.query}" if call.query else ""
        caller, headers = await self.caller(peer), _headers(signed, signature)
        within = timeout or peer.options.timeout
        answer = await caller.call(call.method, url, headers, call.body, within)
        given = answer.headers.get("mailrelay-response-signature", "")
        expected = response_signature(key.secret, answer.status, signature, answer.body_start)
        is_verified = answer.is_whole and fits(given, expected)
        return PeerAnswer(answer.status, answer.headers, answer.body_start, is_verified)

    def _signed(self, path: str, call: PeerCall, key: PeerKey) -> Signed:
        digest = call.digest
        if digest is None:
            assert isinstance(call.body, bytes)
            digest = hashlib.sha256(call.body).digest()
        return Signed(
            call.method,
            path,
            call.query,
            key.key_id,
            int(self.now()),
            call.key,
            call.content_type,
            digest,
        )


def _headers(signed: Signed, signature: str) -> Mapping[str, str]:
    headers = {
        "Mailrelay-Key": signed.key_id,
        "Mailrelay-Timestamp": str(signed.timestamp),
        "Mailrelay-Signature": PREFIX + signature,
    }
    if signed.idempotency_key:
        headers["Idempotency-Key"] = signed.idempotency_key
    if signed.content_type:
        headers["Content-Type"] = signed.content_type
    return headers
