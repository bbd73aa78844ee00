"""W1: how many messages a second an application can send by HTTP, each answer durable."""

import json
import selectors
import socket
import subprocess
import sys
import time
from abc import abstractmethod
from base64 import b64encode
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlencode

import attrs

from bench.measurement import Run
from bench.net import ADDRESS, free_port, wait_until
from bench.servers import Job, Server
from bench.servers.mox import LOGIN as MOX_LOGIN
from bench.servers.mox import PASSWORD as MOX_PASSWORD
from bench.servers.mox import Mox
from bench.servers.ours import Ours
from bench.surroundings import Surroundings

LOGIN, PASSWORD = "app@bench.test", "a long password"
RECIPIENT = "user@dest.test"
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

    def _run(self, *arguments: str) -> str:
        program = str(Path(sys.executable).with_name("mailrelay"))
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mailrelay {' '.join(arguments)}: {done.stderr}")
        return done.stdout


def letter() -> tuple[str, str]:
    """Text and HTML of 5 kB together."""
    line = "Grüße & more of what a letter says, until the line ends.\n"
    html = f"<p>{line}</p>"
    return (
        (line * (TEXT_CHARACTERS // len(line) + 1))[:TEXT_CHARACTERS],
        (html * (HTML_CHARACTERS // len(html) + 1))[:HTML_CHARACTERS],
    )


def basic(login: str, password: str) -> str:
    """The Authorization of a login."""
    return "Basic " + b64encode(f"{login}:{password}".encode()).decode()


def request_v0(authorization: str) -> bytes:
    """A Send of mox's webapi, as an HTTP client writes it."""
    text, html = letter()
    message = {
        "To": [{"Name": "Somebody", "Address": RECIPIENT}],
        "Subject": "a letter",
        "Text": text,
        "HTML": html,
    }
    body = urlencode({"request": json.dumps(message)}).encode()
    return _written("/webapi/v0/Send", authorization, "application/x-www-form-urlencoded", body)


def request_v1(authorization: str) -> bytes:
    """A message of the API, as an HTTP client writes it."""
    text, html = letter()
    message = {
        "from": {"address": LOGIN},
        "to": [{"name": "Somebody", "address": RECIPIENT}],
        "subject": "a letter",
        "text": text,
        "html": html,
    }
    body = json.dumps(message).encode()
    return _written("/api/v1/messages", authorization, "application/json", body)


def _written(path: str, authorization: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nUser-Agent: bench\r\n"
        f"Authorization: {authorization}\r\nAccept: application/json\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
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
        if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 202 ")):
            raise RuntimeError(self.received.decode(errors="replace"))
        return True


def send(port: int, given: bytes, messages: int, connections: int) -> list[float]:
    """Sends ``given`` again and again on kept connections; the seconds that each call took."""
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


class Door(Server):
    """A server that takes messages by HTTP."""

    http_port: int

    @property
    @abstractmethod
    def request(self) -> bytes:
        """What sends one message."""


class WithV0(WithWebAPI, Door):
    """By mox's webapi, as the account."""

    @property
    def request(self) -> bytes:
        """See Door."""
        return request_v0(basic(LOGIN, PASSWORD))


class WithV1(WithWebAPI, Door):
    """By the API, with a key."""

    def prepare(self) -> None:
        """Makes the key, too."""
        super().prepare()
        config = str(self.home / "mailrelay.toml")
        self.key = self._run("key", "add", "app", "--name", "bench", "--config", config).split()[-1]

    @property
    def request(self) -> bytes:
        """See Door."""
        return request_v1(f"Bearer {self.key}")


class MoxDoor(Mox, Door):
    """By mox itself."""

    @property
    def request(self) -> bytes:
        """See Door."""
        return request_v0(basic(MOX_LOGIN, MOX_PASSWORD))


@attrs.frozen
class Sends:
    """Sends for a while on `connections`, and counts what was accepted."""

    name: str
    door: type[Door]
    connections: int = 50
    warm_messages: int = 300

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run on a freshly started server."""
        door = MoxDoor if kind is Mox else self.door
        with (
            surroundings.home(kind.name) as home,
            door(Job(connections=self.connections), home) as server,
        ):
            self._timed(server, self.warm_messages)
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

    def _timed(self, server: Door, messages: int) -> tuple[float, list[float]]:
        began = time.monotonic()
        took = send(server.http_port, server.request, messages, self.connections)
        return messages / (time.monotonic() - began), took

    def _drain(self, server: Server) -> None:
        wait_until(lambda: server.queued() == 0, DRAIN_SECONDS, "an empty queue", every=0.1)
