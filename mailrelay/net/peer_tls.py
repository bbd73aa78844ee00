"""Client connections that look at the server's certificate, and say what is wrong with it.

Invariant: before the certificate is believed nothing of ours is sent within TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer


class Flaw(StrEnum):
    """What is wrong with a certificate."""

    EXPIRED = "expired"
    OTHER_NAME = "other name"
    NOT_TRUSTED = "not trusted"
    INVALID = "invalid"


class CertificateRefused(Exception):
    """The server's certificate is not believed; the message, one line, says why.

    ``sending_ip`` is whence it was asked for, when that is known.
    """

    sending_ip = ""

    def __init__(self, text: str, flaw: Flaw = Flaw.INVALID) -> None:
        super().__init__(text)
        self.flaw = flaw


Check = Callable[[Sequence[x509.Certificate]], object]
"""Looks at what a server shows, its own certificate first.  Raises: CertificateRefused."""


@define
class Looking:
    """What was found of one connection's certificate."""

    protocol: Any = field(default=None, repr=False)  # until the check is over
    check: Check | None = None
    refusal: CertificateRefused | None = None
    is_over: bool = False


class LookedAt(SSL.Connection):
    """A connection that knows what was found.  Its app data is Twisted's own."""

    looking: Looking


def refusal_of(transport: object) -> CertificateRefused | None:
    """Why the certificate that ``transport`` was shown is not believed, if it is not."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle.looking.refusal if isinstance(handle, LookedAt) else None


def is_named(certificate: x509.Certificate, host: str) -> bool:
    """Whether ``certificate`` is for ``host``, a name or an address (RFC 6125)."""
    try:
        if _is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@implementer(IOpenSSLClientConnectionCreator)
class VerifiedByRoots:
    """The certificate must be for ``host``, from an authority that ``context`` knows.

    With ``is_observed`` it is noted when it is not, and the connection is made all the same.
    """

    def __init__(self, host: str, context: SSL.Context, *, is_observed: bool = False) -> None:
        self._host, self._context, self._is_observed = host, context, is_observed

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        looking = Looking()
        connection = _connection(self._context, self._host, looking)
        host, is_observed = self._host, self._is_observed

        def look(_: Any, shown: crypto.X509, error: int, depth: int, ok: int) -> bool:
            if looking.refusal is None and not ok:
                looking.refusal = refused(shown, error)
            elif looking.refusal is None and depth == 0:
                looking.refusal = _other_name(shown, host)
            return is_observed or looking.refusal is None

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, look)
        return connection


def _other_name(shown: crypto.X509, host: str) -> CertificateRefused | None:
    """Why it is not for ``host``.  Within OpenSSL's callback nothing may be raised."""
    try:
        if is_named(shown.to_cryptography(), host):
            return None
    except Exception as error:
        return CertificateRefused(f"certificate cannot be read: {type(error).__name__}")
    return CertificateRefused(f"its certificate is not for {host}", Flaw.OTHER_NAME)


def refused(shown: crypto.X509, error: int) -> CertificateRefused:
    """What OpenSSL's ``error`` says of a certificate of a chain."""
    if error in _EXPIRED:
        until = shown.get_notAfter() or b""
        text = f"its certificate is not valid now: until {until.decode('ascii', 'replace')}"
        return CertificateRefused(text, Flaw.EXPIRED)
    if error in _NOT_TRUSTED:
        return CertificateRefused(
            "its certificate is of no authority that is trusted", Flaw.NOT_TRUSTED
        )
    return CertificateRefused(f"its certificate is not valid (OpenSSL's error {error})")


_EXPIRED = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NOT_TRUSTED = (2, 18, 19, 20, 21, 27)  # no issuer, self-signed, CERT_UNTRUSTED


@implementer(IOpenSSLClientConnectionCreator)
class VerifiedBy:
    """``check`` looks at the certificates once the handshake is done; no authority is asked."""

    def __init__(self, host: str, check: Check) -> None:
        self._host, self._check = host, check

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        return _connection(_context, self._host, Looking(tlsProtocol, self._check))


def _handshaking(connection: SSL.Connection, where: int, _: int) -> None:
    """Twisted breaks the connection off, and nothing that waits for the handshake is sent."""
    if not where & SSL.SSL_CB_HANDSHAKE_DONE or not isinstance(connection, LookedAt):
        return
    looking = connection.looking
    if looking.is_over or looking.check is None:
        return
    looking.is_over = True
    try:
        looking.check(connection.get_peer_cert_chain(as_cryptography=True) or [])
    except CertificateRefused as refusal:
        looking.refusal = refusal
    except Exception as error:  # one that no parser of ours can read
        looking.refusal = CertificateRefused(
            f"its certificate cannot be looked at: {type(error).__name__}"
        )
    if looking.refusal is not None:
        looking.protocol.failVerification(Failure(looking.refusal))
    looking.protocol = None


def _checking() -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_info_callback(_handshaking)
    return context


_context = _checking()


def _connection(context: SSL.Context, host: str, looking: Looking) -> SSL.Connection:
    connection = LookedAt(context, None)
    if not _is_address(host):
        connection.set_tlsext_host_name(host.encode("idna" if not host.isascii() else "ascii"))
    connection.looking = looking
    return connection


def shown_facts(transport: object) -> str | None:
    """What the server's certificate says of itself, in a line; None without one."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, SSL.Connection):
        return None
    try:
        shown = handle.get_peer_certificate(as_cryptography=True)
        return None if shown is None else _facts(shown)
    except Exception as error:
        return f"certificate cannot be read: {type(error).__name__}"


def _facts(shown: x509.Certificate) -> str:
    try:
        found = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    until = f"{shown.not_valid_after_utc:%Y-%m-%d}"
    text = (
        f"for {' '.join(names[:3]) or 'no name'}, by {shown.issuer.rfc4514_string() or 'nobody'},"
        f" until {until}, sha256 {shown.fingerprint(SHA256()).hex()}"
    )
    return "".join(c if c.isprintable() else "?" for c in text)[:400]
