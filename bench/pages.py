"""V: how fast pages are answered with a long queue, and how much a browser loads at first."""

import http.client
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from statistics import median
from urllib.parse import urlencode

import attrs

from bench.measurement import Run
from bench.net import ADDRESS
from bench.servers import Job, Server
from bench.surroundings import Surroundings
from bench.webapi import LISTENER, LOGIN, PASSWORD, WithWebAPI
from mailrelay.cli.target import opened, settled
from mailrelay.config.load import load_settings
from mailrelay.control.directory import ADMIN_PASSWORD_HASH
from mailrelay.directory.credentials import hash_password

ADMIN_PASSWORD = "a long password too"
DOMAINS = 1000
"""Recipients are spread over as many."""
AT_ONCE = 10_000
READY, RETIRED = 0, 2

PAGES = {
    "mail_ms": "/",
    "sent_ms": "/sent",
    "sent_domain_ms": "/sent?recipient=d7.test",
    "overview_ms": "/overview",
    "queue_ms": "/admin/queue",
    "queue_domain_ms": "/admin/queue?domain=d7.test",
    "queue_recipient_ms": "/admin/queue?recipient=u17@d17.test",
    "queue_account_ms": "/admin/queue?account=app&sort=newest",
    "retired_ms": "/admin/queue?state=retired",
    "health_ms": "/admin/health",
}
"""Paths, by the metric that says how long each takes."""

MESSAGE = """INSERT INTO message
 (id, account_id, reverse_path, received_at, size_bytes, door, subject, flags)
 VALUES (?, ?, ?, ?, 5000, 'webapi', 'a letter', 0)"""
ENTRY = """INSERT INTO entry
 (id, message_id, account_id, recipient, state, queued_at, next_attempt_at, attempts, lane,
  node_id, epoch, notify, delay_reported, keep_until, outcome)
 VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, 0, 0, '', 0, ?, ?)"""


class WithPages(WithWebAPI):
    """Ours with pages, and passwords for them."""

    def _configuration(self) -> str:
        pages = LISTENER.replace("webapi = true", "webapi = true\npages = true")
        return (
            super()
            ._configuration()
            .replace(LISTENER.format(port=self.http_port), pages.format(port=self.http_port))
        )

    def prepare(self) -> None:
        """Makes the administrator's password, too."""
        super().prepare()
        with opened(load_settings(self.home / "mailrelay.toml", {})) as control:
            hashed = hash_password(ADMIN_PASSWORD)
            directory = control.directory
            settled(_set(directory, hashed))

    def fill(self, entries: int) -> None:
        """Puts rows into the store of a server that does not run: half wait, half are retired."""
        now = time.time()
        with closing(sqlite3.connect(self.home / "data" / "mailrelay.db")) as database:
            [account_id] = database.execute("SELECT id FROM account WHERE name = 'app'").fetchone()
            for first in range(1, 2 * entries + 1, AT_ONCE):
                ids = range(first, min(first + AT_ONCE, 2 * entries + 1))
                database.executemany(MESSAGE, _messages(ids, account_id, now))
                database.executemany(ENTRY, _entries(ids, account_id, now))
                database.commit()
            database.execute("PRAGMA optimize")


async def _set(directory: object, hashed: str) -> None:
    records = directory.records  # type: ignore[attr-defined]
    await records.set_setting("bench", ADMIN_PASSWORD_HASH, hashed)


def _messages(ids: range, account_id: int, now: float) -> Iterator[tuple[object, ...]]:
    return ((id_, account_id, LOGIN, now) for id_ in ids)


def _entries(ids: range, account_id: int, now: float) -> Iterator[tuple[object, ...]]:
    """Every other one is retired; the rest are due in a day, so that nothing is attempted."""
    for id_ in ids:
        recipient = f"u{id_}@d{id_ % DOMAINS}.test"
        done = id_ % 2 == 0
        state, outcome = (RETIRED, "delivered") if done else (READY, None)
        kept = now + 86400 if done else None
        yield (id_, id_, account_id, recipient, state, now, now + 86400, kept, outcome)


@attrs.define
class Visitor:
    """Somebody with a browser that keeps one connection, and cookies."""

    connection: http.client.HTTPConnection
    cookies: dict[str, str] = attrs.field(factory=dict)

    def ask(self, path: str, form: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self.connection.request("GET" if form is None else "POST", path, body, headers)
        answer = self.connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return answer.status, answer.read()

    def log_in(self, path: str, **form: str) -> None:
        """At the door that ``path`` is."""
        status, said = self.ask(path, form)
        if status != 303:
            raise RuntimeError(f"{path} answered {status}: {said.decode()}")

    def seconds(self, path: str) -> float:
        """How long a page took, to its last byte."""
        began = time.monotonic()
        status, said = self.ask(path)
        if status != 200:
            raise RuntimeError(f"{path} answered {status}: {said.decode()}")
        return time.monotonic() - began


def first_load(nobody: Visitor, visitor: Visitor) -> int:
    """Bytes of the page for logging in, of the list, and of all that they load, each once."""
    loaded: dict[str, int] = {}
    for one, path in ((nobody, "/login"), (visitor, "/")):
        _, page = one.ask(path)
        loaded[path] = len(page)
        for found in re.findall(rb'(?:href|src)="(/static/[^"]+)"', page):
            there = found.decode()
            if there not in loaded:
                loaded[there] = len(visitor.ask(there)[1])
    return sum(loaded.values())


@attrs.frozen
class Pages:
    """A queue of so many entries, as many retired, and each page several times."""

    name: str
    entries: int
    times: int = 5

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """Each page's median, after it was asked for once."""
        with surroundings.home(kind.name) as home:
            server = WithPages(Job(), home)
            server.prepare()
            server.fill(self.entries)
            server.start()
            try:
                return Run(self.name, kind.name, self._metrics(server))
            finally:
                server.stop()

    def _metrics(self, server: WithPages) -> dict[str, float]:
        connection = http.client.HTTPConnection(ADDRESS, server.http_port, timeout=120)
        visitor = Visitor(connection)
        metrics = {}
        with closing(connection):
            visitor.ask("/login")
            visitor.log_in("/login", login=LOGIN, password=PASSWORD)
            metrics["first_load_kb"] = first_load(Visitor(connection), visitor) / 1000
            visitor.log_in("/admin/login", password=ADMIN_PASSWORD)
            for metric, path in PAGES.items():
                visitor.seconds(path)
                metrics[metric] = 1000 * median(visitor.seconds(path) for _ in range(self.times))
        return metrics
