"""``mailrelay sendmail`` at servers of other people: TLS from the first byte, and SMTPUTF8."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailrelay.cli.submission import EX_DATAERR, EX_TEMPFAIL
from mailrelay.testing.certificates import Authority
from mailrelay.testing.scripted_server import Answers, Manners, Peer, ScriptedServer, polite

AUTHORITY = Authority()
TLS = AUTHORITY.options(["127.0.0.1"])
UTF8 = (b"8BITMIME", b"SMTPUTF8")


async def greet(peer: Peer) -> None:
    """A server that speaks in clear on a port for TLS."""
    peer.say(b"220 peer.test ESMTP")


class PeerTestCase(TestCase):
    """A scripted server, and a home whose file names it."""

    timeout = 60

    def setUp(self) -> None:
        """A home, and a file of the authority that OpenSSL believes."""
        self.home = Path(os.path.abspath(self.mktemp()))
        self.home.mkdir()
        self.believed = self.home / "authority.pem"
        self.believed.write_bytes(AUTHORITY.certificate.public_bytes(Encoding.PEM))

    def configure(self, server: ScriptedServer, **settings: Any) -> None:
        """Write the file; ``settings`` are the rest of it."""
        chosen = {"port": server.port, "tls": "none", "from": "me@us.test"} | settings
        lines = [
            f"{name} = {str(v).lower() if v is True else repr(v)}" for name, v in chosen.items()
        ]
        file = self.home / ".mailrelay-sendmail.toml"
        file.write_text("\n".join(lines) + "\n")
        file.chmod(0o600)

    async def send(
        self, *arguments: str, text: bytes = b"Subject: x\n\nhi\n", code: int = 0
    ) -> str:
        """What the program says on standard error; it must end with ``code``."""
        result = await deferToThread(
            subprocess.run,
            [sys.executable, "-c", "from mailrelay.cli.sendmail import main; main()", *arguments],
            input=text,
            capture_output=True,
            env=os.environ | {"HOME": str(self.home), "SSL_CERT_FILE": str(self.believed)},
            check=False,
        )
        said = result.stderr.decode()
        self.assertEqual(result.returncode, code, said)
        return str(said)


class ImplicitTLSTests(PeerTestCase):
    """TLS from the first byte."""

    async def server(self, tls: Any = TLS, **answers: Answers) -> ScriptedServer:
        """One that offers AUTH and STARTTLS within TLS."""
        manners = Manners((b"AUTH PLAIN", b"STARTTLS"))
        return await ScriptedServer.start(self, reactor, polite(manners, **answers), tls=tls)

    async def test_levels(self) -> None:
        """It goes out in TLS, without STARTTLS, and ``verify`` believes the right certificate."""
        for level in ("encrypt", "verify"):
            server = await self.server(AUTH=b"235 2.7.0 ok")
            login = {"username": "me@us.test", "password": "s3cret"}
            self.configure(server, tls=level, implicit_tls=True, **login)
            await self.send("a@peer.test")
            verbs = [line.split(b" ")[0].upper() for line in server.lines]
            self.assertEqual(verbs, [b"EHLO", b"AUTH", b"MAIL", b"RCPT", b"DATA", b"QUIT"])
            self.assertTrue(server.contents[0].endswith(b"\r\n\r\nhi\r\n"))

    async def test_certificate_of_another(self) -> None:
        """``verify`` says nothing to a host with another's certificate; the caller tries again."""
        server = await self.server(AUTHORITY.options(["other.test"]))
        self.configure(server, tls="verify", implicit_tls=True)
        self.assertIn("certificate", (await self.send("a@peer.test", code=EX_TEMPFAIL)).lower())
        self.assertEqual(server.lines, [])

    async def test_server_in_clear(self) -> None:
        """A server that greets in clear is not spoken to in clear, whatever the level."""
        for level in ("may", "encrypt"):
            server = await ScriptedServer.start(self, reactor, greet)
            self.configure(server, tls=level, implicit_tls=True)
            said = await self.send("a@peer.test", code=EX_TEMPFAIL)
            self.assertIn(f"127.0.0.1:{server.port}", said)
            self.assertEqual(len(server.peers), 1)


class UTF8Tests(PeerTestCase):
    """Addresses beyond ASCII (RFC 6531)."""

    async def sent(
        self, *arguments: str, extensions: tuple[bytes, ...] = UTF8, **given: Any
    ) -> tuple[ScriptedServer, str]:
        """What a server with these extensions is told, and what the program says."""
        server = await ScriptedServer.start(self, reactor, polite(Manners(extensions)))
        self.configure(server)
        return server, await self.send(*arguments, **given)

    def commands(self, server: ScriptedServer) -> list[str]:
        """MAIL and RCPT."""
        lines = [line.decode() for line in server.lines]
        return [line for line in lines if line[:4].upper() in ("MAIL", "RCPT")]

    def assert_commands(self, server: ScriptedServer, expected: Mapping[str, str]) -> None:
        """Each command begins and ends so."""
        said = [line[:4].lower() + line[4:] for line in self.commands(server)]
        for line, (start, end) in zip(said, expected.items(), strict=True):
            self.assertTrue(line.lower().startswith(start), line)
            self.assertTrue(line.lower().endswith(end), line)

    async def test_addresses(self) -> None:
        """They are sent as UTF-8 with SMTPUTF8, from the command line and from the header."""
        message = "To: Jörg <jörg@peer.test>\nSubject: grüße\n\nhällo\n".encode()
        for arguments in (["-f", "ä@us.test", "jörg@peer.test"], ["-f", "ä@us.test", "-t"]):
            server, _ = await self.sent(*arguments, text=message)
            self.assert_commands(
                server, {"mail from:<ä@us.test>": " smtputf8", "rcpt to:<jörg@peer.test>": ">"}
            )
            self.assertIn(" body=8bitmime", self.commands(server)[0].lower())
            self.assertIn("To: Jörg <jörg@peer.test>\r\n".encode(), server.contents[0])

    async def test_ascii_addresses(self) -> None:
        """SMTPUTF8 is not asked for where nothing needs it."""
        server, _ = await self.sent("a@peer.test")
        self.assert_commands(server, {"mail from:<me@us.test>": ">", "rcpt to:<a@peer.test>": ">"})

    async def test_not_offered(self) -> None:
        """A server that takes ASCII only gets nothing, and the caller need not try again."""
        server, said = await self.sent("jörg@peer.test", extensions=(b"8BITMIME",), code=EX_DATAERR)
        self.assertIn("ASCII", said)
        self.assertEqual(self.commands(server), [])

    async def test_other_encodings(self) -> None:
        """An address that is no UTF-8 cannot be meant."""
        for text in (b"To: j\xf6rg@peer.test\n\nhi\n", b"To: a@peer.test, j\xf6rg@peer.test\n\n"):
            server, said = await self.sent("-t", text=text, code=EX_DATAERR)
            self.assertIn("is no address", said)
            self.assertEqual(server.peers, [])

    async def test_name_of_cron(self) -> None:
        """A name beyond ASCII in a From without a domain is kept."""
        text = "From: Žofie <root>\n\nhi\n".encode()
        server, _ = await self.sent("a@peer.test", text=text)
        self.assertIn(b"From: =?utf-8?b?xb1vZmll?= <me@us.test>\r\n", server.contents[0])
