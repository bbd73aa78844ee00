"""What an authority may come to see while a name is proved to be ours; nothing at other times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailrelay.certificates.pair import Pair
from mailrelay.certificates.settings import HTTP_01

ACME_TLS = b"acme-tls/1"
PATH = "/.well-known/acme-challenge/{token}"
MOST_AT_ONCE = 10

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


@frozen
class Challenge:
    """What an authority wants to see of ``name``: ``authorization`` at its place."""

    kind: str
    name: str
    url: str
    token: str
    authorization: str


@define
class Challenges:
    """Those in flight, a few at the most."""

    _tokens: dict[str, bytes] = field(factory=dict)
    _certificates: dict[str, Pair] = field(factory=dict)

    @property
    def certificates(self) -> Mapping[str, Pair]:
        """Of tls-alpn-01 (RFC 8737), by name."""
        return self._certificates

    def answer(self, token: str) -> bytes | None:
        """What http-01 has at ``token`` (RFC 8555 section 8.3)."""
        return self._tokens.get(token)

    @contextmanager
    def shown(self, challenge: Challenge, proof: Pair | None) -> Iterator[None]:
        """Show a challenge's answer for a while; ``proof`` is tls-alpn-01's."""
        if len(self._tokens) + len(self._certificates) >= MOST_AT_ONCE:
            raise RuntimeError("names are proved one at a time")
        if challenge.kind == HTTP_01:
            self._tokens[challenge.token] = challenge.authorization.encode()
        elif proof is not None:
            self._certificates[challenge.name] = proof
        try:
            yield
        finally:
            self._tokens.pop(challenge.token, None)
            self._certificates.pop(challenge.name, None)


def proof_of(challenge: Challenge, now: float) -> Pair:
    """The certificate of tls-alpn-01 (RFC 8737 section 3).  Its key is new."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(now, UTC) - timedelta(hours=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme-tls-alpn-01")])
    digest = hashlib.sha256(challenge.authorization.encode()).digest()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(challenge.name)]), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True
        )
        .sign(key, hashes.SHA256())
    )
    return Pair((built,), key, "a challenge")
