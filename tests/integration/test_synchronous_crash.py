"""kill -9 between an application's answer and ours."""

from __future__ import annotations

import os
import smtplib
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.processes import ServerProcess
from tests.integration.receiver import Receiver, Request

CONFIG = """
hostname = "mx.example.org"
data_dir = "{folder}/data"
allow_root = true
[[listener]]
role = "mx"
endpoint = "tcp:0:interface=127.0.0.1"
[[handoff]]
name = "app"
url = "{url}"
domains = ["app.test"]
synchronous = true
allowed_networks = ["127.0.0.0/8"]
[storage]
min_free_bytes = 1
[log]
mail_log = ""
levels = {{ log_legacy = "info" }}
"""
MESSAGE = b"From: joe@client.test\r\nSubject: once\r\n\r\nhi\r\n"


class SynchronousCrashTests(TestCase):
    """Nothing is lost, and what comes twice can be known."""

    timeout = 120

    def setUp(self) -> None:
        """An application, and a server whose mail it takes."""
        self.application = Receiver()
        self.addCleanup(self.application.close)
        folder = Path(os.path.abspath(self.mktemp()))
        (folder / "data").mkdir(parents=True)
        config = CONFIG.format(folder=folder, url=self.application.url("/in"))
        self.server = ServerProcess(folder, config)
        self.addCleanup(self.server.kill)
        self.server.start()

    def send(self) -> None:
        """As a client does that sends again what was not answered."""
        with smtplib.SMTP("127.0.0.1", self.server.port, timeout=30) as client:
            client.sendmail("joe@client.test", ["bob@app.test"], MESSAGE)

    def killing(self, *, answers_first: bool) -> Callable[[Request], None]:
        """The application takes the message, and the server dies before it, or we, know."""

        def answer(request: Request) -> None:
            if not answers_first:
                self.server.kill()
            request.send_response(200)
            request.send_header("Content-Length", "0")
            request.end_headers()
            if answers_first:
                self.server.kill()

        return answer

    def test_killed(self) -> None:
        """The sender was told nothing, sends again, and the application sees the same key."""
        for answers_first in (False, True):
            before = len(self.application.at("/in"))
            self.application.answers["/in"] = self.killing(answers_first=answers_first)
            try:
                self.send()
            except (smtplib.SMTPException, OSError):
                was_told = False
            else:
                was_told = True
            self.assertTrue(answers_first or not was_told)
            del self.application.answers["/in"]
            self.server.start()
            if not was_told:
                self.send()
            came = self.application.at("/in")[before:]
            self.assertEqual(len(came), 1 if was_told else 2)
            self.assertEqual(len({one.headers["Idempotency-Key"] for one in came}), 1)
            self.assertEqual(len({one.body.partition(b"\r\n\r\n")[2] for one in came}), 1)
