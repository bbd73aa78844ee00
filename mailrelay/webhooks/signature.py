"""Signatures by the Standard Webhooks scheme (https://www.standardwebhooks.com).  Pure.

What is signed is ``id.timestamp.body``, with HMAC-SHA256 under each secret that is in use.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable

PREFIX = "whsec_"
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes behind the prefix, as the scheme has them."""


class MalformedSecret(ValueError):
    """The text is no secret of the scheme; it is not repeated in the message."""


def secret_of(key: bytes) -> str:
    """The secret whose random bytes are ``key``, as it is told.  Raises: MalformedSecret."""
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise MalformedSecret(f"a secret has {SHORTEST_KEY} to {LONGEST_KEY} bytes")
    return PREFIX + b64encode(key).decode("ascii")


def key_of(secret: str) -> bytes:
    """The reverse of ``secret_of``.  Raises: MalformedSecret."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedSecret(f"what stands behind {PREFIX} is no base64") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY or not secret.startswith(PREFIX):
        raise MalformedSecret(f"a secret is {PREFIX} and base64 of {SHORTEST_KEY} to 64 bytes")
    return key


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """``v1,`` and the signature.  Raises: MalformedSecret."""
    signed = f"{id_}.{timestamp}.".encode() + body
    digest = hmac.digest(key_of(secret), signed, "sha256")
    return f"v1,{b64encode(digest).decode('ascii')}"


def signed_headers(secrets: Iterable[str], id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The scheme's header fields; a receiver takes the body when one of the signatures fits."""
    signatures = " ".join(signature(secret, id_, timestamp, body) for secret in secrets)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures,
    }
