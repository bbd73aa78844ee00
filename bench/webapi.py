"""W1: how many messages a second an application can send by HTTP, each answer durable."""

import json
import selectors
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlencode

import attrs

from bench.measurement import Run
from bench.net import ADDRESS, free_port, wait_until
from bench.servers import Job, Server
from bench.servers.ours import Ours
from bench.surroundings import Surroundings

LOGIN, PASSWORD = "app@bench.test", "a long password"
TEXT_CHARACTERS, HTML_CHARACTERS = 1000, 4000
DRAIN_SECONDS = 120.0

LISTENER = """
[[listener]]
role = "http"
endpoint = "tcp:{port}:backlog=1000:interface=127.0.0.1"
webapi = true

[http]
requests_per_minute = 0
requests_per_hour = 0
connections_per_address = 1000
"""


class WithWebAPI(Ours):
    """Ours with an account and a listener for HTTP, its request limits lifted."""

    def __init__(self, job: Job, home: Path) -> None:
        super().__init__(job, home)
        self.http_port = free_port()

    def _configuration(self) -> str:
        return super()._configuration() + LISTENER.format(port=self.http_port)

    def prepare(self) -> None:
        """Writes mailrelay.toml and makes the account."""
        super().prepare()
        password = self.home / "password"
        password.write_text(PASSWORD)
        for command in (
            ("domain", "add", "bench.test"),
            ("account", "add", "app", "--password-file", str(password)),
            ("address", "add", LOGIN, "app"),
        ):
            self._run(*command, "--config", str(self.home / "mailrelay.toml"))

    def _run(self, *arguments: str) -> None:
        program = str(Path(sys.executable).with_name("mailrelay"))
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mailrelay {' '.join(arguments)}: {done.stderr}")


def request() -> bytes:
    """A Send of text and HTML, as an HTTP client writes it."""
    line = "Grüße & more of what a letter says, until the line ends.\n"
    html = f"<p>{line}</p>"
    message = {
        "To": [{"Name": "Somebody", "Address": "user@dest.test"}],
        "Subject": "a letter",
        "Text": (line * (TEXT_CHARACTERS // len(line) + 1))[:TEXT_CHARACTERS],
        "HTML": (html * (HTML_CHARACTERS // len(html) + 1))[:HTML_CHARACTERS],
    }
    body = urlencode({"request": json.dumps(message)}).encode()
    login = b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
    head = (
        f"POST /webapi/v0/Send HTTP/1.1\r\nHost: {ADDRESS}\r\nUser-Agent: bench\r\n"
        f"Authorization: Basic {login}\r\nAccept: application/json\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@attrs.define
class _Client:
    """One kept connection that sends a request when the answer to the one before is there."""

    connection: socket.socket
    began: float = 0.0
    received: bytes = b""

    def begin(self, request: bytes) -> None:
        self.began = time.monotonic()
        self.received = b""
        self.connection.sendall(request)

    def is_answered(self) -> bool:
        """Reads what came; whether it is a whole answer, which must be a 200."""
        data = self.connection.recv(65536)
        if not data:
            raise RuntimeError(f"the server hung up after {self.received!r}")
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(self.received.decode(errors="replace"))
        return True


def send(port: int, messages: int, connections: int) -> list[float]:
    """Sends on kept connections; the seconds that each call took."""
    given = request()
    took: list[float] = []
    begun = 0
    with selectors.DefaultSelector() as selector:
        clients = [_Client(socket.create_connection((ADDRESS, port))) for _ in range(connections)]
        for client in clients:
            selector.register(client.connection, selectors.EVENT_READ, client)
        for client in clients[:messages]:
            client.begin(given)
            begun += 1
        while len(took) < messages:
            for key, _ in selector.select(60):
                client = key.data
                if not client.is_answered():
                    continue
                took.append(time.monotonic() - client.began)
                if begun < messages:
                    client.begin(given)
                    begun += 1
        for client in clients:
            client.connection.close()
    return took


@attrs.frozen
class Sends:
    """Sends for a while on `connections`, and counts what was accepted."""

    name: str
    connections: int = 50
    warm_messages: int = 300
    call: Callable[[int, int, int], list[float]] = send

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run on a freshly started server."""
        with (
            surroundings.home(kind.name) as home,
            WithWebAPI(Job(connections=self.connections), home) as server,
        ):
            self.call(server.http_port, self.warm_messages, self.connections)
            rate = self._timed(server, self.warm_messages)[0]
            self._drain(server)
            messages = max(self.warm_messages, round(rate * surroundings.seconds))
            cpu_before = server.cpu_seconds()
            rate, took = self._timed(server, messages)
            peak = server.peak_bytes()
            self._drain(server)
            cpu = server.cpu_seconds() - cpu_before
            percentiles = quantiles(took, n=100)
            sent = 2 * self.warm_messages + messages
            metrics = {
                "per_second": rate,
                "cpu_per_1000": cpu / messages * 1000,
                "p50_ms": percentiles[49] * 1000,
                "p99_ms": percentiles[98] * 1000,
                "peak_mib": peak / 2**20,
            }
            return Run(self.name, kind.name, metrics, sent, sent - server.accepted())

    def _timed(self, server: WithWebAPI, messages: int) -> tuple[float, list[float]]:
        began = time.monotonic()
        took = self.call(server.http_port, messages, self.connections)
        return messages / (time.monotonic() - began), took

    def _drain(self, server: Server) -> None:
        wait_until(lambda: server.queued() == 0, DRAIN_SECONDS, "an empty queue", every=0.1)
