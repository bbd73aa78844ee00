"""Debian's Postfix, in both directions."""

from __future__ import annotations

from typing import Any

from mailrelay.config.settings import RelayHostSection
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.testing.scripted_server import Manners, ScriptedServer, polite
from tests.interop.postfix import Postfix
from tests.interop.programs import InteropTestCase, reactor, soon
from tests.interop.sasl_server import AuthenticationServer

CONTENT = b"From: user@example.org\r\nSubject: hello\r\n\r\n.a dot\r\n..two\r\nend\r\n"
BODY = CONTENT.split(b"\r\n\r\n", 1)[1]
UTF8 = "From: user@example.org\r\nSubject: grüße\r\n\r\nhällo\r\n".encode()


class FromPostfixTests(InteropTestCase):
    """Postfix hands mail to us."""

    async def test_as_mx(self) -> None:
        """By STARTTLS, the content byte exact."""
        server = await self.us()
        postfix = await Postfix.start(self, server.port("mx"))
        await self.send(postfix.port, CONTENT, USER, sender="a@sender.test")
        [message] = await self.inbox(server, 1)
        self.assertTrue(message.endswith(b"\r\n\r\n" + BODY))
        self.assertIn(b"with ESMTPS", message)

    async def test_smtputf8(self) -> None:
        """Addresses and headers beyond ASCII arrive as they are."""
        server = await self.us()
        postfix = await Postfix.start(self, server.port("mx"))
        options = ["SMTPUTF8", "BODY=8BITMIME"]
        await self.send(postfix.port, UTF8, USER, sender="jörg@sender.test", mail_options=options)
        [message] = await self.inbox(server, 1)
        self.assertIn("jörg@sender.test".encode(), message)
        self.assertIn("Subject: grüße\r\n".encode(), message)
        self.assertTrue(message.endswith("\r\n\r\nhällo\r\n".encode()))
        self.assertIn(b"with UTF8SMTPS", message)

    async def test_dsn(self) -> None:
        """Postfix leaves the report to us, and we send it: delivered, to the sender."""
        server = await self.us()
        postfix = await Postfix.start(self, server.port("mx"))
        await self.send(postfix.port, CONTENT, USER, sender=USER, rcpt_options=["NOTIFY=SUCCESS"])
        report = (await self.inbox(server, 2))[1]
        self.assertIn(b"Action: delivered", report)
        self.assertIn(b"Original-Recipient: rfc822;" + USER.encode(), report)

    async def submitted(self, mechanism: str) -> None:
        """Postfix as a client of the submission port, by this SASL mechanism."""
        server = await self.us(trusted_networks=())
        more = (
            "smtp_sasl_auth_enable = yes\n"
            f"smtp_sasl_password_maps = inline:{{{{[127.0.0.1]:{server.port('submission')}="
            f"{USER}:{PASSWORD}}}}}\n"
            f"smtp_sasl_mechanism_filter = {mechanism}"
        )
        postfix = await Postfix.start(self, server.port("submission"), more)
        await self.send(postfix.port, CONTENT, USER, sender=USER)
        [message] = await self.inbox(server, 1)
        self.assertTrue(message.endswith(BODY))
        self.assertIn(b"with ESMTPSA", message)

    async def test_submission_by_plain(self) -> None:
        """STARTTLS, then AUTH PLAIN."""
        await self.submitted("plain")

    async def test_submission_by_login(self) -> None:
        """STARTTLS, then AUTH LOGIN."""
        await self.submitted("login")

    async def test_submission_by_scram(self) -> None:
        """STARTTLS, then SCRAM-SHA-256 as Cyrus SASL speaks it."""
        await self.submitted("scram-sha-256")


class ToPostfixTests(InteropTestCase):
    """We hand mail to Postfix, which hands it to a server that looks at it."""

    async def relayed(
        self,
        content: bytes,
        *recipients: str,
        sasl: bool = False,
        mail_options: tuple[str, ...] = (),
        rcpt_options: tuple[str, ...] = (),
        sender: str = USER,
    ) -> tuple[ScriptedServer, str]:
        """What arrives behind Postfix, and the transcript of our attempt."""
        end = await ScriptedServer.start(
            self, reactor, polite(Manners([b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"DSN"]))
        )
        more = "smtp_tls_security_level = none\n"
        login: dict[str, Any] = {}
        if sasl:
            port = AuthenticationServer("relay", "pass word").start(self, reactor)
            more += (
                "smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes\n"
                "mynetworks = 192.0.2.0/24\n"
                f"smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:127.0.0.1:{port}\n"
            )
            login = {"username": "relay", "password": "pass word"}
        postfix = await Postfix.start(self, end.port, more)
        relay = RelayHostSection("127.0.0.1", postfix.port, TLSLevel.ENCRYPT, **login)
        server = await self.us(relay_host=relay)
        await self.send(
            server.port("mx"),
            content,
            *recipients,
            sender=sender,
            mail_options=mail_options,
            rcpt_options=rcpt_options,
        )
        told = await self.histories(server, len(recipients))
        for one in told:
            self.assertEqual(one["code"], 250, one)
            self.assertRegex(str(one["tls"]), r"^TLSv1\.3 ")
        while not end.contents:
            await soon()
        return end, "\n".join(told[0]["transcript"])

    async def test_starttls_pipelining_and_bdat(self) -> None:
        """What Postfix offers is used, and every byte arrives."""
        end, transcript = await self.relayed(CONTENT, "one@peer.test", "two@peer.test")
        self.assertTrue(end.contents[0].endswith(b"\r\n\r\n" + BODY))
        self.assertRegex(transcript, r"C: STARTTLS\n(.*\n)*C: EHLO")
        self.assertRegex(transcript, r"C: RCPT TO:<one@peer.test>\nC: RCPT TO:<two@peer.test>")
        self.assertRegex(transcript, r"C: BDAT \d+ LAST")

    async def test_auth(self) -> None:
        """With the right password Postfix relays for us."""
        end, transcript = await self.relayed(CONTENT, "one@peer.test", sasl=True)
        self.assertIn("C: AUTH PLAIN ****", transcript)
        self.assertIn(b"(Authenticated sender: relay)", end.contents[0])

    async def test_smtputf8(self) -> None:
        """Addresses and headers beyond ASCII go through."""
        end, _ = await self.relayed(
            UTF8, "jörg@peer.test", mail_options=("SMTPUTF8", "BODY=8BITMIME")
        )
        self.assertIn("Subject: grüße\r\n".encode(), end.contents[0])
        self.assertTrue(end.contents[0].endswith("\r\n\r\nhällo\r\n".encode()))
        self.assertTrue(any("<jörg@peer.test>".encode() in line for line in end.lines))

    async def test_dsn(self) -> None:
        """NOTIFY, ORCPT, RET and ENVID arrive behind Postfix as they were given to us."""
        end, _ = await self.relayed(
            CONTENT,
            "one@peer.test",
            mail_options=("RET=HDRS", "ENVID=id+2B1"),
            rcpt_options=("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;other@peer.test"),
        )
        [mail] = [line for line in end.lines if line.startswith(b"MAIL")]
        [rcpt] = [line for line in end.lines if line.startswith(b"RCPT")]
        self.assertIn(b" RET=HDRS", mail)
        self.assertIn(b" ENVID=id+2B1", mail)
        self.assertIn(b"ORCPT=rfc822;other@peer.test", rcpt)
        self.assertRegex(rcpt, b"NOTIFY=(SUCCESS,FAILURE|FAILURE,SUCCESS)")

    async def test_large(self) -> None:
        """Ten MiB, from the spool, in one chunk."""
        line = bytes(range(33, 109)) + b"\r\n"
        content = CONTENT + line * (9 * 1024 * 1024 // len(line))
        end, _ = await self.relayed(content, "one@peer.test")
        self.assertTrue(end.contents[0].endswith(content.split(b"\r\n\r\n", 1)[1]))
