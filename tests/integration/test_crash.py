"""Kill -9 under load: what was answered 250 arrives, whole, and hardly ever twice."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random
from statistics import median

from twisted.trial.unittest import TestCase

from tests.integration.processes import PATIENCE, Load, ServerProcess, Sink, configuration

KILLS = 200 if os.environ.get("MAILRELAY_TEST_LONG") else 10
LEAST_ACKNOWLEDGED = 1000
IN_FLIGHT = 10
"""Deliveries to one destination at once: each may be repeated after a kill."""


class CrashTests(TestCase):
    """The first promise."""

    timeout = 60 + KILLS * 20

    def test_kill_at_random_moments(self) -> None:
        """Every acknowledged message reaches the sink undamaged, over kills and restarts."""
        random = Random(20)
        folder = Path(os.path.abspath(self.mktemp()))
        (folder / "data").mkdir(parents=True)
        sink = Sink(seed=21)
        self.addCleanup(sink.close)
        server = ServerProcess(folder, configuration(folder / "data", sink.port))
        self.addCleanup(server.kill)
        load = Load(clients=8)
        self.addCleanup(load.end)
        server.start()
        load.start(server.port)
        greetings = []
        goal = 0
        for kill in range(KILLS):
            goal = LEAST_ACKNOWLEDGED * (kill + 1) // KILLS
            self.wait_until(lambda: len(load.acknowledged) >= goal)  # noqa: B023
            time.sleep(random.random() * 0.5)  # the moment of the kill, not a wait for something
            server.kill()
            restarted = time.monotonic()
            server.start()
            load.move(server.port)
            server.greeting_after()
            greetings.append(time.monotonic() - restarted)
        load.end()
        self.wait_until(lambda: not load.acknowledged - sink.copies.keys())
        server.stop()
        acknowledged = len(load.acknowledged)
        copies = sum(sink.copies.values())
        repeated = copies - len(sink.copies)
        print(
            f"{KILLS} kills: {acknowledged} acknowledged, 0 lost, {repeated} of {copies} copies"
            f" repeated, greeting after {median(greetings):.2f} s (median)"
        )
        self.assertGreaterEqual(acknowledged, LEAST_ACKNOWLEDGED)
        self.assertEqual(sink.damaged, [])
        self.assertLessEqual(repeated, IN_FLIGHT * KILLS)

    def wait_until(self, holds) -> None:
        """Wait for what must come."""
        until = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), until, "it did not happen")
            time.sleep(0.02)
