"""Two servers, one of which hands all its mail to the other, and kill -9 of either."""

from __future__ import annotations

import json
import os
import smtplib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import TestCase

from mailrelay.storage.calls import TOLD
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.testing.ports import free_port
from tests.cli.operated import run
from tests.integration.processes import PATIENCE, Load, ServerProcess, Sink, message, number_of
from tests.integration.receiver import Receiver

KILLS = 60 if os.environ.get("MAILRELAY_TEST_LONG") else 3
SENDS = 25
"""Acknowledged between two kills, at the least."""
IN_FLIGHT = 10
"""Deliveries of the relay's at once: each may be repeated after a kill."""

COMMON = """
hostname = "{name}.example.org"
data_dir = "{folder}/data"
allow_root = true
[[listener]]
role = "submission"
endpoint = "tcp:0:interface=127.0.0.1"
auth_without_tls = true
[storage]
min_free_bytes = 1
[queue]
first_retry_after = 0.5
longest_retry_after = 2.0
[limits]
connections_per_address = 1000
[log]
mail_log = ""
levels = {{ log_legacy = "info" }}
"""
SENDER = """
[[transport]]
name = "relay"
peer = "relay"
[[route]]
domain = "*"
transport = "relay"
[webhooks]
allowed_networks = ["127.0.0.0/8"]
"""
RELAY = """
[[listener]]
role = "http"
endpoint = "tcp:{port}:interface=127.0.0.1"
relay = true
[relay_host]
host = "127.0.0.1"
port = {sink}
tls = "none"
"""


class WholeSink(Sink):
    """Remembers messages by their number; what is below the header must be as it was sent."""

    def keep(self, content: bytes) -> None:
        """See Sink."""
        name = number_of(content)
        with self._lock:
            self.copies[name] += 1
            if content.partition(b"\r\n\r\n")[2] != message(name).partition(b"\r\n\r\n")[2]:
                self.damaged.append(name)


class Submitters(Load):
    """Clients that log in."""

    def _session(self, client: smtplib.SMTP) -> None:
        client.ehlo()
        client.login(USER, PASSWORD)
        while (name := self._next()) is not None:
            content = f"From: {USER}\r\n".encode() + message(name)
            client.sendmail(USER, ["joe@example.net"], content, ["BODY=8BITMIME"])
            with self._lock:
                self.acknowledged.add(name)


class TwoServerTests(TestCase):
    """From a submission to one server to the sink of the other, and back by events and webhooks."""

    timeout = 240 + KILLS * 30

    def setUp(self) -> None:
        """A sender with an account and a webhook, a relay, and what that delivers to."""
        self.random = Random(40)
        self.sink = WholeSink(seed=41)
        self.addCleanup(self.sink.close)
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        port = free_port()
        self.relay = self.server("relay", RELAY.format(port=port, sink=self.sink.port))
        self.sender = self.server("sender", SENDER)
        self.introduce(f"http://127.0.0.1:{port}")

    def server(self, name: str, more: str) -> ServerProcess:
        """A server in a folder of its own, with an account."""
        folder = self.folder / name
        (folder / "data").mkdir(parents=True)
        server = ServerProcess(folder, COMMON.format(name=name, folder=folder) + more)
        self.addCleanup(server.kill)
        (folder / "password").write_text(PASSWORD)
        self.operate(name, "domain", "add", "example.org")
        password = str(folder / "password")
        self.operate(name, "account", "add", "user", "--password-file", password)
        self.operate(name, "address", "add", USER, "user")
        return server

    def introduce(self, url: str) -> None:
        """The two know each other, and the sender's account is called."""
        made = self.operate("relay", "peer", "add", "sender", "--account", "user", "--json")
        keys = {key["direction"]: key["key"] for key in json.loads(made)["keys"]}
        for direction, key in keys.items():
            (self.folder / direction).write_text(key)
        self.operate(
            "sender",
            *("peer", "add", "relay", "--url", url, "--allowed-network", "127.0.0.0/8"),
            *("--our-key-file", str(self.folder / "theirs")),
            *("--their-key-file", str(self.folder / "ours")),
        )
        hook = self.receiver.url("/out")
        self.operate("sender", "account", "set", "user", "--outgoing-webhook", hook)

    def operate(self, server: str, *arguments: str) -> str:
        """A command of an operator's."""
        config = str(self.folder / server / "mailrelay.toml")
        return run(self, *arguments, "--config", config).stdout

    def test_kill_at_random_moments(self) -> None:
        """Nothing is lost, each end is one event and one call, and hardly anything comes twice."""
        self.relay.start()
        self.sender.start()
        pong = json.loads(self.operate("sender", "peer", "ping", "relay", "--json"))
        self.assertTrue(pong["takes_mail"])
        load = Submitters(clients=3)
        self.addCleanup(load.end)
        load.start(self.sender.port)
        relay_kills = 0
        for kill in range(KILLS):
            goal = SENDS * (kill + 1)
            self.wait_until(lambda: len(load.acknowledged) >= goal)  # noqa: B023
            time.sleep(self.random.random() * 0.5)  # the moment of the kill
            killed = self.random.choice([self.sender, self.relay])
            relay_kills += killed is self.relay
            killed.kill()
            killed.start()
            load.move(self.sender.port)
        load.end()
        while load.acknowledged - self.sink.copies.keys():  # as long as something moves
            count = len(self.sink.copies)
            self.wait_until(lambda: len(self.sink.copies) > count)  # noqa: B023
        self.wait_until(self.all_is_told, 3 * PATIENCE)
        self.sender.stop()
        self.relay.stop()
        self.reconcile(len(load.acknowledged))
        repeated = sum(self.sink.copies.values()) - len(self.sink.copies)
        self.assertEqual(self.sink.damaged, [])
        self.assertLessEqual(repeated, IN_FLIGHT * relay_kills)
        print(
            f"{KILLS} kills, {relay_kills} of the relay: {len(load.acknowledged)} sent, 0 lost,"
            f" {repeated} delivered twice"
        )

    def all_is_told(self) -> bool:
        """Whether every entry of the sender's has its end, and the webhook has heard of it."""
        time.sleep(0.3)
        living = "SELECT count(*) FROM entry WHERE coalesce(outcome, '') != 'delivered'"
        [(entries,)] = self.rows("sender", living)
        [(calls,)] = self.rows("sender", "SELECT count(*) FROM call WHERE state = 0")
        return not (entries or calls)

    def rows(self, server: str, query: str) -> list[Any]:
        """What a server's store says."""
        with closing(sqlite3.connect(self.folder / server / "data" / "mailrelay.db")) as database:
            return database.execute(query).fetchall()

    def reconcile(self, acknowledged: int) -> None:
        """Compare what the two know."""
        entries = {row[0] for row in self.rows("sender", "SELECT id FROM entry")}
        self.assertGreaterEqual(len(entries), acknowledged)
        events = self.rows("sender", "SELECT entry_id, kind FROM event WHERE entry_id IS NOT NULL")
        for kind in ("handed_over", "delivered"):
            ended = Counter(entry for entry, its in events if its == kind)
            self.assertEqual(ended, Counter(entries), kind)
        calls = self.rows("sender", "SELECT entry_id, event FROM call")
        told = [(entry, kind) for entry, kind in events if kind in {one.value for one in TOLD}]
        self.assertEqual(Counter(calls), Counter(told))
        heard = {one.json["QueueMsgID"] for one in self.receiver.at("/out", "delivered")}
        self.assertEqual(heard, entries)
        [(taken,)] = self.rows("relay", "SELECT count(*) FROM entry")
        self.assertEqual(taken, len(entries))

    def wait_until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for what must come."""
        until = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), until, self.trouble())
            time.sleep(0.02)

    def trouble(self) -> str:
        """What is known when something did not come."""
        state = self.rows("sender", "SELECT state, outcome, count(*) FROM entry GROUP BY 1, 2")
        return f"{state}\n{self.sender.log.read_text()}\n{self.relay.log.read_text()}"
