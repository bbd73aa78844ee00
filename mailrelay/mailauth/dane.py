"""DANE (RFC 6698, 7671, 7672): what TLSA records say of the certificates a server shows.

PKIX-TA(0) and PKIX-EE(1) are not used with SMTP (RFC 7672 section 3.1.3); records that cannot be
used are as if they said only that there is TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256, sha512

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from mailrelay.net.dnssec import TLSA
from mailrelay.net.peer_tls import CertificateRefused, Flaw, is_named, refused

TRUST_ANCHOR, END_ENTITY = 2, 3
_LENGTHS = {1: 32, 2: 64}
_DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda data: data,
    1: lambda data: sha256(data).digest(),
    2: lambda data: sha512(data).digest(),
}


def is_usable(record: TLSA) -> bool:
    """Whether we can compare a certificate with ``record``."""
    if record.usage not in (TRUST_ANCHOR, END_ENTITY) or record.selector not in (0, 1):
        return False
    if record.matching == 0:
        return _is_whole(record.selector, record.data)
    return len(record.data) == _LENGTHS.get(record.matching)


def _is_whole(selector: int, data: bytes) -> bool:
    try:
        if selector == 0:
            x509.load_der_x509_certificate(data)
        else:
            load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def usable(records: Sequence[TLSA]) -> tuple[TLSA, ...]:
    """Those that can be used.

    RFC 7671 section 9: of several digests of one certificate or key only the strongest counts.
    """
    found = [record for record in records if is_usable(record)]
    best: dict[tuple[int, int], int] = {}
    for record in found:
        key = record.usage, record.selector
        best[key] = max(best.get(key, 0), record.matching)
    return tuple(
        record for record in found if record.matching in (0, best[record.usage, record.selector])
    )


def authenticate(
    records: Sequence[TLSA], names: Sequence[str], chain: Sequence[x509.Certificate]
) -> TLSA:
    """The record by which ``chain``, the server's certificate first, is believed.

    ``records`` are usable ones; ``names`` those one of which a trust anchor must have vouched for
    (RFC 7672 section 3.2.3).  Raises: CertificateRefused.
    """
    if not chain:
        raise CertificateRefused("the server shows no certificate")
    for record in records:
        # RFC 7672 section 3.1.1: neither names nor dates of the certificate are looked at.
        if record.usage == END_ENTITY and _fits(record, chain[0]):
            return record
    trouble = CertificateRefused(f"none of {len(records)} TLSA records fits its certificate")
    for record in records:
        if record.usage == TRUST_ANCHOR:
            anchor = _anchor(record, chain)
            if anchor is None:
                continue
            try:
                _check_chain(chain, anchor, names)
            except CertificateRefused as error:
                trouble = error
            else:
                return record
    raise trouble


def _fits(record: TLSA, certificate: x509.Certificate) -> bool:
    """Whether it is of this certificate, or its key."""
    try:
        if record.selector == 0:
            selected = certificate.public_bytes(Encoding.DER)
        else:
            key = certificate.public_key()
            selected = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return False  # a key of a kind that nobody knows
    return _DIGESTS[record.matching](selected) == record.data


def _anchor(record: TLSA, chain: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The certificate that ``record`` names; it must be shown, unless it is in the record whole."""
    for certificate in chain:
        if _fits(record, certificate):
            return certificate
    if (record.selector, record.matching) == (0, 0):
        return x509.load_der_x509_certificate(record.data)
    return None


def _check_chain(
    chain: Sequence[x509.Certificate], anchor: x509.Certificate, names: Sequence[str]
) -> None:
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.add_cert(crypto.X509.from_cryptography(anchor))
    own, *others = [crypto.X509.from_cryptography(one) for one in chain]
    try:
        crypto.X509StoreContext(store, own, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        raise refused(error.certificate, error.errors[0]) from error
    if not _is_for_servers(chain[0]):
        raise CertificateRefused("its certificate is not for servers")
    if not any(is_named(chain[0], name) for name in names):
        text = f"its certificate is for none of {', '.join(names)}"
        raise CertificateRefused(text, Flaw.OTHER_NAME)


def _is_for_servers(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    uses = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    return any(use in found.value for use in uses)


@frozen
class ByRecords:
    """A check by usable TLSA records, and names for those of trust anchors."""

    records: tuple[TLSA, ...]
    names: tuple[str, ...]

    def __call__(self, chain: Sequence[x509.Certificate]) -> object:
        """See Check."""
        return authenticate(self.records, self.names, chain)
