"""How often the interpreter looks for garbage in a server."""

from __future__ import annotations

import gc
import inspect

from twisted.trial.unittest import SynchronousTestCase

from mailrelay import tap
from mailrelay.cli import run
from mailrelay.service.collecting import THRESHOLDS, look_seldom


class CollectingTests(SynchronousTestCase):
    """The whole process's collector."""

    def test_seldom(self) -> None:
        """What was there is not looked at again; what comes is, in cycles that are larger."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        look_seldom()
        self.assertEqual(gc.get_threshold(), THRESHOLDS)
        self.assertGreater(gc.get_freeze_count(), 10_000)
        self.assertTrue(gc.isenabled())

    def test_entry_points(self) -> None:
        """Both ways to run a server ask for it once the reactor runs."""
        for module in (tap, run):
            self.assertIn("callWhenRunning(look_seldom)", inspect.getsource(module))
