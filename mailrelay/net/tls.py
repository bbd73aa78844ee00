"""TLS contexts, ours as server and as client, and the words for how much is asked of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from mailrelay.net.peer_tls import VerifiedByRoots


class TLSLevel(Enum):
    """What a connection to a next hop must have.  Each may be over STARTTLS or implicit."""

    NONE = "none"  # never TLS
    MAY = "may"  # TLS when offered, not verified; plain when it fails
    ENCRYPT = "encrypt"  # TLS, not verified
    VERIFY = "verify"  # TLS with a certificate that is valid for the host


class UnusableCertificate(Exception):
    """The certificate or key file cannot be used; the message names it and says what to do."""


@frozen
class Negotiated:
    """What a TLS handshake agreed on, for history and trace."""

    version: str
    cipher: str

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"


class ServerCertificate(Protocol):
    """The certificate that a listener shows, whatever it is at the moment."""

    def options(self) -> IOpenSSLServerConnectionCreator:
        """What to start TLS with now."""


@implementer(IOpenSSLServerConnectionCreator)
@frozen
class ServerTLS:
    """Connections of ``context``."""

    context: SSL.Context

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """See IOpenSSLServerConnectionCreator."""
        return SSL.Connection(self.context, None)


def server_context(chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> SSL.Context:
    """What our listeners ask of TLS, with a certificate, its chain and its key.

    Raises: UnusableCertificate when they do not belong together.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    first: Any
    first, *others = chain
    own: Any = key
    try:
        context.use_certificate(first)
        for other in others:
            context.add_extra_chain_cert(other)
        context.use_privatekey(own)
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise UnusableCertificate(
            f"no certificate with its key ({reason_of(error)}): set [tls] to PEM files that"
            " belong together"
        ) from error
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    # With both off no session is resumed: tls-unique of a resumed one binds SCRAM to nothing.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def reason_of(error: Exception) -> str:
    """What OpenSSL says."""
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return str(error) or "no reason given"


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Encrypts, and believes any certificate; sends the host name for SNI."""

    def __init__(self, hostname: str, context: SSL.Context) -> None:
        self._hostname, self._context = hostname, context

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._hostname):
            connection.set_tlsext_host_name(self._hostname.encode("ascii"))
        connection.set_app_data(tlsProtocol)
        return connection


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


class ClientTLS(Protocol):
    """Makes the creator for a connection to a host at a level."""

    def __call__(
        self, host: str, level: TLSLevel, *, is_observed: bool = False
    ) -> IOpenSSLClientConnectionCreator:
        """With ``is_observed`` a certificate is looked at that needs not be right."""


def trust_root(path: Path) -> object:
    """The certificates in a PEM file, for ``client_tls``.  Raises: UnusableCertificate."""
    try:
        blocks = _PEM.findall(path.read_bytes())
        found = [ssl.Certificate.loadPEM(block) for block in blocks]
    except (OSError, SSL.Error) as error:
        raise UnusableCertificate(f"{path} cannot be used: {error}") from error
    if not found:
        raise UnusableCertificate(f"{path} has no certificate")
    return ssl.trustRootFromCertificates(found)


_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@frozen
class ClientCertificate:
    """Our own, with its key and those between it and its authority."""

    certificate: x509.Certificate
    key: Any = field(repr=False)
    chain: Sequence[x509.Certificate] = ()

    def options(self) -> dict[str, Any]:
        """For CertificateOptions."""
        chain = list(self.chain)
        return {"privateKey": self.key, "certificate": self.certificate, "extraCertChain": chain}


def client_certificate(path: Path) -> ClientCertificate:
    """The certificate and key in a PEM file, for ``client_tls``.  Raises: UnusableCertificate."""
    try:
        data = path.read_bytes()
        first, *chain = x509.load_pem_x509_certificates(data)
        return ClientCertificate(first, load_pem_private_key(data, None), chain)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableCertificate(f"{path} cannot be used: {error}") from error


def client_tls(trust_root: Any = None, certificate: ClientCertificate | None = None) -> ClientTLS:
    """Creators that verify against ``trust_root``, the system's certificates when None.

    Who is verified is shown our own ``certificate``, if any.
    """
    verifying = ssl.CertificateOptions(
        trustRoot=trust_root if trust_root is not None else ssl.platformTrust(),
        raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
    )
    own = {} if certificate is None else certificate.options()
    unverified = SSL.Context(SSL.TLS_CLIENT_METHOD)
    unverified.set_min_proto_version(SSL.TLS1_2_VERSION)
    unverified.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)

    def creator(
        host: str, level: TLSLevel, *, is_observed: bool = False
    ) -> IOpenSSLClientConnectionCreator:
        if is_observed or (level is TLSLevel.VERIFY and certificate is None):
            return VerifiedByRoots(host, verifying.getContext(), is_observed=is_observed)
        if level is TLSLevel.VERIFY:
            return ssl.optionsForClientTLS(
                host,
                trustRoot=trust_root,
                extraCertificateOptions={"raiseMinimumTo": ssl.TLSVersion.TLSv1_2, **own},
            )
        return _Unverified(host, unverified)

    return creator


def negotiated(transport: object) -> Negotiated | None:
    """What ``transport`` agreed on, None when it is not TLS or not yet."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, SSL.Connection):
        return None
    cipher = handle.get_cipher_name()
    return Negotiated(handle.get_protocol_version_name(), cipher) if cipher else None


def channel_binding(transport: object) -> tuple[str, bytes] | None:
    """What ties a client to its TLS connection: tls-exporter (RFC 9266), tls-unique before 1.3.

    As a client that resumes no session: its Finished is the first of a full handshake.
    """
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, SSL.Connection):
        return None
    if handle.get_protocol_version_name() == "TLSv1.3":
        return "tls-exporter", handle.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    finished = handle.get_finished()
    return ("tls-unique", finished) if finished else None
