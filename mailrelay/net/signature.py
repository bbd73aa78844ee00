"""Signed HTTP requests, and signed answers to them.  Pure.

A request is signed with its method, path, query, key, time, idempotency key, type and body; an
answer with its status, the request that it is to, and its body.  HMAC-SHA256, in lower-case hex.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from attrs import frozen

MOST_SKEW = 300
"""Seconds that a request's time may be off ours, either way."""

SECRET_BYTES = 32
PREFIX = "v1="

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@frozen
class Signed:
    """What is signed of a request.  ``path`` and ``query`` as sent, their encoding untouched.

    ``idempotency_key`` and ``content_type`` are empty where the request has none;
    ``body_digest`` is the SHA-256 of the body, of none of its bytes too.
    """

    method: str
    path: str
    query: str
    key_id: str
    timestamp: int  # seconds since the epoch
    idempotency_key: str
    content_type: str
    body_digest: bytes

    def signature(self, secret: bytes) -> str:
        """In hex, without what goes before it in the header field."""
        lines = (
            "mailrelay-hmac-v1",
            self.method,
            self.path,
            self.query,
            self.key_id,
            str(self.timestamp),
            self.idempotency_key,
            self.content_type.lower(),
            self.body_digest.hex(),
        )
        return _signature(secret, lines)


def response_signature(secret: bytes, status: int, request: str, body: bytes) -> str:
    """The signature, in hex, of an answer to the request whose signature is ``request``."""
    digest = hashlib.sha256(body).hexdigest()
    lines = ("mailrelay-hmac-v1-response", str(status), request, digest)
    return _signature(secret, lines)


def _signature(secret: bytes, lines: Iterable[str]) -> str:
    # hmac.digest would give up the interpreter's lock, and wait up to 0.5 ms to have it back.
    return hmac.new(secret, "\n".join(lines).encode(), "sha256").hexdigest()


def fits(given: str, expected: str) -> bool:
    """Whether the value of a header field has the ``expected`` signature, in constant time."""
    return hmac.compare_digest(given.encode(), (PREFIX + expected).encode())


def is_key_id(text: str) -> bool:
    """Whether ``text`` can name a key."""
    return _KEY_ID.fullmatch(text) is not None


def is_idempotency_key(text: str) -> bool:
    """Whether ``text`` can be what a write is known by."""
    return _IDEMPOTENCY_KEY.fullmatch(text) is not None


def timestamp_of(text: str) -> int | None:
    """The seconds that a header field says, None when it says none."""
    return int(text) if _TIMESTAMP.fullmatch(text) else None


def is_in_time(timestamp: int, now: float) -> bool:
    """Whether a request of ``timestamp`` may be believed ``now``."""
    return abs(now - timestamp) <= MOST_SKEW
