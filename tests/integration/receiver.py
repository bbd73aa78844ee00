"""An HTTP server on loopback, in threads, that keeps what it is sent and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import frozen

Answer = Callable[["Request"], None]


@frozen
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]  # names as they were sent
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def id(self) -> int:
        """The call's."""
        return int(self.headers["X-Mox-Webhook-Id"])

    @property
    def event(self) -> str:
        """What it tells of."""
        return str(self.json.get("Event", "incoming"))


class Request(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Receiver
    received: Received

    def do_POST(self) -> None:
        """Keep it, then answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received = Received(self.path, dict(self.headers.items()), body)
        self.server.keep(self.received)
        self.server.answering += 1
        try:
            with suppress(OSError):
                self.server.answers.get(self.path, status(200))(self)
        finally:
            self.server.answering -= 1

    do_GET = do_POST
    """A redirect that is followed comes as one."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


class Receiver(ThreadingHTTPServer):
    """Keeps every request; answers 200 unless told otherwise for its path."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: dict[str, Answer] = {}
        self.answering = 0
        self._lock = threading.Lock()
        self._received: list[Received] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        """Of a path here."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.answering == 0

    def keep(self, received: Received) -> None:
        """Remember a request."""
        with self._lock:
            self._received.append(received)

    def at(self, path: str, event: str | None = None) -> list[Received]:
        """What came to a path, in order; of one event, if it is named."""
        with self._lock:
            there = [one for one in self._received if one.path == path]
        return [one for one in there if event is None or one.event == event]

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer with this code; of the names of ``headers`` underscores become hyphens."""

    def answer(request: Request) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def closes(request: Request) -> None:
    """No answer: the connection ends."""
    request.close_connection = True


def waits_for(released: threading.Event, then: Answer) -> Answer:
    """The answer ``then``, once it is released."""

    def answer(request: Request) -> None:
        released.wait(60)
        then(request)

    return answer


def floods(size: int, sent: list[int]) -> Answer:
    """200 and a body of ``size`` bytes, for as long as somebody reads; notes what it ``sent``."""

    def answer(request: Request) -> None:
        request.close_connection = True
        request.send_response(200)
        request.send_header("Content-Length", str(size))
        request.end_headers()
        piece = b"x" * (1 << 20)
        for _ in range(size // len(piece)):
            request.wfile.write(piece)
            sent.append(len(piece))

    return answer


def payloads_of(received: Received) -> dict[int, bytes]:
    """The calls that a request makes, with what each says."""
    if "X-Mox-Webhook-Id" in received.headers:
        return {received.id: received.body}
    if not received.headers["Webhook-Id"].startswith("batch_"):
        return {_number(received.headers["Webhook-Id"]): received.body}
    items = received.json["data"]
    return {_number(item.pop("id")): json.dumps(item).encode() for item in items}


def _number(id_: str) -> int:
    return int(id_.removeprefix("call_"))
