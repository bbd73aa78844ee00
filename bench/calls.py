"""W2: how many webhook calls a second are made to one receiver, and how soon after their event."""

import http.client
import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import attrs

from bench.measurement import Metrics, Run
from bench.net import ADDRESS, free_port, wait_until
from bench.servers import Job, Server
from bench.surroundings import Surroundings
from bench.webapi import LOGIN, PASSWORD, WithWebAPI, basic, request_v0, send

DRAIN_SECONDS = 120.0
WARM_CALLS = 300
SENDERS = 2
"""Connections that send while it is measured how soon a call comes: well below saturation."""

ALLOWED = '\n[webhooks]\nallowed_networks = ["127.0.0.0/8"]\n'
FREE_IDS = 10**12
"""Beyond them no server hands out any in a benchmark."""
LIVING = "SELECT count(*) FROM call WHERE state = 0"


def connects(port: int) -> bool:
    """Whether somebody listens on this port."""
    try:
        socket.create_connection((ADDRESS, port), timeout=5).close()
    except OSError:
        return False
    return True


class Receiver:
    """The process of bench/receiver.py."""

    def __init__(self, port: int) -> None:
        self._port = port

    def told(self) -> Any:
        """Calls so far, and the seconds that those since the last question took to come."""
        with closing(http.client.HTTPConnection(ADDRESS, self._port, 30)) as connection:
            connection.request("GET", "/")
            return json.loads(connection.getresponse().read())

    @property
    def calls(self) -> int:
        """How many came."""
        return int(self.told()["calls"])


@contextmanager
def receiver(port: int) -> Iterator[Receiver]:
    """A running one."""
    process = subprocess.Popen([sys.executable, "-m", "bench.receiver", str(port)])
    try:
        wait_until(lambda: connects(port), 10, "the receiver")
        yield Receiver(port)
    finally:
        process.kill()
        process.wait()


class WithWebhook(WithWebAPI):
    """Ours with an account whose webhook is the receiver's, called one at a time as mox does."""

    def __init__(self, job: Job, home: Path, called_port: int) -> None:
        super().__init__(job, home)
        self._url = f"http://{ADDRESS}:{called_port}/out"
        self._named = ("--config", str(self.home / "mailrelay.toml"))

    def _configuration(self) -> str:
        return super()._configuration() + ALLOWED

    def prepare(self) -> None:
        """Sets the account to the webhook."""
        super().prepare()
        self._hook()

    def _hook(self) -> None:
        self._run("account", "set", "app", "--outgoing-webhook", self._url, *self._named)

    def _queue_one(self) -> None:
        self._run("webhook", "test", "app", "outgoing", *self._named)

    def queue_calls(self, count: int) -> None:
        """Have ``count`` calls waiting, while it does not run: one that is copied."""
        self._queue_one()
        with closing(sqlite3.connect(self.home / "data" / "mailrelay.db")) as database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(call)")]
            copied = ", ".join(name for name in columns if name != "id")
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?),"
                f" newest(id) AS (SELECT max(max(id), {FREE_IDS}) FROM call)"
                f" INSERT INTO call (id, {copied}) SELECT newest.id + i, {copied}"
                " FROM call, n, newest WHERE call.state = 0",
                (count - 1,),
            )
            database.commit()

    def living_calls(self) -> int:
        """Calls that were not taken yet."""
        return self._count(LIVING)


class WithEndpoint(WithWebhook):
    """Ours with an endpoint of the API: signed calls, 50 at once."""

    def _hook(self) -> None:
        command = ("webhook", "endpoint", "add", "app", "--name", "bench", "--json")
        made = json.loads(self._run(*command, "--url", self._url, *self._named))
        self._endpoint = str(made["id"])

    def _queue_one(self) -> None:
        self._run("webhook", "endpoint", "test", self._endpoint, *self._named)


@attrs.frozen
class Calls:
    """First calls that wait when it starts, then calls for messages that are sent one by one."""

    name: str
    kind: type[WithWebhook]

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run."""
        port = free_port()
        with (
            surroundings.home(kind.name) as home,
            receiver(port) as called,
            self.kind(Job(), home, port) as server,
        ):
            self._backlog(server, called, WARM_CALLS)
            rate = self._backlog(server, called, WARM_CALLS)["per_second"]
            waiting = max(WARM_CALLS, round(rate * surroundings.seconds))
            metrics = self._backlog(server, called, waiting)
            called.told()
            sent = len(
                send(server.http_port, request_v0(basic(LOGIN, PASSWORD)), WARM_CALLS, SENDERS)
            )
            queued = 2 * WARM_CALLS + waiting + sent
            wait_until(lambda: server.living_calls() == 0, DRAIN_SECONDS, "no call that waits")
            told = called.told()
            percentiles = quantiles(told["seconds"], n=100)
            metrics |= {"p50_ms": percentiles[49] * 1000, "p99_ms": percentiles[98] * 1000}
            metrics["peak_mib"] = server.peak_bytes() / 2**20
            return Run(self.name, kind.name, metrics, queued, queued - told["calls"])

    def _backlog(self, server: WithWebhook, called: Receiver, count: int) -> Metrics:
        """Restarts it with ``count`` calls that wait, and times them."""
        before = called.calls
        server.stop()
        server.queue_calls(count)
        server.start()
        wait_until(lambda: called.calls > before, DRAIN_SECONDS, "the first call", every=0.002)
        began, first, cpu = time.monotonic(), called.calls, server.cpu_seconds()
        whole = before + count
        wait_until(lambda: called.calls >= whole, DRAIN_SECONDS, "the last call", every=0.01)
        seconds = time.monotonic() - began
        wait_until(lambda: server.living_calls() == 0, DRAIN_SECONDS, "all recorded", every=0.01)
        made = max(1, whole - first)
        used = server.cpu_seconds() - cpu
        return {"per_second": made / seconds, "cpu_per_1000": used / made * 1000}
