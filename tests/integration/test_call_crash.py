"""Kill -9 while applications are called: every event keeps its call, and none is made up."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import TestCase

from mailrelay.storage.calls import TOLD
from mailrelay.testing.loopback import PASSWORD, USER
from tests.cli.operated import run
from tests.integration.processes import PATIENCE, ServerProcess, Sink, configuration
from tests.integration.receiver import Receiver, Request, payloads_of, status
from tests.integration.webapi.api import BASE, FORM, basic
from tests.integration.webapi.v1.test_webhooks import verified

KILLS = 50 if os.environ.get("MAILRELAY_TEST_LONG") else 10
SENDS = 50
"""Acknowledged between two kills, at the least."""
REFUSED = 0.05
"""The part of the calls that the receiver answers 500."""

MORE = """
[[listener]]
role = "http"
endpoint = "tcp:0:interface=127.0.0.1"
webapi = true
[webhooks]
allowed_networks = ["127.0.0.0/8"]
"""


class Senders:
    """Clients of the webapi that send until they are told to end, whatever happens."""

    def __init__(self, clients: int) -> None:
        self.port = 0
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: set[int] = set()  # entries
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End after the messages under way."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self.port, 10)) as connection:
                    while not self._ending.is_set():
                        self._send(connection)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # killed: it will be back

    def _send(self, connection: http.client.HTTPConnection) -> None:
        letter = {"To": [{"Address": "joe@example.net"}], "Subject": "hello", "Text": "hi\n"}
        body = urlencode({"request": json.dumps(letter)})
        connection.request("POST", f"{BASE}Send", body, {"Content-Type": FORM, **basic()})
        response = connection.getresponse()
        said = json.loads(response.read())
        assert response.status == 200, said
        with self._lock:
            self.acknowledged |= {one["QueueMsgID"] for one in said["Submissions"]}


class CallCrashTests(TestCase):
    """Events and calls, of both kinds of webhooks, over kills and restarts."""

    timeout = 120 + KILLS * 20

    def setUp(self) -> None:
        """A server with an account, what it relays to, and what it calls."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        (self.folder / "data").mkdir(parents=True)
        sink = Sink(seed=31)
        self.addCleanup(sink.close)
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.taken: set[int] = set()
        self.random = Random(30)
        self.receiver.answers["/out"] = self.answer
        self.receiver.answers["/hook"] = self.answer
        config = configuration(self.folder / "data", sink.port, MORE)
        self.server = ServerProcess(self.folder, config)
        self.addCleanup(self.server.kill)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self.operate("domain", "add", "example.org")
        self.operate("account", "add", "user", "--password-file", str(password))
        self.operate("address", "add", USER, "user")
        self.operate("account", "set", "user", "--outgoing-webhook", self.receiver.url("/out"))
        self.operate("account", "set", "user", "--from-id-login", USER)
        hook = ("--name", "app", "--url", self.receiver.url("/hook"), "--most-together", "5")
        made = json.loads(self.operate("webhook", "endpoint", "add", "user", *hook, "--json"))
        self.secret = made["secret"]

    def operate(self, *arguments: str) -> str:
        """A command of the operator's."""
        config = str(self.folder / "mailrelay.toml")
        return run(self, *arguments, "--config", config).stdout

    def answer(self, request: Request) -> None:
        """Mostly 200."""
        if self.random.random() < REFUSED:
            status(500)(request)
        else:
            self.taken |= set(payloads_of(request.received))
            status(200)(request)

    def start(self, senders: Senders) -> None:
        """Start the server, and tell the clients."""
        self.server.start()
        senders.port = int(self.server.wait_for(rb"(?s)starting on \d+.*starting on (\d+)"))

    def test_kill_at_random_moments(self) -> None:
        """Events and calls match one to one; what was recorded as taken was taken."""
        senders = Senders(clients=6)
        self.start(senders)
        senders.start()
        self.addCleanup(senders.end)
        for kill in range(KILLS):
            self.wait_until(lambda: len(senders.acknowledged) >= SENDS * (kill + 1))  # noqa: B023
            time.sleep(self.random.random() * 0.5)  # the moment of the kill
            self.server.kill()
            self.start(senders)
        senders.end()
        self.settle()
        self.server.stop()
        self.reconcile(senders.acknowledged)

    def settle(self) -> None:
        """Let the queue and the calls end; those that failed are made again at once."""
        until = time.monotonic() + 4 * PATIENCE
        while json.loads(self.operate("queue", "list", "--json", "--limit", "1")) or json.loads(
            self.operate("webhook", "list", "--json", "--limit", "1")
        ):
            self.assertLess(time.monotonic(), until, self.operate("webhook", "list"))
            self.operate("webhook", "retry", "--all")
            time.sleep(0.5)

    def reconcile(self, acknowledged: set[int]) -> None:
        """Compare what the store and the receiver know."""
        with closing(sqlite3.connect(self.folder / "data" / "mailrelay.db")) as database:
            database.row_factory = sqlite3.Row
            events = database.execute("SELECT * FROM event WHERE entry_id IS NOT NULL").fetchall()
            calls = {row["id"]: row for row in database.execute("SELECT * FROM call")}
            entries = {
                row["id"] for row in database.execute("SELECT id FROM entry WHERE state = 2")
            }
        told = [row for row in events if row["kind"] in {kind.value for kind in TOLD}]
        expected = Counter((row["entry_id"], row["kind"], row["at"]) for row in told)
        for is_signed in (False, True):
            made = [row for row in calls.values() if bool(row["endpoint_id"]) is is_signed]
            self.assertEqual(
                expected, Counter((row["entry_id"], row["event"], row["queued_at"]) for row in made)
            )
        self.assertEqual(acknowledged - entries, set())
        ended = Counter(row["entry_id"] for row in told if row["kind"] == "delivered")
        self.assertEqual(ended, Counter(entries))
        self.assert_ended(calls)
        self.assert_received(calls)
        kinds = Counter(row["event"] for row in calls.values())
        superseded = sum(row["superseded_by"] is not None for row in calls.values())
        again = sum(row["attempts"] > 1 for row in calls.values())
        batches = sum(b'"batch"' in one.body[:20] for one in self.receiver.at("/hook"))
        print(
            f"{KILLS} kills: {len(acknowledged)} sent, calls {dict(kinds)}, "
            f"{superseded} superseded, {again} made again, {batches} batches"
        )

    def assert_ended(self, calls: dict[int, Any]) -> None:
        """Each was taken, or superseded by a newer one of its entry."""
        for row in calls.values():
            self.assertEqual(row["state"], 2, dict(row))
            if row["superseded_by"] is None or row["endpoint_id"]:
                self.assertTrue(row["is_success"], dict(row))
            else:
                newer = calls[row["superseded_by"]]
                self.assertEqual(newer["entry_id"], row["entry_id"])
                self.assertGreater(newer["id"], row["id"])

    def assert_received(self, calls: dict[int, Any]) -> None:
        """What came is what was stored, no attempt came twice, and what was taken had come."""
        received = self.receiver.at("/out")
        numbers = Counter((one.id, one.headers["X-Mox-Webhook-Attempt"]) for one in received)
        self.assertEqual([pair for pair, count in numbers.items() if count > 1], [])
        hooked = self.receiver.at("/hook")
        for one in hooked:
            verified(self.secret, one, tolerance=self.timeout)
        for one in (*received, *hooked):
            for id_, payload in payloads_of(one).items():
                self.assertEqual(json.loads(payload), json.loads(calls[id_]["payload"]))
        successful = {row["id"] for row in calls.values() if row["is_success"]}
        self.assertEqual(successful - self.taken, set())

    def wait_until(self, holds: Any) -> None:
        """Wait for what must come."""
        until = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), until, "it did not happen")
            time.sleep(0.02)
