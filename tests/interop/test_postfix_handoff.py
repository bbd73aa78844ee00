"""Debian's Postfix, mailrelay-post, a server of ours, and an SMTP server behind it.

Mail comes to Postfix by SMTP, to us by HTTPS, and leaves us by SMTP for who is behind an alias.
Whatever happens in between, that server gets one copy.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.threads import deferToThread

from mailrelay.control.aliases import AliasDetails
from mailrelay.service.controls import open_control
from mailrelay.testing.loopback import make_settings, with_account
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.handoff.front import PATIENCE, Front
from tests.integration.processes import ServerProcess
from tests.interop.mailpost import TOKEN, MailpostCase
from tests.interop.programs import reactor, soon, until

ALIAS, MEMBER = "b@example.org", "x@far.test"
CONTENT = b"From: a@sender.test\r\nSubject: hello\r\n\r\n.a dot\r\n..two\r\ncaf\xc3\xa9\r\n"
BODY = CONTENT.split(b"\r\n\r\n", 1)[1]

CONFIGURATION = """\
hostname = "mx.example.org"
data_dir = "{data_dir}"
allow_root = true
[[listener]]
role = "https"
endpoint = "tcp:{https}:interface=127.0.0.1"
handoff = true
[[listener]]
role = "http"
endpoint = "tcp:{http}:interface=127.0.0.1"
handoff = true
[tls]
certificate = "{certificate}"
private_key = "{key}"
[queue]
first_retry_after = 1.0
{more}
[log]
mail_log = ""
levels = {{ log_legacy = "info" }}
"""


class HandedInTests(MailpostCase):
    """The set-up of docs/handoff.md, with whatever may happen to us."""

    async def process(self, more: str = "", **environment: str) -> ServerProcess:
        """A process of ours, not started yet, which is told of itself by the environment."""
        self.outside = await ScriptedServer.start(self, reactor, polite())
        folder = self.home / "us"
        folder.mkdir()
        data_dir = folder / "data"
        await deferToThread(self._populate, data_dir)
        self.https, self.http = free_port(), free_port()
        text = CONFIGURATION.format(
            data_dir=data_dir,
            https=self.https,
            http=self.http,
            certificate=self.ca,
            key=self.home / "key.pem",
            more=more,
        )
        given = {
            "PSK": TOKEN,
            "DOMAIN": "example.org",
            "SMTP_CLIENT_HOST": "127.0.0.1",
            "SMTP_CLIENT_PORT": str(self.outside.port),
            "HOME": os.environ.get("HOME", "/"),
            **environment,
        }
        process = ServerProcess(folder, text, environment=given)
        self.addCleanup(process.kill)
        return process

    def _populate(self, data_dir: Path) -> None:
        data_dir.mkdir()
        settings = make_settings(self, (), "sqlite:///mailrelay.db", data_dir, {})
        with_account(settings)

    async def with_alias(self, process: ServerProcess) -> None:
        """Make the alias, in the process's store."""
        settings = make_settings(self, (), "sqlite:///mailrelay.db", self.home / "us/data", {})
        control = open_control(settings, "test", lambda: 0.0, Random(1))
        try:
            details = AliasDetails(post_public=True)
            await control.aliases.add(ALIAS, [MEMBER], details)
        finally:
            control.close()

    async def start(self, process: ServerProcess) -> None:
        """Have it run."""
        await deferToThread(process.start)

    @property
    def url(self) -> str:
        """Where mail is handed in, by HTTPS."""
        return f"https://127.0.0.1:{self.https}/v1/email"

    def front(self) -> Front:
        """Something between Postfix and us."""
        front = Front(self.http, self.tls)
        self.addCleanup(front.close)
        return front

    async def assert_one_copy(self, postfix: Any) -> None:
        """It came, whole and once, and Postfix has nothing left."""
        await self.delivered(postfix)
        await until(lambda: bool(self.outside.contents))
        await soon(0.5)  # a second copy would have its time
        [content] = self.outside.contents
        self.assertTrue(content.endswith(b"\r\n\r\n" + BODY), content)
        self.assertIn(b"RCPT TO:<x@far.test>", self.outside.lines)
        self.assertNotIn("bounced", postfix.log)

    async def test_up(self) -> None:
        """From Postfix's port to the alias's member."""
        process = await self.process()
        await self.with_alias(process)
        await self.start(process)
        postfix = await self.postfix(self.url)
        await self.send(postfix.port, CONTENT, ALIAS, sender="a@sender.test")
        await self.assert_one_copy(postfix)

    async def test_unknown_alias(self) -> None:
        """Postfix returns it, with our code."""
        process = await self.process()
        await self.start(process)
        postfix = await self.postfix(self.url)
        await self.send(postfix.port, CONTENT, "gone@example.org", sender="")
        await until(lambda: "status=bounced" in postfix.log)
        self.assertIn("dsn=5.1.1, status=bounced (no such user", postfix.log)

    async def test_down(self) -> None:
        """Postfix keeps it until we are there."""
        process = await self.process()
        await self.with_alias(process)
        postfix = await self.postfix(self.url)
        await self.send(postfix.port, CONTENT, ALIAS, sender="a@sender.test")
        await until(lambda: "dsn=4.4.1, status=deferred" in postfix.log)
        await self.start(process)
        await self.assert_one_copy(postfix)

    async def test_slow(self) -> None:
        """We take it, and answer after mailrelay-post gave up."""
        process = await self.process()
        await self.with_alias(process)
        await self.start(process)
        front = self.front()
        again = threading.Event()

        def late(answer: bytes) -> bool:
            is_first = len(front.answers) == 1
            again.wait(PATIENCE) if is_first else again.set()
            return not is_first

        front.meanwhile = late
        postfix = await self.postfix(f"https://127.0.0.1:{front.port}/v1/email", "--timeout=2")
        await self.send(postfix.port, CONTENT, ALIAS, sender="a@sender.test")
        await self.assert_one_copy(postfix)
        self.assertIn("dsn=4.4.1, status=deferred (no answer in time", postfix.log)

    async def test_wrong_token(self) -> None:
        """401 until somebody mends it: nothing is lost meanwhile."""
        process = await self.process(PSK="another-key")
        await self.with_alias(process)
        await self.start(process)
        postfix = await self.postfix(self.url)
        await self.send(postfix.port, CONTENT, ALIAS, sender="a@sender.test")
        await until(lambda: "dsn=4.7.8, status=deferred" in postfix.log)
        self.assertEqual(self.outside.contents, [])
        self.token.write_text("another-key\n")
        await self.assert_one_copy(postfix)

    async def test_killed_after_its_commit(self) -> None:
        """The message is ours, and nobody was told: it is known when it comes again."""
        process = await self.process()
        await self.with_alias(process)
        await self.start(process)
        front = self.front()

        def kill(answer: bytes) -> bool:
            process.kill()
            return False

        front.meanwhile = kill
        postfix = await self.postfix(f"https://127.0.0.1:{front.port}/v1/email")
        await self.send(postfix.port, CONTENT, ALIAS, sender="a@sender.test")
        await until(lambda: "status=deferred" in postfix.log)
        front.meanwhile = lambda answer: True
        await self.start(process)
        await self.assert_one_copy(postfix)
        first, last = front.answers[0], front.answers[-1]
        self.assertEqual([one.split()[1] for one in (first, last)], [b"200", b"200"])
