"""The wall clock of a running server jumps: nothing expires, nothing stands still."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.processes import PATIENCE, Load, ServerProcess, Sink, configuration

YEAR, DAY = 365 * 86400, 86400
LEAST_ATTEMPTS = 10
"""More than the schedule's least: only their age keeps these entries from being given up."""


class ClockStepTests(TestCase):
    """With libfaketime, which lets the clock be set from outside."""

    timeout = 240

    def setUp(self) -> None:
        """Start a server under a clock of ours, and a sink that takes nothing yet."""
        folder = Path(os.path.abspath(self.mktemp()))
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.sink = Sink(defers=1.0, cuts=0.0)
        self.addCleanup(self.sink.close)
        self.offset = folder / "offset"
        self.set_clock(0)
        [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        config = configuration(self.data, self.sink.port)
        self.server = ServerProcess(
            folder,
            config.replace("longest_retry_after = 2.0", "longest_retry_after = 0.5"),
            environment={
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.offset),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            },
        )
        self.addCleanup(self.server.kill)
        self.server.start()

    def set_clock(self, offset: int) -> None:
        """Set the server's clock to so many seconds from the true time."""
        made = self.offset.with_suffix(".new")
        made.write_text(f"{offset:+d}\n")
        made.rename(self.offset)

    def wait_until(self, holds) -> None:
        """Wait for what must come."""
        until = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), until, "it did not happen")
            time.sleep(0.05)

    def query(self, text: str):
        """One value of the server's database."""
        connection = sqlite3.connect(f"file:{self.data / 'mailrelay.db'}?mode=ro", uri=True)
        try:
            return connection.execute(text).fetchone()[0]
        finally:
            connection.close()

    def load(self, name: str, count: int) -> set[str]:
        """The messages that were sent and acknowledged."""
        load = Load(4, name, count)
        load.start(self.server.port)
        load.finished()
        self.assertEqual(len(load.acknowledged), count)
        return load.acknowledged

    def tried_often(self) -> None:
        """Wait until every entry was tried more often than the schedule asks at the least."""
        least = "SELECT coalesce(min(attempts), 0) FROM entry WHERE state = 0"
        self.wait_until(lambda: self.query(least) >= LEAST_ATTEMPTS)

    def test_steps(self) -> None:
        """Forward by a year and back by a day, with a queue that was tried often and new mail."""
        sent = self.load("before", 8)
        self.tried_often()
        self.set_clock(YEAR)
        self.wait_until(lambda: self.query("SELECT max(at) FROM event") > time.time() + YEAR / 2)
        sent |= self.load("in-a-year", 4)
        self.tried_often()
        self.set_clock(YEAR - DAY)
        attempts = "SELECT count(*) FROM event WHERE kind = 'delayed'"
        goal = self.query(attempts) + 3 * len(sent)
        self.wait_until(lambda: self.query(attempts) >= goal)
        self.assertEqual(self.query("SELECT count(*) FROM event WHERE kind = 'failed'"), 0)
        self.sink.defers = 0.0
        self.wait_until(lambda: not sent - self.sink.copies.keys())
        self.server.stop()
        self.assertEqual(self.query("SELECT count(*) FROM event WHERE kind = 'failed'"), 0)
