"""mox localserve, where $MAILRELAY_BENCH_MOX names its program."""

import os
import subprocess
from pathlib import Path

from bench.net import ADDRESS
from bench.servers.base import Job, Server, count_files

VARIABLE = "MAILRELAY_BENCH_MOX"
LOGIN, PASSWORD = "mox@localhost", "moxmoxmox"
HTTP_PORT, SMTP_PORT = 1080, 1025
"""Where a localserve listens, whatever it is told."""

ACCOUNT = "\nAccounts:\n\tmox:\n"
LIMITS = "\t\tMaxOutgoingMessagesPerDay: 1000000000\n\t\tMaxFirstTimeRecipientsPerDay: 1000000000\n"


class Mox(Server):
    """A localserve with the account's daily limits lifted.  What it sends it delivers to itself."""

    name = "mox"
    relays = False

    def __init__(self, job: Job, home: Path) -> None:
        super().__init__(job, home)
        self.port, self.http_port = SMTP_PORT, HTTP_PORT

    @classmethod
    def missing(cls) -> str:
        """It is nobody's package."""
        program = os.environ.get(VARIABLE, "")
        return "" if program and os.access(program, os.X_OK) else f"set {VARIABLE} to its program"

    @property
    def _folder(self) -> Path:
        return self.home / "mox"

    def _localserve(self, *arguments: str) -> list[str]:
        program = os.environ[VARIABLE]
        return [program, "localserve", "-dir", str(self._folder), "-ip", ADDRESS, *arguments]

    def prepare(self) -> None:
        """Has it write its configuration, and lifts the limits."""
        subprocess.run(self._localserve("-initonly"), check=True, capture_output=True)
        domains = self._folder / "domains.conf"
        text = domains.read_text()
        if ACCOUNT not in text:
            raise RuntimeError(f"{domains} has no account mox: another version of mox?")
        domains.write_text(text.replace(ACCOUNT, ACCOUNT + LIMITS, 1))
        static = self._folder / "mox.conf"
        lines = static.read_text().splitlines(keepends=True)
        quiet = ["LogLevel: error\n" if line.startswith("LogLevel:") else line for line in lines]
        static.write_text("".join(quiet))

    def command(self) -> list[str]:
        """A localserve in the foreground."""
        return self._localserve()

    def settings(self) -> str:
        """What was changed."""
        return "localserve, LogLevel error\n" + LIMITS.replace("\t", "")

    def accepted(self) -> int:
        """Messages that it delivered to itself."""
        return count_files(self._folder / "accounts" / "mox" / "msg")

    def queued(self) -> int:
        """Messages that wait in its queue's folder, beside its index."""
        return max(0, count_files(self._folder / "queue") - 1)
