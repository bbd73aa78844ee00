"""Load and counting by Postfix's own tools: smtp-source sends, smtp-sink receives."""

import os
import subprocess
import time
from pathlib import Path

import attrs

from bench.net import ADDRESS, RunningSink, free_port, greets, wait_until

LIVE_DOMAIN = "live.test"
LONGEST_LOAD_SECONDS = 1800.0


class LoadFailed(Exception):
    """smtp-source gave up: the server refused something or hung up."""


@attrs.frozen
class Load:
    """What smtp-source is to send."""

    sessions: int = 50
    reuse: bool = False
    message_bytes: int = 5000
    recipients: int = 1
    domain: str = "dest.test"

    def command(self, port: int, messages: int) -> list[str]:
        """The command line that sends this many messages."""
        command = ["smtp-source", "-4", "-s", str(min(self.sessions, messages))]
        command += ["-m", str(messages), "-l", str(self.message_bytes)]
        command += ["-f", "sender@bench.test", "-t", f"user@{self.domain}", "-M", "load.test"]
        if self.reuse:
            command.append("-d")
        if self.recipients > 1:
            command += ["-r", str(self.recipients)]
        return [*command, f"{ADDRESS}:{port}"]

    def start(self, port: int, messages: int) -> subprocess.Popen[str]:
        """Begins to send the messages."""
        return subprocess.Popen(
            self.command(port, messages),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def send(self, port: int, messages: int) -> float:
        """Sends the messages; the seconds until the last was answered.

        Raises:
            LoadFailed: not all were accepted.
        """
        began = time.monotonic()
        finish(self.start(port, messages))
        return time.monotonic() - began


def finish(sending: subprocess.Popen[str]) -> None:
    """Waits until a started smtp-source ends.

    Raises:
        LoadFailed: not all messages were accepted.
    """
    complaints = sending.communicate(timeout=LONGEST_LOAD_SECONDS)[1]
    if sending.returncode != 0 or "fatal" in complaints:
        raise LoadFailed(f"smtp-source: {complaints.strip()[-500:]}")


class Sink(RunningSink):
    """A running smtp-sink that counts what it receives.

    Its counters go to a file whose last line is read only when asked for, so that counting
    takes no CPU time from the servers. `recipients` needs `dump`, which writes all content.
    """

    def __init__(self, home: Path, dump: bool = False, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._counters = home / f"sink-{self.port}.counters"
        self._dump = home / f"sink-{self.port}.dump"
        options = ["-D", str(self._dump)] if dump else []
        with self._counters.open("wb") as counters:
            self.process = subprocess.Popen(
                sink_command(self.port, *options), stdout=counters, stderr=subprocess.STDOUT
            )
        wait_until(lambda: greets(self.port), 10, "smtp-sink")

    def received(self) -> int:
        """Messages received so far."""
        return last_count(self._counters)

    def recipients(self) -> int:
        """Recipients of all messages received so far."""
        if not self._dump.exists():
            return 0
        return self._dump.read_bytes().count(b"\nX-Rcpt-Args:")


def sink_command(port: int, *options: str) -> list[str]:
    """The command line of a counting smtp-sink."""
    command = ["smtp-sink", "-4", "-c", "-m", "5000", *options]
    if os.geteuid() == 0:
        command += ["-u", "root"]
    return [*command, f"{ADDRESS}:{port}", "1000"]


def last_count(counters: Path) -> int:
    """The message counter that `smtp-sink -c` last wrote to this file."""
    with counters.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
        last = file.read().rpartition(b"mesg=")[2]
    digits = last.split(b"\r")[0].strip()
    return int(digits) if digits.isdigit() else 0
