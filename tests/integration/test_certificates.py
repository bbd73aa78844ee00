"""Certificates of a whole server: changed while it runs, and what TLS is spoken with them."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from mailrelay.certificates.challenges import Challenge, proof_of
from mailrelay.certificates.settings import TLS_ALPN_01, TLSPairSection
from mailrelay.net.certificates import write_private
from mailrelay.net.tls import UnusableCertificate
from mailrelay.testing.certificates import Authority
from mailrelay.testing.loopback import Loopback
from tests.certificates.shaken import believer, shown_by_starttls, shown_by_tls

HOST, OTHER = "mx.example.org", "www.example.org"
OPENSSL = shutil.which("openssl")


class FilesTests(TestCase):
    """New files."""

    timeout = 60

    async def begin(self) -> Loopback:
        """A server with a certificate of an authority."""
        self.authority = Authority()
        server = await Loopback.start(self, reactor, roles=("mx", "submissions", "https"))
        self.certificate = Path(server.settings.tls.certificate)
        self.key = Path(server.settings.tls.private_key)
        self.root = ssl.create_default_context(cadata=self.authority.pem.decode())
        return server

    async def seen(self, server: Loopback, name: str) -> set[str]:
        """What verifies as ``name``, over STARTTLS, submissions and HTTPS."""
        found = {(await deferToThread(shown_by_starttls, server.port("mx"), self.root, name))[0]}
        for role in ("submissions", "https"):
            found.update(await deferToThread(shown_by_tls, server.port(role), self.root, name))
        return found

    async def test_replaced(self) -> None:
        """All listeners show the new one at the next look; who is connected stays so."""
        server = await self.begin()
        held = await server.connect("mx")
        await held.reply()
        await held.ask(b"EHLO client.test")
        await held.ask(b"STARTTLS")
        held.start_tls()
        self.assertIn(b"250", await held.ask(b"EHLO client.test"))
        self.authority.write(self.certificate, self.key, [HOST])
        await server.server.tls.look()
        self.assertEqual(await self.seen(server, HOST), {HOST})
        self.assertIn(b"250", await held.ask(b"NOOP"))
        write_private(self.key, b"")
        await server.server.tls.look()
        self.assertEqual(await self.seen(server, HOST), {HOST})
        scraped = (await server.server._scrape()).decode()
        self.assertIn("mailrelay_tls_files_broken 1.0", scraped)
        self.assertIn("mailrelay_tls_ending 1.0", scraped)

    async def test_reloaded(self) -> None:
        """SIGHUP reads more of them; what cannot be used changes nothing."""
        server = await self.begin()
        self.authority.write(self.certificate, self.key, [HOST])
        folder = server.settings.data_dir
        files = folder / "www.pem", folder / "www-key.pem"
        self.authority.write(*files, [OTHER])
        more = TLSPairSection(str(files[0]), str(files[1]))
        tls = evolve(server.settings.tls, certificates=(more,))
        server.server.reload(evolve(server.settings, tls=tls))
        self.assertEqual(await self.seen(server, OTHER), {OTHER})
        self.assertEqual(await self.seen(server, HOST), {HOST})
        files[1].unlink()
        wrong = evolve(server.settings, tls=tls)
        self.assertRaises(UnusableCertificate, server.server.reload, wrong)
        self.assertEqual(await self.seen(server, OTHER), {OTHER})

    async def test_it_is_watched(self) -> None:
        """Without being told."""
        clock = Clock()
        self.authority = Authority()
        server = await Loopback.start(self, reactor, roles=("https",), clock=clock)
        tls = server.server.tls
        before = tls.certificates.options()
        self.authority.write(
            *(Path(server.settings.tls.certificate), Path(server.settings.tls.private_key)), [HOST]
        )
        for _ in range(500):
            clock.advance(1.0)
            if tls.certificates.options() is not before:
                break
            await deferToThread(lambda: None)
        self.assertIsNot(tls.certificates.options(), before)

    async def test_nothing_is_said_in_a_challenge(self) -> None:
        """Who speaks acme-tls/1 gets no HTTP; everybody else does, meanwhile and afterwards."""
        server = await self.begin()
        port = server.port("https")
        challenge = Challenge(TLS_ALPN_01, OTHER, "", "token", "token.print")
        shown = server.server.tls.certificates.challenges.shown(
            challenge, proof_of(challenge, time.time())
        )
        with shown:
            self.assertEqual(await deferToThread(_asked, port, ["acme-tls/1"]), b"")
            for protocols in ([], ["http/1.1"]):
                said = await deferToThread(_asked, port, protocols)
                self.assertIn(b"HTTP/1.1 ", said)
        self.assertIn(b"HTTP/1.1 ", await deferToThread(_asked, port, ["acme-tls/1"]))

    async def test_files_are_watched_while_an_order_takes_its_time(self) -> None:
        """An authority that is slow holds nothing up; a stop does not wait for it."""
        server = await self.begin()
        tls = server.server.tls
        given_up: list[Deferred[None]] = []
        waiting: Deferred[None] = Deferred(given_up.append)

        class Slow:
            failing = 0

            async def look(self) -> None:
                await waiting

            def unwanted(self) -> list[object]:
                return []

        slow: Any = Slow()
        tls.renewals = slow
        await tls._looked()
        self.authority.write(self.certificate, self.key, [HOST])
        await tls._looked()
        self.assertEqual(await self.seen(server, HOST), {HOST})
        await server.server.stopService()
        self.assertEqual(len(given_up), 1)

    async def test_what_tls(self) -> None:
        """openssl gets 1.2 and 1.3, nothing older, no compression, no renegotiation, no ticket."""
        if OPENSSL is None:
            raise SkipTest("there is no openssl")
        server = await self.begin()
        port = server.port("submissions")
        old = "DEFAULT:@SECLEVEL=0"
        for version, works in (("-tls1", 0), ("-tls1_1", 0), ("-tls1_2", 1), ("-tls1_3", 1)):
            run = await deferToThread(_openssl, port, version, "-cipher", old)
            self.assertEqual(b"BEGIN CERTIFICATE" in run.stdout, bool(works), version)
            if version != "-tls1_3":  # there a ticket is a session's id, of which none is kept
                self.assertNotIn(b"TLS session ticket:", run.stdout)
            if works:
                self.assertIn(b"Compression: NONE", run.stdout)
        run = await deferToThread(_openssl, port, "-tls1_2", said=b"R\n")
        self.assertIn(b"no renegotiation", run.stderr + run.stdout)


def _openssl(port: int, *options: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [str(OPENSSL), "s_client", "-connect", f"127.0.0.1:{port}", *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate(said + b"Q\n", timeout=20)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _asked(port: int, protocols: list[str]) -> bytes:
    """What is answered to a request, after these were offered."""
    client = believer()
    if protocols:
        client.set_alpn_protocols(protocols)
    with (
        socket.create_connection(("127.0.0.1", port), 20) as raw,
        client.wrap_socket(raw, server_hostname=OTHER) as wrapped,
    ):
        wrapped.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            return wrapped.recv(1000)
        except ConnectionError:
            return b""
