"""Certificates for tests, good and bad, from an authority that only the test trusts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion

from mailrelay.certificates.challenges import Challenges
from mailrelay.certificates.files import Files
from mailrelay.certificates.held import Certificates, Place
from mailrelay.certificates.ordering import key_pem
from mailrelay.net.certificates import write_private

DAY = timedelta(days=1)


@define
class Authority:
    """Signs server certificates; ``trust_root`` is what a client needs to believe them."""

    name: str = "test authority"
    _key: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), init=False, repr=False
    )

    @property
    def certificate(self) -> x509.Certificate:
        """The authority's own."""
        built = _builder(_name(self.name), _name(self.name), self._key, DAY)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        return built.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """The authority's own, as files hold it."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def trust_root(self) -> Certificate:
        """For ``mailrelay.net.tls.client_tls``."""
        return Certificate.loadPEM(self.pem)

    def issue(
        self, names: Sequence[str], *, valid_for: timedelta = DAY
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for ``names`` and its key; a negative time makes it an expired one."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(_name(names[0]), _name(self.name), key, valid_for)
        others = x509.SubjectAlternativeName([_general(name) for name in names])
        return built.add_extension(others, critical=False).sign(self._key, hashes.SHA256()), key

    def signed(
        self,
        names: Sequence[str],
        key: ec.EllipticCurvePublicKey,
        start: datetime,
        end: datetime,
    ) -> x509.Certificate:
        """A certificate for somebody else's ``key``, valid for as long as is said."""
        others = x509.SubjectAlternativeName([_general(name) for name in names])
        built = (
            x509.CertificateBuilder()
            .subject_name(_name(names[0]))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(others, critical=False)
        )
        return built.sign(self._key, hashes.SHA256())

    def write(
        self,
        certificate: Path,
        private_key: Path,
        names: Sequence[str],
        *,
        valid_for: timedelta = DAY,
        issuer: bool = True,
    ) -> None:
        """Issue into files, with the authority's own certificate behind it, or not."""
        made, key = self.issue(names, valid_for=valid_for)
        chain = [made, self.certificate] if issuer else [made]
        certificate.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        write_private(private_key, key_pem(key))

    def options(
        self,
        names: Sequence[str],
        *,
        valid_for: timedelta = DAY,
        highest: TLSVersion | None = None,
    ) -> CertificateOptions:
        """What a server starts TLS with; ``highest`` limits its versions, from 1.0 on."""
        certificate, key = self.issue(names, valid_for=valid_for)
        versions = (
            {}
            if highest is None
            else {"insecurelyLowerMinimumTo": TLSVersion.TLSv1_0, "lowerMaximumSecurityTo": highest}
        )
        return CertificateOptions(
            privateKey=key,  # type: ignore[arg-type]  # so is PKey
            certificate=certificate,  # type: ignore[arg-type]  # X509 is deprecated
            **versions,
        )


def held(certificate: Path, private_key: Path, hostname: str = "localhost") -> Certificates:
    """A server's, of one pair of files."""
    place = Place(Files(certificate, private_key), owners={os.geteuid()})
    return Certificates(hostname, place, Challenges(), time.time)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    valid_for: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + valid_for)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
