"""``peer ping``: what is wrong is said, with what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.peers import Peer, PeerKey, PeerOptions
from mailrelay.net.http import Body, HTTPAnswer
from mailrelay.peering.client import PeerClient
from mailrelay.peering.ping import MOST_ANSWER_BYTES, PingFailed, Pong, ping
from mailrelay.peering.pinging import WITHIN, ask_for_pong
from mailrelay.peering.signature import PREFIX, response_signature
from mailrelay.testing.ports import free_port
from tests.peering.asked import HUB, FakePeer

SECRET = bytes(range(32))
NOW = 1_767_225_600.0
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
SAID = json.dumps({"server_id": "s", "limits": {"max_recipients": 5}, "features": ["x"]}).encode()


class Answering(BaseHTTPRequestHandler):
    """Answers as its server says."""

    server: PingedServer

    def do_GET(self) -> None:
        """Sign it, or not."""
        said = self.server
        self.send_response_only(said.status)
        self.send_header("Date", said.date)
        self.send_header("Content-Length", str(len(said.body)))
        if said.signs:
            request = self.headers["Mailrelay-Signature"].removeprefix(PREFIX)
            signature = response_signature(SECRET, said.status, request, said.body)
            self.send_header("Mailrelay-Response-Signature", PREFIX + signature)
        self.end_headers()
        self.wfile.write(said.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


class PingedServer(HTTPServer):
    """A peer on loopback."""

    status, body, signs, date = 200, SAID, True, DATE

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class PingTests(SynchronousTestCase):
    """Each answer."""

    def setUp(self) -> None:
        """A peer that knows us."""
        self.server = PingedServer()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        keys = [PeerKey("k1", SECRET, True, 0.0)]
        options = PeerOptions(allowed_networks=("127.0.0.0/8",))
        self.peer = Peer(1, "hub", url=url, keys=keys, options=options)

    def failed(self, peer: Peer | None = None) -> str:
        """Why it did not work."""
        return str(self.assertRaises(PingFailed, ping, peer or self.peer, lambda: NOW))

    def test_pong(self) -> None:
        """What it says of itself."""
        pong = ping(self.peer, lambda: NOW)
        self.assertEqual(pong, Pong("s", True, {"max_recipients": 5}, ["x"], 0.0, 0.0))

    def test_wrong(self) -> None:
        """Statuses, signatures and clocks."""
        for status, signs, said in (
            (401, False, "does not know our key"),
            (403, True, "lets us do nothing"),
            (404, False, "relay = true"),
            (200, False, "without its signature"),
            (500, True, "answered 500"),
        ):
            self.server.status, self.server.signs = status, signs
            self.assertIn(said, self.failed())
        self.server.status, self.server.date = 401, "Thu, 01 Jan 2026 00:10:00 GMT"
        self.assertIn("differ by 600 seconds", self.failed())
        self.server.status, self.server.signs, self.server.body = 200, True, b"[]"
        self.server.date = "junk"
        self.assertIn("cannot be read", self.failed())

    def test_not_asked(self) -> None:
        """Without a URL, a key, or anybody there."""
        self.assertIn("no URL", self.failed(evolve(self.peer, url="")))
        self.assertIn("no key of ours", self.failed(evolve(self.peer, keys=[])))
        away = evolve(self.peer, url=f"http://127.0.0.1:{free_port()}")
        self.assertIn("cannot be reached", self.failed(away))

    def test_not_public(self) -> None:
        """Where the server does not go, the command does not, and says which option is missing."""
        said = self.failed(evolve(self.peer, options=PeerOptions()))
        self.assertIn("peer set hub --allowed-network 127.0.0.1", said)


class Slow:
    """A peer that answers when it likes to; notes how long it was to have."""

    within = 0.0

    def call(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> Deferred[HTTPAnswer]:
        """See Caller."""
        self.within = timeout
        return Deferred()


class AskForPongTests(SynchronousTestCase):
    """The same, asked by the server."""

    def ask(self, caller: object, peer: Peer = HUB) -> Deferred[Pong]:
        """One answer."""

        async def caller_of(peer: Peer) -> object:
            return caller

        client = PeerClient(caller_of, lambda: NOW)  # type: ignore[arg-type]
        return Deferred.fromCoroutine(ask_for_pong(client, peer, lambda: NOW))

    def failed(self, caller: object, peer: Peer = HUB) -> str:
        """Why it did not work."""
        return str(self.failureResultOf(self.ask(caller, peer), PingFailed).value)

    def test_pong(self) -> None:
        """What it says of itself."""
        hub = FakePeer(lambda said: (200, SAID), headers={"date": DATE})
        pong = self.successResultOf(self.ask(hub))
        self.assertEqual(pong, Pong("s", True, {"max_recipients": 5}, ["x"], 0.0, 0.0))
        self.assertEqual(hub.said[0].path, "/relay/v1/ping")

    def test_wrong(self) -> None:
        """Nobody there, no signature, no key, no URL, an answer without end."""
        self.assertIn("cannot be reached", self.failed(FakePeer(lambda said: (0, b""))))
        unsigned = FakePeer(lambda said: (200, SAID), signs=False)
        self.assertIn("without its signature", self.failed(unsigned))
        long = FakePeer(lambda said: (200, SAID + b" " * MOST_ANSWER_BYTES))
        self.assertIn("longer than", self.failed(long))
        self.assertIn("no key of ours", self.failed(unsigned, evolve(HUB, keys=[])))
        self.assertIn("no URL", self.failed(unsigned, evolve(HUB, url="")))

    def test_no_answer(self) -> None:
        """Nobody waits for long, and nothing else waits meanwhile."""
        slow = Slow()
        self.assertNoResult(self.ask(slow))
        self.assertEqual(slow.within, WITHIN)
