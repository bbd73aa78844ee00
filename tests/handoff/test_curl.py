"""The script for curl in docs/handoff.md."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from tests.handoff.endpoint import OK, PATIENCE, Answer, HTTPEndpoint, closes, status

PAGE = Path(mailrelay.__file__).parent.parent / "docs" / "handoff.md"
MESSAGE = b"Subject: hello\r\n\r\n\0.a dot\n\xff"


class CurlTests(SynchronousTestCase):
    """What it ends with."""

    def post(self, *answers: Answer) -> tuple[int, HTTPEndpoint]:
        """Its exit code at an endpoint that answers so; one without answers is not there."""
        endpoint = HTTPEndpoint(*answers)
        self.addCleanup(endpoint.close)
        if not answers:
            endpoint.close()
        block = re.search(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        assert block is not None
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "authorization").write_text("Authorization: Bearer token\n")
        script = block[1].replace("/etc/mailpost", str(folder.resolve()))
        script = script.replace("https://mail.example.org/v1/email", endpoint.url())
        self.assertNotIn("https:", script)
        done = subprocess.run(
            ["sh", "-c", script.replace("--max-time 60", "--max-time 1")],
            input=MESSAGE,
            timeout=PATIENCE,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )
        return done.returncode, endpoint

    def test_delivered(self) -> None:
        """2xx; every byte arrives, with the token."""
        code, endpoint = self.post(OK)
        self.assertEqual(code, 0)
        [request] = endpoint.requests
        self.assertEqual(request.body, MESSAGE)
        self.assertEqual(request.one(b"Authorization"), b"Bearer token")
        self.assertEqual(request.one(b"Content-Type"), b"message/rfc822")

    def test_deferred(self) -> None:
        """Everything else."""
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nOK"
        for answer in (status(302), status(401), status(422), status(503), closes, half):
            self.assertEqual(self.post(answer)[0], 75, answer)
        self.assertEqual(self.post()[0], 75)
        silent = HTTPEndpoint()
        self.addCleanup(silent.close)
        self.assertEqual(self.post(silent.silence)[0], 75)
