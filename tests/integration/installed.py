"""mailrelay as a user has it: built as a wheel and installed where nothing else is."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from mailrelay.testing.ports import free_port

ROOT = Path(mailrelay.__file__).parent.parent
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "mailrelay", "twisted")
PATIENCE = 60.0
"""Seconds for what takes one or two."""


@cache
def installed() -> Path:
    """The folder with the commands of a clean environment that the wheel is installed in."""
    work = Path(tempfile.mkdtemp(prefix="mailrelay-installed."))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    work.chmod(0o755)  # a server that dropped its privileges reads its modules here
    source = work / "source"
    source.mkdir()
    for name in SOURCES:  # not in place: setuptools would leave its folders there
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "dropin.cache")
            shutil.copytree(ROOT / name, source / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, source)
    command(work, interpreter(), "-m", "venv", str(work / "venv"))
    python = str(work / "venv" / "bin" / "python")
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    command(work, *pip, "wheel", "--no-deps", "--wheel-dir", str(work), str(source))
    [wheel] = work.glob("mailrelay-*.whl")
    command(work, *pip, "install", "--prefer-binary", str(wheel))
    # What twistd keeps of its plugins is written by whoever may, once.
    command(work, str(work / "venv" / "bin" / "twistd"), "--help-reactors")
    return work / "venv" / "bin"


def interpreter() -> str:
    """A Python whose modules any user can read, since the server becomes another user."""
    base = getattr(sys, "_base_executable", sys.executable)
    for candidate in (base, "/usr/bin/python3"):
        shown = subprocess.run(
            [
                candidate,
                "-c",
                "import os, sys; assert sys.version_info > (3, 11); print(os.__file__)",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        folders = Path(shown.stdout.strip()).parents
        if shown.returncode == 0 and all(folder.stat().st_mode & 0o005 for folder in folders):
            return str(candidate)
    if os.geteuid() == 0:
        raise RuntimeError("no Python that others can read: install python3 and python3-venv")
    return str(base)


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would lead Python or mailrelay elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MAILRELAY_"))}
    return kept | more


def command(cwd: Path, *arguments: str, code: int = 0, **more: str) -> str:
    """What a program says; it must end with ``code``."""
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=10 * PATIENCE,
    )
    if done.returncode != code:
        raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Ports that nobody else is given."""
    return [free_port() for _ in range(count)]


def low_port() -> int:
    """A free port below 1024, which only root can bind."""
    for port in range(1023, 512, -1):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no free port below 1024")


def until(holds: Callable[[], Any], why: Callable[[], str]) -> Any:
    """What ``holds`` answers once it is true; ``why`` says what to print when it never is."""
    end = time.monotonic() + PATIENCE
    while not (answer := holds()):
        if time.monotonic() > end:
            raise AssertionError(why())
        time.sleep(0.05)  # another process's doing can only be looked at
    return answer


@define
class Program:
    """A server that runs as a process of its own, with what it prints in ``output``."""

    case: SynchronousTestCase
    arguments: Sequence[str]
    cwd: Path
    more: dict[str, str] = field(factory=dict)
    groups: Sequence[int] | None = None  # supplementary ones, for root to give
    process: subprocess.Popen[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start it; it is ended with the test."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.arguments,
                cwd=self.cwd,
                env=environment(**self.more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                extra_groups=self.groups,
            )
        self.case.addCleanup(self.end)

    @property
    def output(self) -> Path:
        """What it printed."""
        return self.cwd / "output"

    def said(self) -> str:
        """The text of it."""
        return self.output.read_text(errors="replace")

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def answers(self, port: int) -> smtplib.SMTP:
        """A session with it, once it answers; closed with the test."""

        def connected() -> smtplib.SMTP | None:
            if self.process.poll() not in (None, 0):
                raise AssertionError(self.said())
            try:
                return smtplib.SMTP("127.0.0.1", port, "client.test", timeout=PATIENCE)
            except OSError:
                return None

        client: smtplib.SMTP = until(connected, self.said)
        self.case.addCleanup(client.close)
        return client
