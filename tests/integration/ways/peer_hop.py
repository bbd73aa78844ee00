"""A next hop that speaks mailrelay/1: the standard library's server, signatures of its own."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field, frozen

from tests.handoff.endpoint import PATIENCE, resets
from tests.integration.peering.peer_client import signature
from tests.integration.ways.contract import Does

SECRET, KEY_ID = bytes(range(100, 132)), "their-key"
MESSAGES, EVENTS = "/relay/v1/messages", "/relay/v1/events"


@frozen
class _Taken:
    digest: str
    content: bytes
    answer: Mapping[str, Any]


@define
class PeerHop:
    """Takes messages once for each Idempotency-Key; of events it tells none."""

    recipient: str
    settings: Mapping[str, Any] = field(factory=dict)
    behaviours: list[Does] = field(factory=list)
    taken: dict[str, _Taken] = field(factory=dict)
    ends: threading.Event = field(factory=threading.Event)
    server: ThreadingHTTPServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Listen."""
        hop = self

        class Handler(_Handler):
            of = hop

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """What comes before the paths of the protocol."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def will(self, *behaviours: Does) -> None:
        """See NextHop."""
        self.behaviours = list(behaviours)

    def copies(self) -> Sequence[bytes]:
        """See NextHop."""
        return [one.content for one in self.taken.values()]

    def close(self) -> None:
        """Listen no more."""
        self.ends.set()
        self.server.shutdown()
        self.server.server_close()

    def take(self, key: str, body: bytes) -> tuple[int, Mapping[str, Any]] | None:
        """What a message is answered; None when the connection is to be cut."""
        does = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        if does is Does.CUTS:
            return None
        if does is Does.DEFERS:
            return 503, {"error": "unavailable", "text": "not now"}
        if does is Does.REFUSES:
            return 422, {"error": "refused", "text": "never"}
        status, answer = self._kept(key, body)
        return None if does is Does.TAKES_AND_CUTS else (status, answer)

    def _kept(self, key: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        digest, before = hashlib.sha256(body).hexdigest(), self.taken.get(key)
        if before is not None:
            if before.digest != digest:
                return 422, {"error": "key", "text": "this key was another message's"}
            return 200, before.answer
        line, _, content = body.partition(b"\n")
        results = [{"rcpt": to, "state": "queued"} for to in json.loads(line)["rcpt_to"]]
        answer = {"id": f"q{len(self.taken)}", "receipt": "accepted", "results": results}
        self.taken[key] = _Taken(digest, content, answer)
        return 202, answer


class _Handler(BaseHTTPRequestHandler):
    of: PeerHop

    def do_POST(self) -> None:
        """A message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_signed(body) or self.path != MESSAGES:
            self._answer(401, {"error": "signature"})
            return
        taken = self.of.take(self.headers["Idempotency-Key"], body)
        if taken is None:
            resets(self.connection)
        else:
            self._answer(*taken)

    def do_GET(self) -> None:
        """Events: there are none while somebody waits for them."""
        path, _, query = self.path.partition("?")
        if not self._is_signed(b"") or path != EVENTS:
            self._answer(401, {"error": "signature"})
            return
        if "wait=0" not in query:
            self.of.ends.wait(PATIENCE)
        self._answer(200, {"events": [], "next": 0, "more": False})

    def _is_signed(self, body: bytes) -> bool:
        path, _, query = self.path.partition("?")
        fields = self.headers
        lines = [
            "mailrelay-hmac-v1",
            self.command,
            path,
            query,
            KEY_ID,
            fields["Mailrelay-Timestamp"],
            fields.get("Idempotency-Key", ""),
            fields.get("Content-Type", ""),
            hashlib.sha256(body).hexdigest(),
        ]
        self._signature = signature(SECRET, lines)
        return bool(fields["Mailrelay-Signature"] == f"v1={self._signature}")

    def _answer(self, status: int, said: Mapping[str, Any]) -> None:
        body = json.dumps(said).encode()
        digest = hashlib.sha256(body).hexdigest()
        lines = ["mailrelay-hmac-v1-response", str(status), self._signature, digest]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Mailrelay-Response-Signature", f"v1={signature(SECRET, lines)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
