"""Signing messages with DKIM: each by all of its domain's keys (RFC 6376 section 5, RFC 8463)."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mailrelay.mailauth.canonical import relaxed_field
from mailrelay.mailauth.dkim import Algorithm, BodyHash, chosen_fields, field_name

RSA_BITS = 2048
BODY = BodyHash("relaxed")
"""Of what the hash is that ``sign`` is given."""

SIGNED = (
    *("from", "reply-to", "sender", "to", "cc", "subject", "date", "message-id"),
    *("in-reply-to", "references", "mime-version", "content-type", "content-transfer-encoding"),
    *("content-disposition", "content-id", "list-id", "list-unsubscribe"),
    *("list-unsubscribe-post", "list-post", "list-help", "list-subscribe", "list-owner"),
    *("list-archive", "auto-submitted", "feedback-id"),
)
"""What is signed where it is there."""

OVERSIGNED = frozenset(
    {
        *("from", "reply-to", "sender", "to", "cc", "subject", "date", "message-id"),
        *("in-reply-to", "references", "mime-version", "content-type"),
        "content-transfer-encoding",
    }
)
"""Of these one more is signed than there is: nobody can add one (RFC 6376 section 5.4.2)."""

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey


class UnusableKey(ValueError):
    """The text is no private key that we can sign with."""


@frozen
class SigningKey:
    """A domain's key and the selector that its public half is published under."""

    domain: str
    selector: str
    private: PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> Algorithm:
        """How it signs."""
        is_rsa = isinstance(self.private, RSAPrivateKey)
        return Algorithm.RSA if is_rsa else Algorithm.ED25519

    def record(self) -> str:
        """The TXT record to publish at selector._domainkey.domain."""
        public = self.private.public_key()
        if isinstance(self.private, RSAPrivateKey):
            encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={b64encode(encoded).decode()}"
        encoded = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={b64encode(encoded).decode()}"

    def sign(self, signed: bytes) -> bytes:
        """The signature of those bytes.  RSA takes 0.25 ms: not for the reactor's thread."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(signed, padding.PKCS1v15(), SHA256())
        return self.private.sign(hashlib.sha256(signed).digest())


def new_key(algorithm: Algorithm) -> PrivateKey:
    """A key of the kind that is made today.  RSA takes some 100 ms."""
    if algorithm is Algorithm.ED25519:
        return Ed25519PrivateKey.generate()
    return generate_private_key(65537, RSA_BITS)


def key_to_pem(key: PrivateKey) -> bytes:
    """As it is kept: PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_pem(pem: bytes) -> PrivateKey:
    """Raises: UnusableKey."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise UnusableKey(f"it is no private key in PEM: {error}") from None
    if isinstance(key, RSAPrivateKey) and key.key_size >= RSA_BITS:
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise UnusableKey(f"it must be RSA of {RSA_BITS} bits or more, or Ed25519")


def sign(
    fields: Sequence[bytes], body_digest: bytes, keys: Sequence[SigningKey], now: float
) -> bytes:
    """The DKIM-Signature fields to put in front: one of each key.

    ``fields`` are the header's, whole and in order; ``body_digest`` is the hash of BODY.
    """
    names = signed_names(fields)
    signed = b"".join(map(relaxed_field, chosen_fields(fields, names)))
    return b"".join(_signed_field(key, names, signed, body_digest, now) for key in keys)


def signed_names(fields: Sequence[bytes]) -> list[str]:
    """What h= says of a header: each field, and what must not be added."""
    there = Counter(map(field_name, fields))
    return [name for name in SIGNED for _ in range(there[name] + (name in OVERSIGNED))]


def _signed_field(
    key: SigningKey, names: Sequence[str], signed: bytes, body_digest: bytes, now: float
) -> bytes:
    return field_signed(
        key,
        [
            f"DKIM-Signature: v=1; a={key.algorithm.value}; c=relaxed/relaxed;",
            f"d={key.domain}; s={key.selector}; t={int(now)};",
            f"bh={b64encode(body_digest).decode()};",
            *folded_names(names),
        ],
        signed,
    )


def field_signed(key: SigningKey, lines: Sequence[str], signed: bytes) -> bytes:
    """A field of those ``lines`` with b=, the signature of ``signed`` and of the field itself."""
    unsigned = "\r\n\t".join([*lines, "b="]).encode()
    value = key.sign(signed + relaxed_field(unsigned).removesuffix(b"\r\n"))
    encoded = b64encode(value)
    pieces = [encoded[at : at + 72] for at in range(0, len(encoded), 72)]
    return unsigned + b"\r\n\t ".join(pieces) + b"\r\n"


def folded_names(names: Sequence[str]) -> list[str]:
    """The h= tag in lines of some 72 characters."""
    lines, line = [], "h="
    for number, name in enumerate(names, 1):
        line += name + (";" if number == len(names) else ":")
        if len(line) > 60 or number == len(names):
            lines.append(line)
            line = " "
    return lines
