"""The listeners' TLS context on sockets of memory."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.certificates import make_self_signed
from mailrelay.testing.certificates import held


class ServerContextTests(SynchronousTestCase):
    """Clients of the standard library, several times."""

    def setUp(self) -> None:
        """A certificate, and a client that believes any."""
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make_self_signed(certificate, key, ["localhost"], time.time())
        self.server = held(certificate, key).options().context
        self.servers: list[SSL.Connection] = []
        self.client = ssl.create_default_context()
        self.client.check_hostname = False
        self.client.verify_mode = ssl.CERT_NONE

    def connected(self, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
        """The client's end after the handshake, and after what the server says first in it."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.client.wrap_bio(incoming, outgoing, session=session)
        server = SSL.Connection(self.server, None)
        server.set_accept_state()
        self.servers.append(server)  # with the connection OpenSSL would forget its session
        is_over = False
        while not is_over:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                is_over = True
            if outgoing.pending:
                server.bio_write(outgoing.read())
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            if is_over:
                server.send(b"220 hi\r\n")
            with contextlib.suppress(SSL.WantReadError):
                incoming.write(server.bio_read(65536))
        self.assertEqual(client.read(100), b"220 hi\r\n")
        return client

    def test_sessions_are_not_resumed(self) -> None:
        """Neither by id nor by ticket: a resumed session's tls-unique binds nothing."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.client.minimum_version = self.client.maximum_version = version
            first = self.connected()
            self.assertFalse(self.connected(first.session).session_reused, version)
