"""The simulation's other half of the seeds, and that a seed is always the same run."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.seeds import SEEDS, run_seeds


class MoreSeedTests(SynchronousTestCase):
    """Odd seeds."""

    def test_promises_are_kept(self) -> None:
        """Whatever fails, mail that was answered 250 arrives or its failure is reported."""
        run_seeds(self, range(1, SEEDS, 2))


class RepeatabilityTests(SynchronousTestCase):
    """A failing seed must fail again."""

    def test_traces_do_not_depend_on_hashes(self) -> None:
        """Processes with different hash seeds print the same traces, to the last digit."""
        traces = [self._trace(hash_seed) for hash_seed in ("1", "4242")]
        self.assertIn("all promises kept", traces[0])
        self.assertEqual(traces[0], traces[1])

    def _trace(self, hash_seed: str) -> str:
        command = [sys.executable, "-m", "mailrelay.testing.simulation", "3", "10", "17"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout
