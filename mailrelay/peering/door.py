"""Who asks, by a signed request: nothing is done before the whole of it is verified.

Invariants:

- The body is digested while it streams to where it goes; what goes there is used only once the
  signature, which has the digest, is known to be the peer's.
- An unknown key and a wrong signature get the same answer after the same work.
- What is answered to a verified request is signed, refusals too, so that a proxy's answer is never
  taken for ours.  What is answered before that is not: whoever asks would have us sign it for a
  request of another's, and learn which keys there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

import msgspec
from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerKey, PeerProtocol
from mailrelay.peering.signature import (
    PREFIX,
    Signed,
    fits,
    is_idempotency_key,
    is_in_time,
    is_key_id,
    response_signature,
    timestamp_of,
)
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.body import BodyRefused, BodyTrouble
from mailrelay.web.request import JSON, Refused, Request, Response

KEY, TIMESTAMP = "mailrelay-key", "mailrelay-timestamp"
SIGNATURE, IDEMPOTENCY_KEY = "mailrelay-signature", "idempotency-key"
RESPONSE_SIGNATURE = "Mailrelay-Response-Signature"
SIGNED_FIELDS = (KEY, TIMESTAMP, SIGNATURE, IDEMPOTENCY_KEY, "content-type")

NOBODYS = bytes(32)
"""The secret that an unknown key is checked with: the work is the same."""

SMALL_BODY_BYTES = 64 * 1024


class Failures(Protocol):
    """How often somebody failed to prove who they are."""

    def allows(self, ip: str) -> bool:
        """Whether another try from ``ip`` may be judged at all."""

    def failed(self, ip: str) -> None:
        """Count one."""


class Refusal(Exception):
    """The request is not obeyed; the answer is ``status`` and ``text``."""

    def __init__(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_after = status, text, retry_after

    def response(self) -> Response:
        """As it is answered."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return answer(self.status, {"error": self.text}, headers)


@frozen
class Verified:
    """A request that is the peer's own.  ``digest`` is of its body."""

    peer: Peer
    key: str  # what the write is known by; "" of a request that writes nothing
    digest: bytes
    signature: str
    peer_ip: str
    is_secure: bool


Sink = Callable[[bytes], Awaitable[object] | None]


def answer(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    """JSON, not signed yet."""
    return Response(status, msgspec.json.encode(value), headers or {}, JSON)


@define
class Claim:
    """Who a request says it is of, to be verified by its body.  ``key`` is None when unknown."""

    request: Request
    signed: Signed
    given: str
    peer: Peer | None
    key: PeerKey | None
    is_verified: bool = field(default=False, init=False)

    @property
    def signature(self) -> str:
        """In hex, as it was given."""
        return self.given.removeprefix(PREFIX)

    def signs(self, response: Response) -> Response:
        """``response``, signed where the request was."""
        if self.key is None or not self.is_verified or not isinstance(response.body, bytes):
            return response
        secret = self.key.secret
        signed = response_signature(secret, response.status, self.signature, response.body)
        headers = {**response.headers, RESPONSE_SIGNATURE: PREFIX + signed}
        return evolve(response, headers=headers)


@frozen
class Door:
    """Verifies requests against the directory.  ``now`` is since the epoch."""

    directory: Callable[[], Directory]
    now: Callable[[], float]
    failures: Failures
    behind_proxy: bool = False
    _log = Logger()

    async def answered(
        self, request: Request, work: Callable[[Claim], Awaitable[Response]]
    ) -> Response:
        """What ``work`` answers, or why it does not, signed."""
        try:
            claim = self._claim(request)
        except Refusal as refusal:
            return refusal.response()
        try:
            return claim.signs(await work(claim))
        except Unverified:
            return Refusal(401, "unknown key or wrong signature").response()
        except Refusal as refusal:
            return claim.signs(refusal.response())
        except Refused as refused:
            return claim.signs(refused.response)
        except BodyRefused as trouble:
            return claim.signs(Refusal(trouble.status, trouble.text.strip()).response())
        except BodyTrouble:
            return Refusal(400, "the body is incomplete").response()
        except StoreUnavailable:
            text = "the store does not answer now"
            return claim.signs(Refusal(503, text, retry_after=5).response())
        except Exception:
            self._log.failure("a peer's request failed: {path}", path=request.path)
            return claim.signs(Refusal(500, "internal error").response())

    def _claim(self, request: Request) -> Claim:
        """What the header says.  Raises: Refusal."""
        if not (request.is_secure or self.behind_proxy or is_loopback(request.peer_ip)):
            raise Refusal(403, "peers are spoken with over https")
        if not self.failures.allows(request.peer_ip):
            raise Refusal(429, "too many requests of unknown peers", retry_after=60)
        headers = request.headers
        for name in SIGNED_FIELDS:
            if len(headers.all(name)) > 1:
                raise Refusal(400, f"the field {name} is there twice")
        given = {name: headers.get(name) or "" for name in SIGNED_FIELDS}
        timestamp = timestamp_of(given[TIMESTAMP])
        if timestamp is None or not is_key_id(given[KEY]) or not given[SIGNATURE]:
            raise Refusal(401, "the request is not signed")
        key = given[IDEMPOTENCY_KEY]
        if key and not is_idempotency_key(key):
            raise Refusal(400, "Idempotency-Key is 1 to 128 printable ASCII characters")
        if not key and request.method in ("POST", "PUT", "DELETE"):
            raise Refusal(400, "the request has no Idempotency-Key")
        signed = Signed(
            request.method,
            request.path,
            request.query,
            given[KEY],
            timestamp,
            "" if request.method == "GET" else key,
            given["content-type"],
            b"",
        )
        return Claim(request, signed, given[SIGNATURE], *self._known(given[KEY]))

    def _known(self, key_id: str) -> tuple[Peer | None, PeerKey | None]:
        for peer in self.directory().peers.values():
            if peer.protocol is PeerProtocol.MAILRELAY:
                for key in peer.their_keys(self.now()):
                    if key.key_id == key_id:
                        return peer, key
        return None, None

    async def verified(self, claim: Claim, limit: int, sink: Sink) -> Verified:
        """The request, once all of its body is in ``sink``; of a stranger's nothing goes there.

        Raises: Unverified, Refusal, BodyTrouble, and what ``sink`` raises.
        """
        digest = hashlib.sha256()
        is_known = claim.key is not None

        def took(data: bytes) -> Awaitable[object] | None:
            digest.update(data)
            return sink(data) if is_known else None

        request = claim.request
        await request.body.stream(took, limit)
        signed = evolve(claim.signed, body_digest=digest.digest())
        secret = claim.key.secret if claim.key is not None else NOBODYS
        right = fits(claim.given, signed.signature(secret))
        peer = claim.peer
        if not right or peer is None:
            self.failures.failed(request.peer_ip)
            raise Unverified
        claim.is_verified = True
        if not is_in_time(signed.timestamp, self.now()):
            raise Refusal(401, "the timestamp is more than 300 seconds off: look at both clocks")
        if peer.disabled:
            raise Refusal(403, "the peer is disabled here")
        return Verified(
            peer,
            signed.idempotency_key,
            signed.body_digest,
            claim.signature,
            request.peer_ip,
            request.is_secure,
        )

    async def small(self, claim: Claim) -> tuple[Verified, bytes]:
        """The request and its whole body, which is small.  Raises: as ``verified``."""
        pieces: list[bytes] = []
        verified = await self.verified(claim, SMALL_BODY_BYTES, pieces.append)
        return verified, b"".join(pieces)


class Unverified(Exception):
    """Whoever asks is not who they say."""


@lru_cache(maxsize=1024)
def is_loopback(ip: str) -> bool:
    """Whether the client is on this machine: nobody reads what it says on the way."""
    try:
        return ip_address(ip).is_loopback
    except ValueError:
        return ip == "local"  # a Unix socket
