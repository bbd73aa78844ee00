"""HTTP listeners of a whole server."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailrelay.testing.loopback import Loopback


class SiteTests(TestCase):
    """What a server's HTTP listeners do."""

    async def get(self, port: int, path: str, *, tls: bool = False) -> tuple[int, bytes]:
        """Status and body of a GET."""

        def ask() -> tuple[int, bytes]:
            if tls:
                context = ssl._create_unverified_context()
                client: http.client.HTTPConnection = http.client.HTTPSConnection(
                    "127.0.0.1", port, timeout=30, context=context
                )
            else:
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", path)
            answer = client.getresponse()
            found = answer.status, answer.read()
            client.close()
            return found

        return await deferToThread(ask)

    async def test_monitoring(self) -> None:
        """Health and figures, the request itself among them, on http and https."""
        server = await Loopback.start(self, reactor, roles=("http", "https"))
        for role in ("http", "https"):
            port, tls = server.port(role), role == "https"
            self.assertEqual(await self.get(port, "/healthz", tls=tls), (200, b"ok\n"))
            self.assertEqual((await self.get(port, "/x", tls=tls))[0], 404)
            status, figures = await self.get(port, "/metrics", tls=tls)
            self.assertEqual(status, 200)
            self.assertIn(b'mailrelay_http_requests_total{route="/healthz",status="200"}', figures)
            self.assertIn(b"mailrelay_http_connections 1.0", figures)

    async def test_mail_programs(self) -> None:
        """They are told of the ports of this server's own listeners."""
        server = await Loopback.start(self, reactor, roles=("submissions", "submission", "https"))
        target = "/mail/config-v1.1.xml?emailaddress=someone@example.org"
        status, body = await self.get(server.port("https"), target, tls=True)
        self.assertEqual(status, 200)
        self.assertIn(b"<hostname>mx.example.org</hostname>", body)
        self.assertEqual(body.count(b"<outgoingServer"), 2)

    async def test_stop(self) -> None:
        """A connection that waits for its next request does not hold the server up."""
        server = await Loopback.start(self, reactor, roles=("http",))
        client = await server.connect("http")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.reply()
        await server.server.stopService()
        await client.closed

    async def test_orphans(self) -> None:
        """Uploads that a crash left are removed at the start."""
        data_dir = Path(os.path.abspath(self.mktemp()))
        left = data_dir / "uploads" / "main" / "upload-1"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"x")
        await Loopback.start(self, reactor, roles=("http",), data_dir=data_dir)
        self.assertFalse(left.exists())
