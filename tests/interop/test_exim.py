"""Debian's Exim, in both directions."""

from __future__ import annotations

from typing import Any

from mailrelay.config.settings import RelayHostSection
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.testing.scripted_server import Manners, ScriptedServer, polite
from tests.interop.exim import IN_TLS, Exim
from tests.interop.programs import InteropTestCase, reactor, soon

CONTENT = b"From: user@example.org\r\nSubject: hello\r\n\r\n.a dot\r\n..two\r\nend\r\n"
BODY = CONTENT.split(b"\r\n\r\n", 1)[1]
UTF8 = "From: user@example.org\r\nSubject: grüße\r\n\r\nhällo\r\n".encode()
UTF8_OPTIONS = ("SMTPUTF8", "BODY=8BITMIME")


class FromEximTests(InteropTestCase):
    """Exim hands mail to us."""

    async def test_as_mx(self) -> None:
        """By STARTTLS, in chunks (Exim prefers BDAT), the content byte exact."""
        server = await self.us()
        exim = await Exim.start(self, server.port("mx"))
        await self.send(exim.port, CONTENT, USER, sender="a@sender.test")
        [message] = await self.inbox(server, 1)
        self.assertTrue(message.endswith(b"\r\n\r\n" + BODY))
        self.assertIn(b"with ESMTPS", message)
        log = (exim.home / "log/mainlog").read_text()
        self.assertRegex(log, r"=> user@example.org .* K ")  # K: by CHUNKING

    async def test_smtputf8(self) -> None:
        """Addresses and headers beyond ASCII arrive as they are."""
        server = await self.us()
        exim = await Exim.start(self, server.port("mx"))
        await self.send(exim.port, UTF8, USER, sender="jörg@sender.test", mail_options=UTF8_OPTIONS)
        [message] = await self.inbox(server, 1)
        self.assertIn("jörg@sender.test".encode(), message)
        self.assertIn("Subject: grüße\r\n".encode(), message)
        self.assertIn(b"with UTF8SMTPS", message)

    async def test_dsn(self) -> None:
        """Exim leaves the report to us, and we send it."""
        server = await self.us()
        exim = await Exim.start(self, server.port("mx"))
        await self.send(exim.port, CONTENT, USER, sender=USER, rcpt_options=["NOTIFY=SUCCESS"])
        report = (await self.inbox(server, 2))[1]
        self.assertIn(b"Action: delivered", report)

    async def test_submission(self) -> None:
        """STARTTLS, then AUTH PLAIN."""
        server = await self.us(trusted_networks=())
        transport = f"{IN_TLS}\n  hosts_require_auth = *"
        exim = await Exim.start(
            self, server.port("submission"), transport=transport, login=(USER, PASSWORD)
        )
        await self.send(exim.port, CONTENT, USER, sender=USER)
        [message] = await self.inbox(server, 1)
        self.assertIn(b"with ESMTPSA", message)


class ToEximTests(InteropTestCase):
    """We hand mail to Exim, which hands it to a server that looks at it."""

    async def relayed(
        self,
        content: bytes,
        *recipients: str,
        check: str = "accept",
        login: dict[str, Any] | None = None,
        mail_options: tuple[str, ...] = (),
        rcpt_options: tuple[str, ...] = (),
    ) -> tuple[ScriptedServer, str]:
        """What arrives behind Exim, and the transcript of our attempt."""
        end = await ScriptedServer.start(
            self, reactor, polite(Manners([b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"DSN"]))
        )
        exim = await Exim.start(self, end.port, transport="hosts_avoid_tls = *", check=check)
        relay = RelayHostSection("127.0.0.1", exim.port, TLSLevel.ENCRYPT, **(login or {}))
        server = await self.us(relay_host=relay)
        await self.send(
            server.port("mx"),
            content,
            *recipients,
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
        """What Exim offers is used, and every byte arrives."""
        end, transcript = await self.relayed(CONTENT, "one@peer.test", "two@peer.test")
        self.assertTrue(end.contents[0].endswith(b"\r\n\r\n" + BODY))
        self.assertRegex(transcript, r"C: RCPT TO:<one@peer.test>\nC: RCPT TO:<two@peer.test>")
        self.assertRegex(transcript, r"C: BDAT \d+ LAST")

    async def test_auth(self) -> None:
        """With the right password Exim relays for us."""
        login = {"username": "relay", "password": "pass word"}
        end, transcript = await self.relayed(
            CONTENT, "one@peer.test", check="accept authenticated = *", login=login
        )
        self.assertIn("C: AUTH PLAIN ****", transcript)
        self.assertIn(b"with esmtpsa", end.contents[0])

    async def test_smtputf8(self) -> None:
        """Addresses and headers beyond ASCII go through."""
        end, _ = await self.relayed(UTF8, "jörg@peer.test", mail_options=UTF8_OPTIONS)
        self.assertIn("Subject: grüße\r\n".encode(), end.contents[0])
        self.assertTrue(any("<jörg@peer.test>".encode() in line for line in end.lines))

    async def test_dsn(self) -> None:
        """NOTIFY, ORCPT, RET and ENVID arrive behind Exim as they were given to us."""
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
