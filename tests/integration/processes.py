"""A server in a process of its own, load for it, and a sink that remembers what it accepted.

All of it on threads: the server is killed and starts anew while they go on.
"""

from __future__ import annotations

import os
import re
import signal
import smtplib
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which something that must happen has not: a liveness bound."""


def configuration(
    data_dir: Path, relay_port: int, more: str = "", *, free: int = 1, connections: int = 1000
) -> str:
    """A server that relays everything to ``relay_port`` and tries again soon."""
    return f"""
hostname = "mx.example.org"
data_dir = "{data_dir}"
trusted_networks = ["127.0.0.0/8"]
allow_root = true
[[listener]]
role = "mx"
endpoint = "tcp:0:interface=127.0.0.1"
[storage]
min_free_bytes = {free}
[relay_host]
host = "127.0.0.1"
port = {relay_port}
tls = "none"
[queue]
first_retry_after = 0.5
longest_retry_after = 2.0
{more}
[limits]
connections_per_address = {connections}
[log]
mail_log = ""
levels = {{ log_legacy = "info" }}
"""


class ServerProcess:
    """``twistd -n mailrelay``, started and killed as often as wanted."""

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder, self._wrapper = folder, list(wrapper)
        self._config = folder / "mailrelay.toml"
        self._config.write_text(config)
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("wb") as log:
            twistd = [sys.executable, "-c", TWISTD, "-n", "--pidfile="]
            self.process = subprocess.Popen(
                [*self._wrapper, *twistd, "mailrelay", "--config", str(self._config)],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.port = int(self.wait_for(rb"starting on (\d+)"))

    def wait_for(self, pattern: bytes) -> bytes:
        """The first group of ``pattern``, once it is in the log of this start."""
        until = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.log.read_bytes())
            if found:
                return found[1]
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(self.log.read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it as a power cut would, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Stop it in an orderly way, traced or not."""
        if self.process is not None and self.process.poll() is None:
            for pid in _children(self.process.pid) or [self.process.pid]:
                os.kill(pid, signal.SIGTERM)
            self.process.wait(PATIENCE)

    def greeting_after(self) -> float:
        """Seconds until a client is greeted."""
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as client:
            assert client.recv(100).startswith(b"220")
        return time.monotonic() - started


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


class _Session(socketserver.StreamRequestHandler):
    """One session of the sink: lines in, a reply for each, content to the end of data."""

    disable_nagle_algorithm = True
    server: Sink

    def handle(self) -> None:
        """See the base class."""
        try:
            self._say(b"220 sink.example ESMTP")
            while line := self.rfile.readline():
                if not self._answer(line.split(b":")[0].strip().upper()):
                    return
        except OSError:
            return

    def _say(self, text: bytes) -> None:
        self.wfile.write(text + b"\r\n")

    def _answer(self, verb: bytes) -> bool:
        if verb.startswith(b"EHLO"):
            self._say(b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE")
        elif verb == b"DATA":
            self._say(b"354 go on")
            return self._content()
        elif verb == b"QUIT":
            self._say(b"221 bye")
            return False
        else:
            self._say(b"250 ok")
        return True

    def _content(self) -> bool:
        content = bytearray()
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False  # cut off before the end: not ours
            content += line.removeprefix(b".")
        chance = self.server.chance()
        if chance < self.server.cuts:
            return False
        if chance < self.server.cuts + self.server.defers:
            self._say(b"451 4.3.0 not now")
            return True
        self.server.keep(bytes(content))
        self._say(b"250 2.0.0 kept")
        return True


class Sink(socketserver.ThreadingTCPServer):
    """Accepts mail and keeps it; answers some of it 451 and cuts some connections."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, seed: int = 1, *, defers: float = 0.05, cuts: float = 0.02) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.defers, self.cuts = defers, cuts
        self._random = Random(seed)
        self._lock = threading.Lock()
        self.copies: Counter[str] = Counter()
        self.contents: dict[str, bytes] = {}
        self.damaged: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def chance(self) -> float:
        """A number from 0 to 1."""
        with self._lock:
            return self._random.random()

    def keep(self, content: bytes) -> None:
        """Remember a message; one that came before must come again the same."""
        name = number_of(content)
        with self._lock:
            self.copies[name] += 1
            if without_trace(content) != message(name):
                self.damaged.append(name)

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()


def message(name: str) -> bytes:
    """The message called ``name``, always the same bytes.

    One in twenty is large, unless the name begins with "small".
    """
    random = Random(name)
    lines = [f"X-Number: {name}".encode(), b"Subject: test", b""]
    is_large = random.random() < 0.05 and not name.startswith("small")
    count = 3000 if is_large else random.randrange(1, 60)
    for _ in range(count):
        dots = b"." * random.choice([0, 0, 0, 1, 2])
        lines.append(dots + random.choice([b"plain", "grüße".encode(), b"x" * 70, b""]))
    return b"\r\n".join(lines) + b"\r\n"


def number_of(content: bytes) -> str:
    """The name of the message that ``content`` is."""
    found = re.search(rb"^X-Number: (\S+)\r$", content, re.MULTILINE)
    return found[1].decode() if found else "unknown"


def without_trace(content: bytes) -> bytes:
    """``content`` without the one Received field that the server put on top."""
    found = re.match(rb"Received: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", content)
    return content[found.end() :] if found else content


class Load:
    """Clients that send numbered messages until they are told to end, whatever happens."""

    def __init__(self, clients: int, name: str = "m", most: int = 10**9) -> None:
        self._name, self._most = name, most
        self._port = 0
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0
        self.acknowledged: set[str] = set()
        self.refusals: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def start(self, port: int) -> None:
        """Begin."""
        self._port = port
        for thread in self._threads:
            thread.start()

    def move(self, port: int) -> None:
        """The server is at another port now."""
        self._port = port

    def end(self) -> None:
        """End after the messages under way."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def finished(self) -> None:
        """Wait until all were sent."""
        for thread in self._threads:
            thread.join(PATIENCE)

    def _next(self) -> str | None:
        with self._lock:
            if self._ending.is_set() or self._sent >= self._most:
                return None
            self._sent += 1
            return f"{self._name}{self._sent}"

    def _run(self) -> None:
        while not self._ending.is_set() and self._sent < self._most:
            try:
                with smtplib.SMTP("127.0.0.1", self._port, "client.test", PATIENCE) as client:
                    self._session(client)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)  # killed: it will be back

    def _session(self, client: smtplib.SMTP) -> None:
        client.ehlo()
        while (name := self._next()) is not None:
            try:
                client.sendmail(
                    "a@client.test", ["b@example.net"], message(name), ["BODY=8BITMIME"]
                )
            except smtplib.SMTPServerDisconnected:
                raise
            except smtplib.SMTPResponseException as error:
                self._refused(error.smtp_code, error.smtp_error)
            except smtplib.SMTPRecipientsRefused as error:
                [(code, text)] = error.recipients.values()
                self._refused(code, text)
            else:
                with self._lock:
                    self.acknowledged.add(name)

    def _refused(self, code: int, text: bytes | str) -> None:
        words = text.decode() if isinstance(text, bytes) else text
        with self._lock:
            self.refusals[f"{code} {words.split(' ')[0]}"] += 1
        time.sleep(0.01)
