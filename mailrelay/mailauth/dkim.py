"""DKIM: what a signature says, what it signs of a header, and what a key is (RFC 6376, 8301, 8463).

Pure, but for the arithmetic of keys, which is not for the reactor's thread.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import define, field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailrelay.mailauth.canonical import Body, RelaxedBody, SimpleBody, relaxed_field, simple_field
from mailrelay.mailauth.tags import MalformedTags, parse_tags, without_space

SHORTEST_RSA = 1024
"""Bits of a key that is believed (RFC 8301 section 3.2)."""

PublicKey: TypeAlias = RSAPublicKey | Ed25519PublicKey

_CANONICAL: dict[str, Callable[[bytes], bytes]] = {
    "simple": simple_field,
    "relaxed": relaxed_field,
}
_BODIES: dict[str, Callable[[Callable[[bytes], object]], Body]] = {
    "simple": SimpleBody,
    "relaxed": RelaxedBody,
}
_OWN_VALUE = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]{1,12}")


class MalformedSignature(Exception):
    """The field is no signature that could be checked."""


class MalformedKey(Exception):
    """The record is no key that could check this signature."""


class Algorithm(StrEnum):
    """How it is signed; rsa-sha1 is believed no more (RFC 8301 section 3.1)."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"


@frozen
class BodyHash:
    """What is hashed of a body: how it is written, and its first ``most_bytes`` if not all."""

    canonical: str
    most_bytes: int | None = None


@define
class BodyDigest:
    """The hash of a body that goes by."""

    of: BodyHash
    size_bytes: int = field(default=0, init=False)  # of the body as it is signed
    _hash: Any = field(factory=hashlib.sha256, init=False)
    _body: Body = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._body = _BODIES[self.of.canonical](self._take)

    def update(self, piece: bytes) -> None:
        """Take the next piece, cut anywhere."""
        self._body.update(piece)

    def finish(self) -> bytes:
        """The digest; there is no more."""
        self._body.finish()
        return bytes(self._hash.digest())

    @property
    def is_whole(self) -> bool:
        """Whether all of the body was hashed."""
        return self.of.most_bytes is None or self.size_bytes <= self.of.most_bytes

    def _take(self, signed: bytes) -> None:
        most = self.of.most_bytes
        left = len(signed) if most is None else max(0, most - self.size_bytes)
        self._hash.update(signed[:left])
        self.size_bytes += len(signed)


@frozen
class Signature:
    """A DKIM-Signature field that can be checked.  Times are since the epoch."""

    raw: bytes  # the whole field, without its last CRLF
    algorithm: Algorithm
    domain: str
    selector: str
    header: str  # how fields are written: simple or relaxed
    body: BodyHash
    body_digest: bytes
    names: Sequence[str]  # of the fields it signs, in lower case
    value: bytes
    identity: str
    signed_at: int | None = None
    expires_at: int | None = None

    @property
    def key_name(self) -> str:
        """Where its key is in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"

    def signed_bytes(self, fields: Sequence[bytes]) -> bytes:
        """What is signed of a header with these ``fields``, whole and in order."""
        write = _CANONICAL[self.header]
        chosen = [write(raw) for raw in chosen_fields(fields, self.names)]
        return b"".join(chosen) + write(without_value(self.raw)).removesuffix(b"\r\n")


def without_value(raw: bytes) -> bytes:
    """A field of a signature as it is signed itself: without what b= says."""
    name, colon, value = raw.partition(b":")
    return name + colon + _OWN_VALUE.sub(rb"\1", value, count=1)


def raw_fields(header: bytes) -> list[bytes]:
    """The fields of a header section, whole, without their last CRLFs."""
    fields: list[bytes] = []
    for line in header.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\r\n" + line
        elif b":" not in line:
            break
        else:
            fields.append(line)
    return fields


def field_name(raw: bytes) -> str:
    """A field's name in lower case."""
    return raw.partition(b":")[0].strip(b" \t").lower().decode("ascii", "replace")


def chosen_fields(fields: Sequence[bytes], names: Sequence[str]) -> list[bytes]:
    """The fields that ``names`` mean: of one name the last first (RFC 6376 section 5.4.2)."""
    by_name: dict[str, list[bytes]] = {}
    for raw in fields:
        by_name.setdefault(field_name(raw), []).append(raw)
    return [left.pop() for name in names if (left := by_name.get(name))]


def parse_signature(raw: bytes) -> Signature:
    """Raises: MalformedSignature."""
    tags = tags_of(raw)
    version = tags.get("v", "")
    if version != "1":
        raise MalformedSignature(f"v={version[:20]} is no version we know")
    return signature_of(raw, tags)


def tags_of(raw: bytes) -> Tags:
    """The tags of a field.  Raises: MalformedSignature."""
    try:
        return Tags(parse_tags(raw.partition(b":")[2].decode("ascii")))
    except UnicodeDecodeError:
        raise MalformedSignature("it is not ASCII") from None
    except MalformedTags as error:
        raise MalformedSignature(str(error)) from None


class Tags(dict[str, str]):
    """Tags of which some must be there."""

    def __missing__(self, name: str) -> str:
        raise MalformedSignature(f"{name}= is missing")


def signature_of(raw: bytes, tags: Tags) -> Signature:
    """What the field says, but for its version.  Raises: MalformedSignature."""
    algorithm = algorithm_of(tags)
    header, _, body = tags.get("c", "simple/simple").lower().partition("/")
    body = body or "simple"
    if header not in _CANONICAL or body not in _BODIES:
        raise MalformedSignature(f"c={tags['c'][:40]} is no way to write a message that we know")
    domain, selector = key_place(tags)
    if "dns/txt" not in (one.strip() for one in tags.get("q", "dns/txt").lower().split(":")):
        raise MalformedSignature("q= asks for a key that is not in DNS")
    names = [name.strip().lower() for name in tags["h"].split(":")]
    if "from" not in names:
        raise MalformedSignature("h= does not sign From")
    return Signature(
        raw,
        algorithm,
        domain,
        selector,
        header,
        BodyHash(body, _number(tags, "l")),
        base64_of(tags, "bh"),
        names,
        base64_of(tags, "b"),
        _identity(tags, domain),
        _number(tags, "t"),
        _number(tags, "x"),
    )


def algorithm_of(tags: Tags) -> Algorithm:
    """Raises: MalformedSignature."""
    try:
        return Algorithm(tags["a"].lower())
    except ValueError:
        raise MalformedSignature(f"a={tags['a'][:40]} is no algorithm that is believed") from None


def key_place(tags: Tags) -> tuple[str, str]:
    """The domain and the selector of the key.  Raises: MalformedSignature."""
    domain, selector = tags["d"], tags["s"]
    if not _DOMAIN.fullmatch(domain) or not _DOMAIN.fullmatch(selector):
        raise MalformedSignature("d= or s= is no domain")
    return domain.lower(), selector.lower()


def base64_of(tags: Tags, name: str) -> bytes:
    """Raises: MalformedSignature."""
    try:
        return b64decode(without_space(tags[name]), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedSignature(f"{name}= is no base64") from None


def _identity(tags: dict[str, str], domain: str) -> str:
    """The i= tag, of the signing domain or below it."""
    identity = without_space(tags.get("i", f"@{domain}"))
    own = identity.rpartition("@")[2].lower()
    if "@" not in identity or not f".{own}".endswith(f".{domain.lower()}"):
        raise MalformedSignature("i= is not of the domain of d=")
    return identity


def _number(tags: dict[str, str], name: str) -> int | None:
    if name not in tags:
        return None
    if not _NUMBER.fullmatch(tags[name]):
        raise MalformedSignature(f"{name}= is no number")
    return int(tags[name])


@frozen
class Key:
    """A key record (RFC 6376 section 3.6.1)."""

    public: PublicKey
    is_testing: bool = False
    is_strict: bool = False  # for identities of its own domain only

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether ``signature`` is this key's, of those bytes.  Takes a tenth of a millisecond."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, signed, padding.PKCS1v15(), SHA256())
            else:
                self.public.verify(signature, hashlib.sha256(signed).digest())
        except InvalidSignature:
            return False
        return True


def parse_key(record: bytes, algorithm: Algorithm) -> Key:
    """The key that a TXT record has for ``algorithm``.  Raises: MalformedKey."""
    try:
        tags = dict(parse_tags(record.decode("ascii")))
    except (UnicodeDecodeError, MalformedTags):
        raise MalformedKey("the key record cannot be read") from None
    if tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
        raise MalformedKey("the TXT record is no DKIM key")
    kind = tags.get("k", "rsa").lower()
    if algorithm.value != f"{kind}-sha256":
        raise MalformedKey(f"the key is of {kind[:20]}, the signature of {algorithm.value}")
    if "h" in tags and "sha256" not in _listed(tags["h"]):
        raise MalformedKey("the key is not for sha256")
    if not {"*", "email"} & set(_listed(tags.get("s", "*"))):
        raise MalformedKey("the key is not for mail")
    if not tags["p"]:
        raise MalformedKey("the key is revoked")
    flags = _listed(tags.get("t", ""))
    return Key(_public(tags["p"], algorithm), "y" in flags, "s" in flags)


def _listed(value: str) -> list[str]:
    return [one.strip().lower() for one in value.split(":")]


def _public(value: str, algorithm: Algorithm) -> PublicKey:
    try:
        encoded = b64decode(without_space(value), validate=True)
        if algorithm is Algorithm.ED25519:
            return Ed25519PublicKey.from_public_bytes(encoded)
        key = load_der_public_key(encoded)
    except (binascii.Error, ValueError, TypeError):
        raise MalformedKey("p= is no public key") from None
    except Exception as error:  # UnsupportedAlgorithm: a key of some other kind
        raise MalformedKey(f"p= is no key that we know: {type(error).__name__}") from None
    if not isinstance(key, RSAPublicKey):
        raise MalformedKey("p= is no RSA key")
    if key.key_size < SHORTEST_RSA:
        raise MalformedKey(f"the key has {key.key_size} bits; {SHORTEST_RSA} are the least")
    return key
