"""What is tried with each mail server of other people's: mail from it, and mail to it.

Subclasses say how it is started, and add what only it can do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mailrelay.config.settings import QueueSection
from mailrelay.config.transports import (
    ChainSection,
    HopSection,
    RelayHostSection,
    RelayingSection,
)
from mailrelay.net.tls import TLSLevel
from mailrelay.observe.events import Event, EventKind
from mailrelay.testing.certificates import DAY
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import Manners, ScriptedServer, polite
from tests.interop.programs import InteropTestCase, reactor, soon

if TYPE_CHECKING:
    _Base = InteropTestCase
else:
    _Base = object

CONTENT = b"From: user@example.org\r\nSubject: hello\r\n\r\n.a dot\r\n..two\r\nend\r\n"
BODY = CONTENT.split(b"\r\n\r\n", 1)[1]
UTF8 = "From: user@example.org\r\nSubject: grüße\r\n\r\nhällo\r\n".encode()
UTF8_OPTIONS = ("SMTPUTF8", "BODY=8BITMIME")

OUR_LOGIN = (USER, PASSWORD)
THEIR_LOGIN = ("relay", "pass word")


class MailServer(Protocol):
    """One that relays everything."""

    @property
    def port(self) -> int:
        """Where it listens."""

    @property
    def tls_port(self) -> int:
        """Where it speaks TLS from the first byte."""


class FromPeerContract(_Base):
    """It hands mail to us."""

    async def peer(self, next_port: int, mechanism: str = "") -> MailServer:
        """Start it: it relays to ``next_port`` by STARTTLS, logged in by ``mechanism`` if any."""
        raise NotImplementedError

    async def test_as_mx(self) -> None:
        """By STARTTLS, the content byte exact."""
        server = await self.us()
        peer = await self.peer(server.port("mx"))
        await self.send(peer.port, CONTENT, USER, sender="a@sender.test")
        [message] = await self.inbox(server, 1)
        self.assertTrue(message.endswith(b"\r\n\r\n" + BODY))
        self.assertIn(b"with ESMTPS", message)

    async def test_smtputf8(self) -> None:
        """Addresses and headers beyond ASCII arrive as they are."""
        server = await self.us()
        peer = await self.peer(server.port("mx"))
        await self.send(peer.port, UTF8, USER, sender="jörg@sender.test", mail_options=UTF8_OPTIONS)
        [message] = await self.inbox(server, 1)
        self.assertIn("jörg@sender.test".encode(), message)
        self.assertIn("Subject: grüße\r\n".encode(), message)
        self.assertTrue(message.endswith("\r\n\r\nhällo\r\n".encode()))
        self.assertIn(b"with UTF8SMTPS", message)

    async def test_dsn(self) -> None:
        """It leaves the report to us, and we send it: delivered, to the sender."""
        server = await self.us()
        peer = await self.peer(server.port("mx"))
        options = ["NOTIFY=SUCCESS", f"ORCPT=rfc822;{USER}"]
        await self.send(peer.port, CONTENT, USER, sender=USER, rcpt_options=options)
        report = (await self.inbox(server, 2))[1]
        self.assertIn(b"Action: delivered", report)
        self.assertIn(b"Original-Recipient: rfc822;" + USER.encode(), report)

    async def submitted(self, mechanism: str) -> None:
        """It is a client of the submission port, by this SASL mechanism."""
        server = await self.us(trusted_networks=())
        peer = await self.peer(server.port("submission"), mechanism)
        await self.send(peer.port, CONTENT, USER, sender=USER)
        [message] = await self.inbox(server, 1)
        self.assertTrue(message.endswith(BODY))
        self.assertIn(b"with ESMTPSA", message)

    async def test_submission_by_plain(self) -> None:
        """STARTTLS, then AUTH PLAIN."""
        await self.submitted("plain")


class ToPeerContract(_Base):
    """We hand mail to it, and it hands it to a server that looks at it."""

    saw_login: bytes
    """What it writes into Received when we logged in."""

    async def peer(self, next_port: int, *, wants_login: bool = False) -> MailServer:
        """Start it: it relays to ``next_port`` in clear, for THEIR_LOGIN only if it wants that."""
        raise NotImplementedError

    async def relayed(
        self,
        content: bytes,
        *recipients: str,
        wants_login: bool = False,
        mail_options: tuple[str, ...] = (),
        rcpt_options: tuple[str, ...] = (),
    ) -> tuple[ScriptedServer, str]:
        """What arrives behind it, and the transcript of our attempt."""
        end = await ScriptedServer.start(
            self, reactor, polite(Manners([b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"DSN"]))
        )
        peer = await self.peer(end.port, wants_login=wants_login)
        username, password = THEIR_LOGIN
        login: dict[str, Any] = {"username": username, "password": password} if wants_login else {}
        relay = RelayHostSection("127.0.0.1", peer.port, TLSLevel.ENCRYPT, **login)
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
        """What it offers is used, and every byte arrives."""
        end, transcript = await self.relayed(CONTENT, "one@peer.test", "two@peer.test")
        self.assertTrue(end.contents[0].endswith(b"\r\n\r\n" + BODY))
        self.assertRegex(transcript, r"C: STARTTLS\n(.*\n)*C: EHLO")
        self.assertRegex(transcript, r"C: RCPT TO:<one@peer.test>\nC: RCPT TO:<two@peer.test>")
        self.assertRegex(transcript, r"C: BDAT \d+ LAST")

    async def test_auth(self) -> None:
        """With the right password it relays for us."""
        end, transcript = await self.relayed(CONTENT, "one@peer.test", wants_login=True)
        self.assertIn("C: AUTH PLAIN ****", transcript)
        self.assertIn(self.saw_login, end.contents[0])

    async def by_sender(
        self, port: int, credentials: str, *, relaymap: str | None = None, **relaying: Any
    ) -> Event:
        """What became of a message of ``a.test``, whose relay host this is."""
        folder = self.folder()
        mapped = f"@a.test [127.0.0.1]:{port}\n" if relaymap is None else relaymap
        (folder / "postfix-relaymap.cf").write_text(mapped)
        (folder / "postfix-sasl-password.cf").write_text(credentials)
        section = RelayingSection(dir=str(folder), **relaying)
        server = await self.us(relaying=section, queue=QueueSection(first_retry_after=3600.0))
        await self.send(server.port("mx"), CONTENT, "one@peer.test", sender="joe@a.test")
        return await self.outcome(server)

    async def test_login_of_the_sender(self) -> None:
        """The sender's domain has its relay host, and its login there."""
        end = await ScriptedServer.start(self, reactor, polite())
        peer = await self.peer(end.port, wants_login=True)
        login = f"@a.test {':'.join(THEIR_LOGIN)}\n@b.test wrong:wrong\n"
        event = await self.by_sender(peer.port, login, unverified_hosts=["127.0.0.1"])
        self.assertEqual(event.kind, EventKind.DELIVERED, event)
        while not end.contents:
            await soon()
        self.assertIn(self.saw_login, end.contents[0])

    async def test_what_keeps_us_from_the_relay_host(self) -> None:
        """Wrong password, wrong certificate, no AUTH: the mail waits, and nothing leaves."""
        end = await ScriptedServer.start(self, reactor, polite())
        login = f"@a.test {':'.join(THEIR_LOGIN)}\n"
        unverified: dict[str, Any] = {"unverified_hosts": ["127.0.0.1"]}
        cases: Sequence[tuple[bool, str, dict[str, Any], str]] = (
            (True, "@a.test relay:wrong\n", unverified, "login"),
            (True, login, {}, "certificate"),
            (False, login, unverified, "offers no AUTH"),
        )
        for wants_login, credentials, given, said in cases:
            peer = await self.peer(end.port, wants_login=wants_login)
            event = await self.by_sender(peer.port, credentials, **given)
            self.assertEqual(event.kind, EventKind.DELAYED, event)
            self.assertIn(said, str(event.data["reply"]))
        self.assertEqual(end.contents, [])

    async def test_certificate(self) -> None:
        """The right one is believed; an expired one of the same authority is not."""
        self.trust_an_authority()
        end = await ScriptedServer.start(self, reactor, polite())
        login = f"@a.test {':'.join(THEIR_LOGIN)}\n"
        peer = await self.peer(end.port, wants_login=True)
        event = await self.by_sender(peer.port, login)
        self.assertEqual(event.kind, EventKind.DELIVERED, event)
        while not end.contents:
            await soon()
        self.valid_for = -DAY
        peer = await self.peer(end.port, wants_login=True)
        event = await self.by_sender(peer.port, login)
        self.assertEqual(event.kind, EventKind.DELAYED, event)
        self.assertIn("its certificate is not valid now", str(event.data["reply"]))
        self.assertEqual(len(end.contents), 1)

    async def test_tls_from_the_first_byte(self) -> None:
        """As on port 465, by a chain whose first host is away."""
        end = await ScriptedServer.start(self, reactor, polite())
        peer = await self.peer(end.port, wants_login=True)
        hops = [
            HopSection(f"[127.0.0.1]:{free_port()}"),
            HopSection(f"[127.0.0.1]:{peer.tls_port}", tls="implicit", credentials="main"),
        ]
        event = await self.by_sender(
            peer.port,
            f"main {':'.join(THEIR_LOGIN)}\n",
            relaymap="",
            chain=[ChainSection(hops, sender="@a.test")],
            unverified_hosts=["127.0.0.1"],
        )
        self.assertEqual(event.kind, EventKind.DELIVERED, event)
        self.assertIn("TLSv1", str(event.data["tls"]))
        transcript = "\n".join(map(str, event.data["transcript"]))  # type: ignore[call-overload]
        self.assertNotIn("STARTTLS", transcript)
        self.assertIn("C: AUTH", transcript)
        while not end.contents:
            await soon()
        self.assertIn(self.saw_login, end.contents[0])

    async def test_smtputf8(self) -> None:
        """Addresses and headers beyond ASCII go through."""
        end, _ = await self.relayed(UTF8, "jörg@peer.test", mail_options=UTF8_OPTIONS)
        self.assertIn("Subject: grüße\r\n".encode(), end.contents[0])
        self.assertTrue(end.contents[0].endswith("\r\n\r\nhällo\r\n".encode()))
        self.assertTrue(any("<jörg@peer.test>".encode() in line for line in end.lines))

    async def test_dsn(self) -> None:
        """NOTIFY, ORCPT, RET and ENVID arrive behind it as they were given to us."""
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
