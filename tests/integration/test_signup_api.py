"""docs/examples/signup/signup_api.py, beside a localserve: the same application by our own API."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.testing.documents import PATIENCE, Block, Page
from mailrelay.testing.ports import free_port
from mailrelay.webhooks.signature import secret_of, signed_headers
from tests.integration.test_application import dsn

PROGRAM = Path(__file__).parents[2] / "docs" / "examples" / "signup" / "signup_api.py"
LOGIN = "Basic " + b64encode(b"mailrelay@localhost:mailrelay").decode()


class SignupAPITests(SynchronousTestCase):
    """The example, run as its page says."""

    timeout = 120

    def setUp(self) -> None:
        """A localserve that calls the example, and the example, with a key that only sends."""
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        self.page = Page(folder)
        self.addCleanup(self.page.stop)
        self.assertIsNone(self.page.run(Block("true", None, None)))
        self.smtp_port, _, _, http, _ = self.page.ports
        self.api, self.port = f"http://127.0.0.1:{http}/api/v1", free_port()
        key = self.ask(f"{self.api}/keys", {"name": "shop", "scopes": ["send"]})["key"]
        endpoint = {"name": "shop", "url": f"http://127.0.0.1:{self.port}/webhook"}
        self.secret = self.ask(f"{self.api}/webhooks", endpoint)["secret"]
        environment = {"API": self.api, "API_KEY": key, "WEBHOOK_SECRET": self.secret}
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
        self.own = f"http://127.0.0.1:{self.port}"

    def ask(self, url: str, value: object = None, **headers: str) -> Any:
        """The answer: to a POST when there is a ``value``."""
        data = None if value is None else json.dumps(value).encode()
        named = {"Authorization": LOGIN, "Content-Type": "application/json", **headers}
        request = urllib.request.Request(url, data, named)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def user(self, email: str, holds: Callable[[Any], object]) -> Any:
        """A user, once ``holds``."""
        until = time.monotonic() + PATIENCE
        while True:
            users = self.ask(f"{self.own}/users")
            [user] = [user for user in users if user["email"] == email]
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
            self.ask(f"{self.own}/users", {"name": name, "email": email})
        ann = self.user("ann@example.net", lambda user: user["welcome"] == "delivered")
        refused = self.user("x550@example.net", lambda user: "failed" in user["welcome"])
        self.assertIn("550", refused["welcome"])
        eve = self.user("eve@example.net", lambda user: user["welcome"] == "delivered")
        self.reply(ann["message_id"])
        replied = self.user("ann@example.net", lambda user: user["replies"])
        self.assertEqual(replied["replies"], ["Thank you!"])
        self.bounce("eve@example.net", eve["message_id"])
        bounced = self.user("eve@example.net", lambda user: "failed" in user["welcome"])
        self.assertIn("550", bounced["welcome"])
        self.ask(f"{self.own}/users", {"name": "Bob", "email": "X550+again@example.net"})
        self.user("X550+again@example.net", lambda user: "suppressed" in user["welcome"])

    def test_stranger(self) -> None:
        """Who does not know the secret tells it nothing; who does is heard once for an id."""
        self.ask(f"{self.own}/users", {"name": "Ann", "email": "ann@example.net"})
        self.user("ann@example.net", lambda user: user["welcome"] == "delivered")
        event = {"kind": "failed", "code": 550, "reply": "no"}
        message = {"extra": [{"name": "user", "value": "1"}]}
        call = {"type": "message.failed", "data": {"event": event, "message": message}}
        body, now = json.dumps(call).encode(), int(time.time())
        forged = signed_headers([secret_of(bytes(32))], "call_1", now, body)
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.ask(f"{self.own}/webhook", call, **forged)
        self.assertEqual(caught.exception.code, 401)
        caught.exception.close()
        self.user("ann@example.net", lambda user: user["welcome"] == "delivered")
        self.ask(f"{self.own}/webhook", call, **signed_headers([self.secret], "call_1", now, body))
        self.user("ann@example.net", lambda user: user["welcome"] == "failed: 550 no")

    def reply(self, message_id: str) -> None:
        """Ann's answer, as her mail program sends it."""
        mail = EmailMessage()
        mail["From"], mail["To"] = "ann@example.net", "mailrelay@localhost"
        mail["Subject"], mail["In-Reply-To"] = "Re: Welcome", message_id
        mail.set_content("Thank you!\n")
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as client:
            client.send_message(mail)

    def bounce(self, recipient: str, message_id: str) -> None:
        """A DSN for what was sent to a recipient, to where it came from."""
        more = "Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
        content = dsn(recipient, "failed", "5.1.1", more, message_id)
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as client:
            client.sendmail("", ["mailrelay@localhost"], content.replace(b"\n", b"\r\n"))
