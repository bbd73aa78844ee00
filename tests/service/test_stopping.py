"""What a server waits for while it stops."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.service.stopping import LOOK_EVERY, in_turn, when_empty


class StoppingTests(SynchronousTestCase):
    """when_empty and in_turn."""

    def test_when_empty(self) -> None:
        """It looks again until the last one has left, and leaves no timer behind."""
        clock, sessions = Clock(), {"one", "two"}
        gone = when_empty(clock, sessions)
        for session in ("one", "two"):
            clock.advance(LOOK_EVERY)
            self.assertNoResult(gone)
            sessions.remove(session)
        clock.advance(LOOK_EVERY)
        self.successResultOf(gone)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_in_turn(self) -> None:
        """A step begins when the one before it is done, whether it waits or not."""
        first: Deferred[None] = Deferred()
        done: list[str] = []
        waiting = in_turn(lambda: first, lambda: done.append("second"))
        self.assertEqual(done, [])
        first.callback(None)
        self.successResultOf(waiting)
        self.assertEqual(done, ["second"])

    def test_a_step_that_fails(self) -> None:
        """It ends the turn, and its failure is told."""
        done: list[str] = []
        waiting = in_turn(lambda: fail(OSError("full")), lambda: done.append("second"))
        self.failureResultOf(waiting, OSError)
        self.assertEqual(done, [])
