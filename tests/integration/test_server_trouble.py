"""What a session lives through: a simulated timeout, a store that fails, a certificate renewed."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path
from smtplib import SMTP, SMTPResponseException
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.net.certificates import make_self_signed
from mailrelay.net.tls import UnusableCertificate
from mailrelay.policy.simulated import TIMEOUT_SECONDS
from mailrelay.testing.clocks import LeapingClock
from mailrelay.testing.loopback import Loopback, RawClient
from tests.integration.faults import Faults
from tests.integration.processes import PATIENCE, ServerProcess, Sink, configuration, message
from tests.integration.world import accepted, mailbox, soon, start_world, until


class SimulatedTimeoutTests(TestCase):
    """``x-timeout`` of localserve."""

    timeout = 60

    async def begin(self, recipient: bytes) -> tuple[Loopback, RawClient]:
        """A server whose time is the test's, and a session that has sent RCPT."""
        self.clock = LeapingClock.start(self, reactor)
        server = await start_world(self, reactor, clock=self.clock, localserve=True)
        client = await server.connect()
        await client.reply()
        for line in (b"EHLO client.test", b"MAIL FROM:<a@client.test>"):
            self.assertEqual((await client.ask(line))[:3], b"250")
        client.send(b"RCPT TO:<%s>\r\n" % recipient)
        return server, client

    async def after_the_hour(self, client: RawClient) -> bytes:
        """What is answered, not a minute early."""
        for _ in range(10):
            await soon(reactor)
        self.clock.advance(TIMEOUT_SECONDS - 60)
        for _ in range(10):
            await soon(reactor)
        self.assertEqual(bytes(client._received), b"")
        self.clock.advance(60)
        return await client.reply()

    async def test_at_the_end(self) -> None:
        """The content is answered after an hour, which is no idleness; the session goes on."""
        server, client = await self.begin(b"x-timeout@example.org")
        self.assertEqual((await client.reply())[:3], b"250")
        self.assertEqual((await client.ask(b"DATA"))[:3], b"354")
        client.send(b"a: b\r\n\r\nhello\r\n.\r\n")
        self.assertEqual((await self.after_the_hour(client))[:9], b"451 4.0.0")
        self.assertEqual((await client.ask(b"NOOP"))[:3], b"250")
        self.assertEqual(accepted(server), 0)

    async def test_at_rcpt(self) -> None:
        """With ``rcptto`` it is RCPT; who leaves before is not waited for."""
        _, client = await self.begin(b"rcptto-timeout@example.org")
        self.assertEqual((await self.after_the_hour(client))[:9], b"451 4.0.0")
        server, client = await self.begin(b"rcptto-timeout@example.org")
        for _ in range(10):
            await soon(reactor)
        await client.close()
        await until(reactor, lambda: not server.server._sessions)


class StoreFaultTests(TestCase):
    """A disk that fails below a session."""

    timeout = 120

    def test_one_session_through_it(self) -> None:
        """Small and large mail is 452 while writing fails, then accepted in the same session."""
        folder = Path(self.mktemp()).absolute()
        (folder / "data").mkdir(parents=True)
        sink = Sink(defers=0.0, cuts=0.0)
        self.addCleanup(sink.close)
        faults = Faults.build(folder, folder / "data")
        config = configuration(folder / "data", sink.port)
        server = ServerProcess(folder, config, environment=faults.environment)
        self.addCleanup(server.kill)
        server.start()
        self.addCleanup(server.stop)
        with SMTP("127.0.0.1", server.port, "client.test", PATIENCE) as client:
            self.assertEqual(self.send(client, "small0"), "250")
            faults.fail_with(errno.EIO)
            self.assertEqual(self.send(client, "small1"), "452 4.3.1")
            self.assertEqual(self.send(client, "large1", large=True), "452 4.3.1")
            self.assertEqual(client.noop()[0], 250)
            faults.fail_with(0)
            until_then = time.monotonic() + PATIENCE
            while (answer := self.send(client, "small2")) != "250":
                self.assertEqual(answer, "452 4.3.1")
                self.assertLess(time.monotonic(), until_then)
            self.assertEqual(self.send(client, "large2", large=True), "250")
        while not sink.copies.keys() >= {"small0", "small2", "large2"}:
            self.assertLess(time.monotonic(), until_then)
            time.sleep(0.02)
        self.assertEqual(sink.copies.keys() & {"small1", "large1"}, set())

    def send(self, client: SMTP, name: str, *, large: bool = False) -> str:
        """Code and status of the answer, ``250`` when it is accepted."""
        content = message(name) + (b"x" * 70 + b"\r\n") * (5000 if large else 0)
        try:
            client.sendmail("a@client.test", ["b@example.net"], content, ["BODY=8BITMIME"])
        except SMTPResponseException as error:
            assert isinstance(error.smtp_error, bytes)
            return f"{error.smtp_code} {error.smtp_error.split()[0].decode()}"
        return "250"


class RenewedCertificateTests(TestCase):
    """``Server.reload`` with other files in place of the certificate's."""

    timeout = 60

    async def in_tls(self, client: RawClient) -> str:
        """STARTTLS on a greeted session; the serial number of the certificate that it met."""
        self.assertEqual((await client.ask(b"EHLO client.test"))[:3], b"250")
        self.assertEqual((await client.ask(b"STARTTLS"))[:3], b"220")
        client.start_tls()
        self.assertEqual((await client.ask(b"EHLO client.test"))[:3], b"250")
        return self.serial(client)

    def serial(self, client: RawClient) -> str:
        """The serial number of the certificate that was met."""
        transport: Any = client.transport
        handle: SSL.Connection = transport.getHandle()
        certificate = handle.get_peer_certificate()
        assert certificate is not None
        return f"{certificate.get_serial_number():x}"

    async def greeted(self, server: Loopback, role: str = "mx") -> RawClient:
        """A session; on the submissions port within TLS."""
        client = await server.connect(role)
        if role == "submissions":
            client.start_tls()
        self.assertEqual((await client.reply())[:3], b"220")
        return client

    def renew(self, server: Loopback) -> None:
        """Put a new certificate where the old one was."""
        folder = server.settings.data_dir
        for name in ("test.pem", "test-key.pem"):
            (folder / name).unlink()
        make_self_signed(folder / "test.pem", folder / "test-key.pem", ["localhost"], time.time())

    async def test_renewed(self) -> None:
        """New connections meet the new certificate; sessions under way notice nothing."""
        server = await Loopback.start(self, reactor, roles=["mx", "submissions"])
        old = await self.greeted(server)
        before = await self.in_tls(old)
        await old.ask(b"MAIL FROM:<a@client.test>")
        await old.ask(b"RCPT TO:<user@example.org>")
        self.renew(server)
        server.server.reload(evolve(server.settings))
        after = await self.in_tls(await self.greeted(server))
        self.assertNotEqual(before, after)
        self.assertEqual(self.serial(await self.greeted(server, "submissions")), after)
        self.assertEqual((await old.ask(b"DATA"))[:3], b"354")
        self.assertEqual((await old.ask(b"a: b\r\n\r\nhello\r\n."))[:9], b"250 2.0.0")
        self.assertEqual(self.serial(old), before)
        await mailbox(server, 1)

    async def test_unusable(self) -> None:
        """Files that do not belong together are refused, and the old certificate stays."""
        server = await Loopback.start(self, reactor, roles=["mx", "submissions"])
        before = self.serial(await self.greeted(server, "submissions"))
        kept = shutil.copy(server.settings.data_dir / "test-key.pem", "kept.pem")
        self.renew(server)
        shutil.copy(kept, server.settings.data_dir / "test-key.pem")
        self.assertRaises(UnusableCertificate, server.server.reload, evolve(server.settings))
        self.assertEqual(self.serial(await self.greeted(server, "submissions")), before)
        self.assertEqual(await self.in_tls(await self.greeted(server)), before)


class FirstStartTests(TestCase):
    """A server that was never started before."""

    timeout = 60

    def test_no_data_dir(self) -> None:
        """``data_dir`` is made, for nobody else to look into."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        sink = Sink(defers=0.0, cuts=0.0)
        self.addCleanup(sink.close)
        server = ServerProcess(folder, configuration(folder / "new" / "data", sink.port))
        self.addCleanup(server.kill)
        server.start()
        server.stop()
        self.assertEqual((folder / "new" / "data").stat().st_mode & 0o777, 0o700)
