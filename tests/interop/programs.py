"""Running other people's programs beside a server of ours, and looking at what came of it."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from mailrelay.config.settings import QueueSection
from mailrelay.control.mailbox import MessageFilter
from mailrelay.control.queue import EntryFilter
from mailrelay.net.certificates import make_self_signed, write_private
from mailrelay.observe.events import Event, EventKind
from mailrelay.testing.certificates import DAY, Authority
from mailrelay.testing.loopback import PASSWORD, USER, Loopback

reactor: Any = installed_reactor

PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin"


def soon(seconds: float = 0.05) -> Deferred[None]:
    """A moment later: between two looks at what cannot be awaited."""
    waited: Deferred[None] = Deferred()
    reactor.callLater(seconds, waited.callback, None)
    return waited


def installed(name: str) -> str:
    """Where a program is; the test is skipped, which fails the run, where it is not."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}")
    if found is None:
        raise SkipTest(f"{name} is not installed: run script/test")
    return found


def as_root() -> None:
    """Skip, which fails the run, where a program cannot be started as another user."""
    if os.geteuid() != 0:
        raise SkipTest("this program is started by root only")


def _put_back(name: str, value: str | None) -> None:
    if value is None:
        del os.environ[name]
    else:
        os.environ[name] = value


class InteropTestCase(TestCase):
    """Programs and servers that end with the test."""

    timeout = 120
    authority: Authority | None = None
    """Who signs certificates, once a test has made it trusted; themselves when None."""

    valid_for = DAY

    def trust_an_authority(self) -> None:
        """Have this process believe the certificates that follow."""
        self.authority = Authority()
        file = self.folder() / "authority.pem"
        file.write_bytes(self.authority.certificate.public_bytes(serialization.Encoding.PEM))
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(file)  # OpenSSL's own variable
        self.addCleanup(_put_back, "SSL_CERT_FILE", before)

    def folder(self) -> Path:
        """A directory that other users may enter, unlike trial's own."""
        path = Path(tempfile.mkdtemp(prefix="mailrelay-interop-"))
        path.chmod(0o755)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def certificate(self, folder: Path) -> tuple[Path, Path]:
        """Files of a certificate for 127.0.0.1 and its key."""
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        names = ["localhost", "127.0.0.1"]
        if self.authority is None:
            make_self_signed(certificate, key, names, time.time())
            return certificate, key
        signed, private = self.authority.issue(names, valid_for=self.valid_for)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        write_private(key, private.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        return certificate, key

    async def run_program(
        self,
        *command: str,
        given: bytes = b"",
        env: Mapping[str, str] | None = None,
        good: Sequence[int] = (0,),
    ) -> str:
        """Run a program to its end, which must be a good one; what it printed."""
        done: subprocess.CompletedProcess[bytes] = await deferToThread(
            subprocess.run,
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            env={"PATH": PATH, "LC_ALL": "C", **(env or {})},
            check=False,
        )
        printed = done.stdout.decode("utf-8", "replace")
        self.assertIn(done.returncode, good, printed)
        return printed

    async def daemon(
        self,
        port: int,
        folder: Path,
        *command: str,
        is_ready: Callable[[int], bool] | None = None,
    ) -> None:
        """Run a program that listens on ``port`` until the test ends; one of SMTP, if not told."""
        output = folder / "output"
        with output.open("ab") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={"PATH": PATH, "LC_ALL": "C"},
            )
        self.addCleanup(_end, process)
        while not await deferToThread(is_ready or _greets, port):
            printed = output.read_text(errors="replace")
            self.assertIsNone(process.poll(), f"{command[0]} ended:\n{printed}")
            await soon()

    async def us(self, **settings: Any) -> Loopback:
        """A server of ours that relays for this machine and retries at once."""
        chosen: dict[str, Any] = {
            "trusted_networks": ("127.0.0.0/8",),
            "queue": QueueSection(first_retry_after=1.0),
            **settings,
        }
        return await Loopback.start(self, reactor, **chosen)

    async def inbox(self, server: Loopback, count: int) -> list[bytes]:
        """The messages of ``server``'s mailboxes, once there are so many."""
        control = server.control()
        try:
            found: Any = []
            while len(found) < count:
                await soon()
                found = await control.messages.find(MessageFilter())
            self.assertEqual(len(found), count)
            return [await control.messages.content(message.id) for _, message in found]
        finally:
            control.close()

    async def histories(self, server: Loopback, count: int) -> list[dict[str, Any]]:
        """What the last event of each retired entry tells, once there are so many."""
        control = server.control()
        try:
            found: Any = []
            while len(found) < count:
                await soon()
                found = await control.queue.find(EntryFilter(retired=True))
            shown = [await control.queue.history(view.entry.id) for view in found]
            return [dict(history.events[-1].data) for history in shown]
        finally:
            control.close()

    async def outcome(self, server: Loopback) -> Event:
        """What became of the first attempt for the only entry, once it was made."""
        control = server.control()
        over = (EventKind.DELIVERED, EventKind.DELAYED, EventKind.FAILED)
        try:
            while True:
                await soon()
                found = [*await control.queue.find(EntryFilter())]
                found += await control.queue.find(EntryFilter(retired=True))
                for view in found:
                    events = (await control.queue.history(view.entry.id)).events
                    if events[-1].kind in over:
                        return events[-1]
        finally:
            control.close()

    async def send(
        self,
        port: int,
        content: bytes,
        *recipients: str,
        sender: str = USER,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        login: tuple[str, str] | None = None,
    ) -> None:
        """Hand over a message with Python's smtplib, by STARTTLS when logging in."""

        def session() -> None:
            with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
                if login is not None:
                    client.starttls()
                    client.login(*login)
                client.ehlo_or_helo_if_needed()
                client.sendmail(sender, recipients, content, mail_options, rcpt_options)

        await deferToThread(session)


LOGIN = (USER, PASSWORD)


async def until(claim: Callable[[], bool]) -> None:
    """Wait until ``claim`` holds; the test's own timeout is the limit."""
    while not claim():
        await soon()


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            return connection.recv(100).startswith(b"220")
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> Deferred[None]:
    """Ask the program to end, and make it end with all its children when it does not."""

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return deferToThread(end)
