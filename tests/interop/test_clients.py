"""Programs that people send mail with, submitting to us with STARTTLS and a login."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest

from mailrelay.testing.loopback import PASSWORD, USER, Loopback
from tests.interop.programs import LOGIN, InteropTestCase, installed

TEXT = "From: user@example.org\nTo: user@example.org\nSubject: hello\n\n.a dot\ngrüße\n"
WIRE = TEXT.encode().replace(b"\n", b"\r\n")

NODE = """\
const nodemailer = require(process.env.NODEMAILER);
nodemailer.createTransport({
  host: '127.0.0.1', port: Number(process.argv[2]), secure: process.argv[3] === 'implicit',
  auth: {user: process.env.MAIL_USER, pass: process.env.MAIL_PASSWORD},
  tls: {rejectUnauthorized: false}, requireTLS: process.argv[3] !== 'implicit',
}).sendMail({
  from: process.env.MAIL_USER, to: process.env.MAIL_USER, subject: 'grüße', text: '.a dot\\n',
  attachments: [{filename: 'a.bin', content: Buffer.alloc(200000, 7)}],
}).then(info => console.log(info.response), error => { console.error(error); process.exit(1); });
"""


class ClientTests(InteropTestCase):
    """Each sends one message to itself."""

    async def start(self) -> Loopback:
        """A server that nobody may relay through without a login."""
        return await self.us(trusted_networks=())

    async def arrived(self, server: Loopback, *parts: bytes) -> None:
        """One message is in the mailbox, from who logged in, by TLS."""
        [message] = await self.inbox(server, 1)
        self.assertIn(b"with ESMTPSA", message)
        for part in parts:
            self.assertIn(part, message)

    async def test_smtplib(self) -> None:
        """Python's smtplib."""
        server = await self.start()
        await self.send(server.port("submission"), WIRE, USER, login=LOGIN)
        await self.arrived(server, WIRE.split(b"\r\n\r\n")[1])

    async def test_swaks(self) -> None:
        """swaks, by each mechanism that it knows, and by TLS from the first byte."""
        server = await self.start()
        common = ["--auth-user", USER, "--auth-password", PASSWORD, "--from", USER, "--to", USER]
        for how in (
            ["--tls", "--auth", "PLAIN", "--port", str(server.port("submission"))],
            ["--tls", "--auth", "LOGIN", "--port", str(server.port("submission"))],
            ["--tlsc", "--auth", "PLAIN", "--port", str(server.port("submissions"))],
        ):
            swaks = [installed("swaks"), "--server", "127.0.0.1", *how, *common]
            printed = await self.run_program(*swaks, "--pipeline")
            self.assertIn("250 2.0.0", printed)
        for message in await self.inbox(server, 3):
            self.assertIn(b"with ESMTPSA", message)

    async def test_swaks_with_a_wrong_password(self) -> None:
        """swaks is refused, and says so."""
        server = await self.start()
        printed = await self.run_program(
            *[installed("swaks"), "--server", "127.0.0.1", "--tls", "--auth", "PLAIN"],
            *["--port", str(server.port("submission")), "--from", USER, "--to", USER],
            *["--auth-user", USER, "--auth-password", "wrong"],
            good=(28,),
        )
        self.assertIn("535 5.7.8", printed)

    async def test_msmtp(self) -> None:
        """msmtp, as a sendmail."""
        server = await self.start()
        for port, starttls, auth in (
            (server.port("submission"), "on", "plain"),
            (server.port("submissions"), "off", "login"),
        ):
            await self.run_program(
                *[installed("msmtp"), "--file=/dev/null", "--host=127.0.0.1", f"--port={port}"],
                *["--tls=on", "--tls-certcheck=off", f"--tls-starttls={starttls}"],
                *[f"--auth={auth}", f"--user={USER}", f"--passwordeval=echo {PASSWORD}"],
                *[f"--from={USER}", USER],
                given=TEXT.encode(),
            )
        for message in await self.inbox(server, 2):
            self.assertTrue(message.endswith(WIRE.split(b"\r\n\r\n")[1]))

    async def test_curl(self) -> None:
        """curl, by STARTTLS, by TLS from the first byte and without a login on port 25."""
        server = await self.start()
        path = Path(self.mktemp()).absolute()
        path.write_bytes(WIRE)
        login = ["--insecure", "--user", f"{USER}:{PASSWORD}"]
        for url, more in (
            (f"smtp://127.0.0.1:{server.port('submission')}", ["--ssl-reqd", *login]),
            (f"smtps://127.0.0.1:{server.port('submissions')}", login),
            (f"smtp://127.0.0.1:{server.port('mx')}", []),
        ):
            await self.run_program(
                *[installed("curl"), "-sS", url, "--mail-from", USER, "--mail-rcpt", USER],
                *["--upload-file", str(path), *more],
            )
        for message in await self.inbox(server, 3):
            self.assertTrue(message.endswith(WIRE.split(b"\r\n\r\n")[1]))

    async def test_nodemailer(self) -> None:
        """nodemailer, with an attachment."""
        modules = os.environ.get("MAILRELAY_TEST_NODEMAILER")
        if not modules:
            raise SkipTest("MAILRELAY_TEST_NODEMAILER is not set: run script/test")
        server = await self.start()
        script = Path(self.mktemp()).absolute()
        script.write_text(NODE)
        env = {
            "NODEMAILER": f"{modules}/nodemailer",
            "MAIL_USER": USER,
            "MAIL_PASSWORD": PASSWORD,
        }
        for how, role in (("starttls", "submission"), ("implicit", "submissions")):
            port = str(server.port(role))
            printed = await self.run_program(installed("node"), str(script), port, how, env=env)
            self.assertIn("250 2.0.0", printed)
        for message in await self.inbox(server, 2):
            self.assertIn(b"\r\n.a dot\r\n", message)
            self.assertIn(b"filename=a.bin", message)
