"""Signing what is posted to an application, as requests of mailrelay/1 are signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from attrs import field, frozen

from mailrelay.net.destination import parse_url
from mailrelay.net.http import BLOCK_BYTES, BodyIncomplete, StreamedBody
from mailrelay.net.signature import PREFIX, SECRET_BYTES, Signed, is_key_id


@frozen
class SigningKey:
    """A secret, and the name that the application knows it by."""

    id: str
    secret: bytes = field(repr=False)


def signing_key(text: str) -> SigningKey:
    """The key that ``NAME:HEX`` is.  Raises: ValueError."""
    name, colon, digits = text.partition(":")
    if not colon or not is_key_id(name):
        raise ValueError("must be NAME:SECRET, the name of 1 to 64 letters, digits and ._-")
    try:
        secret = bytes.fromhex(digits)
    except ValueError:
        raise ValueError("its secret must be in hexadecimal digits") from None
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"its secret must have {2 * SECRET_BYTES} hexadecimal digits")
    return SigningKey(name, secret)


def signature_fields(
    key: SigningKey, url: str, fields: Mapping[str, str], digest: bytes, now: float
) -> Mapping[str, str]:
    """The header fields that sign a POST of ``fields`` and a body of that SHA-256."""
    path, _, query = parse_url(url).path.partition("?")
    signed = Signed(
        "POST",
        path,
        query,
        key.id,
        int(now),
        fields["Idempotency-Key"],
        fields["Content-Type"],
        digest,
    )
    return {
        "Mailrelay-Key": key.id,
        "Mailrelay-Timestamp": str(signed.timestamp),
        "Mailrelay-Signature": PREFIX + signed.signature(key.secret),
    }


async def digest_of(body: bytes | StreamedBody) -> bytes:
    """SHA-256 of ``body``, read in blocks.  Raises: BodyIncomplete."""
    if isinstance(body, bytes):
        return hashlib.sha256(body).digest()
    hashed, at = hashlib.sha256(body.head), 0
    left = body.length - len(body.head)
    while left > at:
        block = await body.read(at, min(BLOCK_BYTES, left - at))
        if not block:
            raise BodyIncomplete(f"{at} bytes instead of {left}")
        hashed.update(block)
        at += len(block)
    return hashed.digest()
