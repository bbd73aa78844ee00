"""A localserve in a process of its own, with several people's accounts, for browsers to look at."""

from __future__ import annotations

import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from random import SystemRandom
from typing import Any

from attrs import define, field, frozen

from mailrelay.cli.localserve import ADDRESS, ADMIN_PASSWORD, PASSWORD, Ports, local_settings
from mailrelay.cli.localserve import prepare as made_ready
from mailrelay.cli.target import settled
from mailrelay.control.directory import DirectoryControl
from mailrelay.control.directory_checks import NEW_ACCOUNT
from mailrelay.directory.credentials import hash_password
from mailrelay.service.controls import Control, open_control
from mailrelay.testing.ports import free_port

ROOT = Path(__file__).parents[2]
MAIN = "from mailrelay.cli.main import main; main()"
PATIENCE = 60.0
"""Seconds after which something that must happen has not: a liveness bound."""


def until(happened: Callable[[], Any], what: str) -> Any:
    """What ``happened`` returns, once that is true."""
    end = time.monotonic() + PATIENCE
    while True:
        found = happened()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"never seen: {what}")
        time.sleep(0.05)


@frozen
class Person:
    """Somebody with an account: one address, and the password that all of them have."""

    name: str
    password: str = PASSWORD
    domain: str = "localhost"

    @property
    def address(self) -> str:
        """What they log in with, and where their mail goes."""
        return f"{self.name}@{self.domain}"


OWNER = Person(ADDRESS.partition("@")[0])
"""Whose account localserve makes: mail for everybody who is not known is theirs."""


@define
class Localserve:
    """The process, and what fills it.  ``people`` are those whom nobody has been yet."""

    folder: Path
    ports: Ports = field(factory=lambda: Ports(*(free_port() for _ in range(5))))
    people: Iterator[Person] = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    @property
    def base(self) -> str:
        """The pages' address, without a slash at its end."""
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def admin_password(self) -> str:
        """The administrator's."""
        return ADMIN_PASSWORD

    def prepare(self, names: Sequence[str]) -> None:
        """Make the store, and an account for each name."""
        made_ready(self._settings(), None, None)
        self.people = iter([Person(name) for name in names])
        hashed = hash_password(PASSWORD)
        with self.control() as control:
            for name in names:
                values: dict[str, object] = {
                    "password_hash": hashed,
                    "full_name": name.capitalize(),
                }
                settled(_added(control.directory, name, values))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        log = self.folder / "log"
        options = [f"--{name}-port={port}" for name, port in _named(self.ports)]
        command = [sys.executable, "-c", MAIN, "localserve", "--ip=127.0.0.1"]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*command, f"--dir={self.folder}", *options],
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

        def listens() -> bool:
            assert self._process.poll() is None, log.read_text()
            return b"Stop with Ctrl-C." in log.read_bytes()

        until(listens, "a localserve that listens")

    def stop(self) -> None:
        """Stop it in an orderly way."""
        self._process.terminate()
        self._process.wait(PATIENCE)

    @contextmanager
    def control(self) -> Iterator[Control]:
        """The operators' side of its store."""
        control = open_control(self._settings(), "test", time.time, SystemRandom())
        try:
            yield control
        finally:
            control.close()

    def deliver(self, *messages: EmailMessage | bytes, to: str, sender: str = "") -> None:
        """Have it take messages by SMTP, each as it is."""
        with smtplib.SMTP("127.0.0.1", self.ports.smtp, timeout=PATIENCE) as client:
            for message in messages:
                content = (
                    message if isinstance(message, bytes) else message.as_bytes(policy=SMTPUTF8)
                )
                client.sendmail(sender, [to], content, mail_options=["SMTPUTF8", "BODY=8BITMIME"])

    def _settings(self) -> Any:
        return local_settings(self.folder, ["127.0.0.1"], self.ports)


async def _added(directory: DirectoryControl, name: str, values: dict[str, object]) -> None:
    await directory.records.add_account(directory.actor, name, {**NEW_ACCOUNT, **values})
    await directory.add_address(f"{name}@localhost", name)


def _named(ports: Ports) -> Iterator[tuple[str, int]]:
    for name in ("smtp", "submission", "submissions", "http", "https"):
        yield name, getattr(ports, name)


def letter(subject: str = "hello", **fields: str) -> EmailMessage:
    """A message with a text."""
    message = EmailMessage()
    headers = {"From": "Ann <ann@example.net>", "To": "you@localhost", "Subject": subject}
    for name, value in {**headers, **fields}.items():
        message[name] = value
    message.set_content("Hi,\n\nall is <b>well</b>.\n")
    return message
