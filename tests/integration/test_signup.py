"""docs/examples/signup: beside a localserve, it signs users up, and hears of bounce and reply."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.testing.documents import PATIENCE, Block, Page
from mailrelay.testing.ports import free_port
from tests.integration.test_application import dsn

PROGRAM = Path(__file__).parents[2] / "docs" / "examples" / "signup" / "signup.py"
SECRET = "Bearer of a secret"


class SignupTests(SynchronousTestCase):
    """The example, run as its page says."""

    timeout = 120

    def setUp(self) -> None:
        """A localserve that calls the example, and the example."""
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        self.page = Page(folder)
        self.addCleanup(self.page.stop)
        self.port = free_port()
        (folder / "secret").write_text(f"{SECRET}\n")
        set_up = (
            f".venv/bin/mailrelay account set mailrelay"
            f" --outgoing-webhook http://127.0.0.1:{self.port}/outgoing"
            f" --outgoing-authorization-file secret"
            f" --incoming-webhook http://127.0.0.1:{self.port}/incoming"
            f" --incoming-authorization-file secret"
            f" --from-id-login mailrelay@localhost --dir mailrelay-localserve"
        )
        self.assertIsNone(self.page.run(Block(set_up, None, None)))
        smtp, _, _, http, _ = self.page.ports
        self.smtp_port = smtp
        environment = {"WEBAPI": f"http://127.0.0.1:{http}/webapi/v0/", "WEBHOOK_SECRET": SECRET}
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.port)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.assertIn(b"serving", process.stdout.readline())

    def ask(self, path: str, value: object = None, **headers: str) -> Any:
        """The example's answer: to a POST when there is a ``value``."""
        data = None if value is None else json.dumps(value).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def user(self, email: str, holds: Callable[[Any], object]) -> Any:
        """A user, once ``holds``."""
        until = time.monotonic() + PATIENCE
        while True:
            [user] = [user for user in self.ask("/users") if user["email"] == email]
            if holds(user):
                return user
            self.assertLess(time.monotonic(), until, user)
            time.sleep(0.05)

    def test_example(self) -> None:
        """A welcome arrives, one is refused, one bounces later, and one is replied to."""
        for name, email in (
            ("Ann", "ann@example.net"),
            ("Bob", "x550@example.net"),
            ("Eve", "eve@example.net"),
        ):
            self.ask("/users", {"name": name, "email": email})
        ann = self.user("ann@example.net", lambda user: user["welcome"] == "delivered")
        refused = self.user("x550@example.net", lambda user: "failed" in user["welcome"])
        self.assertIn("550", refused["welcome"])
        self.user("eve@example.net", lambda user: user["welcome"] == "delivered")
        self.reply(ann["message_id"])
        replied = self.user("ann@example.net", lambda user: user["replies"])
        self.assertEqual(replied["replies"], ["Thank you!"])
        self.bounce("eve@example.net")
        bounced = self.user("eve@example.net", lambda user: "failed" in user["welcome"])
        self.assertIn("550", bounced["welcome"])
        self.ask("/users", {"name": "Bob", "email": "X550+again@example.net"})
        self.user("X550+again@example.net", lambda user: "suppressed" in user["welcome"])

    def test_stranger(self) -> None:
        """Who does not know the secret tells it nothing."""
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.ask("/outgoing", {"Event": "failed", "Extra": {}}, Authorization="Bearer x")
        self.assertEqual(caught.exception.code, 401)
        caught.exception.close()

    def reply(self, message_id: str) -> None:
        """Ann's answer, as her mail program sends it."""
        mail = EmailMessage()
        mail["From"], mail["To"] = "ann@example.net", "mailrelay@localhost"
        mail["Subject"], mail["In-Reply-To"] = "Re: Welcome", message_id
        mail.set_content("Thank you!\n")
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as client:
            client.send_message(mail)

    def bounce(self, recipient: str) -> None:
        """A DSN for what was sent to a recipient, to where it came from."""
        command = ".venv/bin/mailrelay message list --dir mailrelay-localserve --json >messages"
        self.assertIsNone(self.page.run(Block(command, None, None)))
        rows = json.loads((self.page.folder / "messages").read_text())
        [sender] = {row["from"] for row in rows if row["to"] == recipient}
        self.assertRegex(sender, r"^mailrelay\+[\w-]{22}@localhost$")
        more = "Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
        content = dsn(recipient, "failed", "5.1.1", more)
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as client:
            client.sendmail("", [sender], content.replace(b"\n", b"\r\n"))
