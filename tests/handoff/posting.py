"""mailrelay-post, run as the program that it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from tests.handoff.endpoint import (
    PATIENCE,
    Answer,
    HTTPEndpoint,
)

ROOT = Path(mailrelay.__file__).parent.parent
TOKEN = "a-pre-shared-key-of-the-endpoint"
MESSAGE = b"Subject: hello\r\n\r\n.a dot\r\n..two\r\nend\r\n"
# Without site-packages nothing but the standard library can be imported.
PROGRAM = (sys.executable, "-S", "-s", "-m", "mailrelay.handoff.post")


class PostTestCase(SynchronousTestCase):
    """Runs the program."""

    def setUp(self) -> None:
        """A token file."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.token_file = self.folder / "token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.token_file.chmod(0o640)

    def endpoint(self, *answers: Answer, **more: object) -> HTTPEndpoint:
        """One that is there until the test ends."""
        endpoint = HTTPEndpoint(*answers, **more)  # type: ignore[arg-type]
        self.addCleanup(endpoint.close)
        return endpoint

    def start(
        self,
        *arguments: str | bytes,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> subprocess.Popen[bytes]:
        """The program, with a pipe as its input."""
        process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def result(
        self, process: subprocess.Popen[bytes], message: bytes | None = MESSAGE
    ) -> tuple[int, str]:
        """Exit code and output, which is fit for pipe(8) and does not tell the token."""
        output, _ = process.communicate(message, timeout=PATIENCE)
        text = output.decode("ascii")
        self.assertNotIn(TOKEN, text)
        self.assertLessEqual(len(text), 201)
        if process.returncode == 0:
            self.assertEqual(text, "")
        else:
            first = "4" if process.returncode == 75 else "5"
            self.assertRegex(text, rf"\A{first}\.\d\.\d [ -~]+\n\Z")
        return process.returncode, text

    def post(
        self, endpoint: HTTPEndpoint | str, *more: str | bytes, message: bytes = MESSAGE
    ) -> tuple[int, str]:
        """What comes of a message."""
        url = endpoint if isinstance(endpoint, str) else endpoint.url()
        named = ("--url", url, "--token-file", str(self.token_file))
        return self.result(self.start(*named, *more), message)

    def assert_deferred(self, result: tuple[int, str], text: str) -> None:
        """A deferral that says so."""
        self.assertEqual(result[0], 75, result)
        self.assertIn(text, result[1])
