"""A certificate with its chain and its key: one value, as files hold it and as it is judged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from typing import Any

import attrs
from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from mailrelay.net.certificates import tlsa_digest
from mailrelay.net.tls import UnusableCertificate, server_context

DAY = 86400.0
MOST_IN_CHAIN = 20
MOST_NAMES = 200


class Fault(Enum):
    """What a pair that can be used should not be."""

    EXPIRED = "it has expired"
    NOT_YET = "it is not valid yet"
    CHAIN = "its chain is out of order: each certificate is followed by its issuer's"
    NAME = "it does not name the host"


@frozen(eq=False, slots=False)
class Pair:
    """A certificate with its chain and its key, which belong together.

    ``source`` says where it is from.
    """

    chain: Sequence[x509.Certificate]
    key: PrivateKeyTypes = attrs.field(repr=False)
    source: str

    @property
    def certificate(self) -> x509.Certificate:
        """The host's own."""
        return self.chain[0]

    @cached_property
    def names(self) -> Sequence[str]:
        """The host names that it is for, lowercase; addresses are left out."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ()
        names = found.value.get_values_for_type(x509.DNSName)
        return tuple(name.lower() for name in names[:MOST_NAMES])

    @property
    def issuer(self) -> str:
        """Who signed it, in a line."""
        return self.certificate.issuer.rfc4514_string()

    @property
    def begins(self) -> float:
        """Seconds since the epoch."""
        return self.certificate.not_valid_before_utc.timestamp()

    @property
    def ends(self) -> float:
        """Seconds since the epoch."""
        return self.certificate.not_valid_after_utc.timestamp()

    @property
    def key_type(self) -> str:
        """As ECDSA secp256r1, or RSA 2048."""
        public: Any = self.certificate.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            return f"ECDSA {public.curve.name}"
        if isinstance(public, rsa.RSAPublicKey):
            return f"RSA {public.key_size}"
        return type(public).__name__.strip("_").removesuffix("PublicKey")

    @property
    def tlsa(self) -> str:
        """The data of a TLSA record for it (DANE-EE, SPKI, SHA-256)."""
        return f"3 1 1 {tlsa_digest(self.certificate)}"

    @property
    def is_self_signed(self) -> bool:
        """Whether nobody else vouches for it."""
        return self.certificate.issuer == self.certificate.subject

    def covers(self, name: str) -> bool:
        """Whether a client that asks for ``name`` is content with it (RFC 6125 section 6.4.3)."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def faults(self, now: float, host: str) -> frozenset[Fault]:
        """What is wrong with it as ``host``'s; no host, no complaint about the name."""
        found = set()
        if self.ends < now:
            found.add(Fault.EXPIRED)
        if self.begins > now:
            found.add(Fault.NOT_YET)
        if not self._is_in_order():
            found.add(Fault.CHAIN)
        if host and not self.covers(host):
            found.add(Fault.NAME)
        return frozenset(found)

    def _is_in_order(self) -> bool:
        try:
            for one, issuer in zip(self.chain, self.chain[1:], strict=False):
                one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    @cached_property
    def context(self) -> SSL.Context:
        """For connections to it.  Nothing may be set in it: others use it."""
        return server_context(self.chain, self.key)

    def is_believed(self, now: float) -> bool:
        """Whether the system's authorities vouch for it.  Blocks."""
        from datetime import UTC, datetime

        from OpenSSL import crypto

        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_default_verify_paths()
        store = context.get_cert_store()
        assert store is not None
        store.set_time(datetime.fromtimestamp(now, UTC).replace(tzinfo=None))
        first, *others = (crypto.X509.from_cryptography(one) for one in self.chain)
        try:
            crypto.X509StoreContext(store, first, others).verify_certificate()
        except crypto.X509StoreContextError:
            return False
        return True


_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]{1,100000}-----END \1-----", re.DOTALL)


def parse_pair(certificate: bytes, private_key: bytes, source: str) -> Pair:
    """The pair of PEM texts, which may be the same one.  Raises: UnusableCertificate."""
    chain, key = [], None
    try:
        for block in _BLOCK.finditer(certificate):
            if block[1] == b"CERTIFICATE":
                chain.append(x509.load_pem_x509_certificate(block[0]))
        for block in _BLOCK.finditer(private_key):
            if block[1].endswith(b"PRIVATE KEY") and key is None:
                key = load_pem_private_key(block[0], None)
        if not chain or key is None or len(chain) > MOST_IN_CHAIN:
            what = "private key" if chain else "certificate"
            raise UnusableCertificate(
                f"{source}: no {what} in it, or more than {MOST_IN_CHAIN} certificates: set [tls]"
                " to PEM files that belong together"
            )
        pair = Pair(tuple(chain), key, source)
        server_context(pair.chain, pair.key)
        _ = pair.names, pair.issuer, pair.key_type
    except UnusableCertificate as error:
        text = str(error)
        raise UnusableCertificate(
            text if text.startswith(source) else f"{source}: {text}"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: a passphrase
        raise UnusableCertificate(f"{source} cannot be used: {str(error)[:200]}") from error
    return pair
