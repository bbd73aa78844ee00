"""Runs of seeds, shared out between test files so that two processes run them side by side."""

from __future__ import annotations

import os
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.testing.simulation import simulate

SEEDS = 1000 if os.environ.get("MAILRELAY_TEST_LONG") else 200


def run_seeds(case: SynchronousTestCase, seeds: range) -> Counter[str]:
    """Fail with the first seed that breaks a promise; what was counted in all of them."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        report = simulate(seed)
        if report.violations:
            case.fail(str(report))
        counts += report.counts
    return counts
