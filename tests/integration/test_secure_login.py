"""Logging in on the submission ports over real TLS, SCRAM with channel binding included."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.trial.unittest import TestCase

from mailrelay.testing.loopback import PASSWORD, USER, Loopback, RawClient

BEFORE_1_3 = TLSVersion.TLSv1_2
NONCE = "fyko+d2lbbFgONRv9qkxdawL"


class Permissive:
    """A client's context that believes every certificate, up to a TLS version."""

    def __init__(self, most: TLSVersion | None) -> None:
        self.options = CertificateOptions(verify=False, lowerMaximumSecurityTo=most)


class SecureLoginTests(TestCase):
    """The submissions port, and every mechanism on it."""

    timeout = 60

    async def connect(self, server: Loopback, most: TLSVersion | None = None) -> RawClient:
        """A greeted session within TLS from the first byte, EHLO said."""
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port("submissions"), 10)
        endpoint: Any = wrapClientTLS(Permissive(most).options, plain)
        client: RawClient = await connectProtocol(endpoint, RawClient())
        self.addCleanup(client.close)
        self.assertEqual((await client.reply())[:3], b"220")
        self.offered = await client.ask(b"EHLO client.test")
        return client

    async def test_plain(self) -> None:
        """A message is submitted over implicit TLS."""
        server = await Loopback.start(self, reactor)
        client = await self.connect(server)
        secret = b64encode(f"\0{USER}\0{PASSWORD}".encode())
        self.assertEqual((await client.ask(b"AUTH PLAIN " + secret))[:9], b"235 2.7.0")
        replies = [
            await client.ask(line)
            for line in (
                f"MAIL FROM:<{USER}>".encode(),
                b"RCPT TO:<user@example.org>",
                b"DATA",
                f"From: {USER}\r\n\r\nhello\r\n.".encode(),
            )
        ]
        self.assertEqual([reply[:3] for reply in replies], [b"250", b"250", b"354", b"250"])

    async def scram(
        self, client: RawClient, mechanism: str, flag: str, data: bytes, password: str = PASSWORD
    ) -> bytes:
        """Run an exchange; the last reply.  The server's signature is checked."""
        bare = f"n={USER},r={NONCE}"
        first = b64encode(f"{flag},,{bare}".encode())
        answer = await client.ask(f"AUTH {mechanism} ".encode() + first)
        if answer[:3] != b"334":
            return answer
        server_first = b64decode(answer[4:]).decode()
        nonce, salt, rounds = (part[2:] for part in server_first.split(","))
        without_proof = f"c={b64encode(f'{flag},,'.encode() + data).decode()},r={nonce}"
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(salt), int(rounds))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signed = f"{bare},{server_first},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        final = f"{without_proof},p={b64encode(proof).decode()}"
        answer = await client.ask(b64encode(final.encode()))
        if answer[:3] != b"334":
            return answer
        expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        self.assertEqual(b64decode(answer[4:])[2:], b64encode(expected))
        return await client.ask(b"")

    def channel(self, client: RawClient) -> tuple[str, bytes]:
        """What the client's side of the connection binds to."""
        transport: Any = client.transport
        handle: SSL.Connection = transport.getHandle()
        if handle.get_protocol_version_name() == "TLSv1.3":
            return "tls-exporter", handle.export_keying_material(
                b"EXPORTER-Channel-Binding", 32, b""
            )
        return "tls-unique", handle.get_finished() or b""

    async def test_scram_plus(self) -> None:
        """Channel binding holds on TLS 1.3 by tls-exporter, on TLS 1.2 by tls-unique."""
        server = await Loopback.start(self, reactor)
        for most, expected in ((None, "tls-exporter"), (BEFORE_1_3, "tls-unique")):
            client = await self.connect(server, most)
            self.assertIn(b"SCRAM-SHA-256-PLUS", self.offered)
            name, data = self.channel(client)
            self.assertEqual(name, expected)
            answer = await self.scram(client, "SCRAM-SHA-256-PLUS", f"p={name}", data)
            self.assertEqual(answer[:9], b"235 2.7.0")

    async def test_scram_of_another_channel(self) -> None:
        """Somebody in the middle has another channel: refused, whatever they know."""
        server = await Loopback.start(self, reactor)
        client = await self.connect(server)
        name, data = self.channel(client)
        answer = await self.scram(client, "SCRAM-SHA-256-PLUS", f"p={name}", data[::-1])
        self.assertEqual(answer[:9], b"535 5.7.8")

    async def test_scram_without_binding(self) -> None:
        """SCRAM-SHA-256 works with "n"; "y" says that -PLUS was taken away, and is refused."""
        server = await Loopback.start(self, reactor)
        client = await self.connect(server)
        self.assertEqual((await self.scram(client, "SCRAM-SHA-256", "y", b""))[:3], b"501")
        self.assertEqual((await self.scram(client, "SCRAM-SHA-256", "n", b""))[:3], b"235")

    async def test_wrong_password(self) -> None:
        """A wrong password, by PLAIN and by SCRAM, is a 535 like any other."""
        server = await Loopback.start(self, reactor)
        client = await self.connect(server)
        answer = await self.scram(client, "SCRAM-SHA-256", "n", b"", password="wrong")
        self.assertEqual(answer[:9], b"535 5.7.8")
        secret = b64encode(f"\0{USER}\0wrong".encode())
        self.assertEqual(await client.ask(b"AUTH PLAIN " + secret), answer)

    async def test_old_tls(self) -> None:
        """TLS 1.1 gets no session."""
        server = await Loopback.start(self, reactor)
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port("submissions"), 10)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        options = CertificateOptions(verify=False)
        options.getContext = lambda: context  # type: ignore[method-assign]
        endpoint: Any = wrapClientTLS(options, plain)
        client: RawClient = await connectProtocol(endpoint, RawClient())
        self.assertEqual(await client.reply(), b"")
        self.assertTrue(client.is_closed)
