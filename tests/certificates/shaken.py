"""Handshakes in memory between a client of the standard library and our context."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence

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
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
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
