"""Handshakes of the standard library with our context in memory, and with a server."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL


@frozen
class Seen:
    """What the client saw: the certificate's names, and the protocol agreed on."""

    names: Sequence[str]
    certificate: x509.Certificate
    protocol: str | None


def seen_by_client(
    context: SSL.Context,
    name: str | None,
    protocols: Sequence[str] = (),
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Seen:
    """What a client that asks for ``name`` is shown."""
    client = believer()
    client.minimum_version = client.maximum_version = version
    if protocols:
        client.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = client.wrap_bio(incoming, outgoing, server_hostname=name)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    for _ in range(10):
        with contextlib.suppress(ssl.SSLWantReadError):
            wrapped.do_handshake()
            break
        if outgoing.pending:
            server.bio_write(outgoing.read())
        with contextlib.suppress(SSL.WantReadError):
            server.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(server.bio_read(65536))
    shown = wrapped.getpeercert(binary_form=True)
    assert shown is not None
    certificate = x509.load_der_x509_certificate(shown)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.DNSName)
    return Seen(found, certificate, wrapped.selected_alpn_protocol())


def shown_by_starttls(port: int, client: ssl.SSLContext, name: str) -> Sequence[str]:
    """The names that a server of SMTP shows to who wants ``name``, after STARTTLS.  Blocks."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as session:
        session._host = name  # type: ignore[attr-defined]  # whom the certificate is to name
        session.starttls(context=client)
        return _names(session.sock)


def shown_by_tls(port: int, client: ssl.SSLContext, name: str) -> Sequence[str]:
    """The same, where TLS comes first."""
    with (
        socket.create_connection(("127.0.0.1", port), 30) as raw,
        client.wrap_socket(raw, server_hostname=name) as wrapped,
    ):
        return _names(wrapped)


def _names(wrapped: Any) -> Sequence[str]:
    certificate = x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True))
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


def believer() -> ssl.SSLContext:
    """A client that believes anything."""
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return client
