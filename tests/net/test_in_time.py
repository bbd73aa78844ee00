"""Work that somebody waits for, and for so long only."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.in_time import in_time


class InTimeTests(SynchronousTestCase):
    """What comes, what comes too late, and what fails."""

    def setUp(self) -> None:
        """Work that waits for ``work``, five seconds at the most."""
        self.clock, self.work = Clock(), Deferred[str]()
        self.broken_off = False
        self.failures: list[str] = []
        self.waiting = Deferred.fromCoroutine(
            in_time(self.clock, 5.0, self.worked(), "late", lambda: self.failures.append("told"))
        )

    async def worked(self) -> str:
        """What the work gives."""
        try:
            return await self.work
        except CancelledError:
            self.broken_off = True
            raise

    def test_comes(self) -> None:
        """It is passed on, and no timer is left."""
        self.clock.advance(4.9)
        self.work.callback("it")
        self.assertEqual(self.successResultOf(self.waiting), "it")
        self.assertEqual((self.clock.getDelayedCalls(), self.failures), ([], []))

    def test_too_late(self) -> None:
        """The work is broken off; nothing failed."""
        self.clock.advance(4.9)
        self.assertNoResult(self.waiting)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(self.waiting), "late")
        self.assertEqual((self.broken_off, self.failures), (True, []))

    def test_fails(self) -> None:
        """What failed is told, and is as what is late."""
        self.work.errback(ValueError("no"))
        self.assertEqual(self.successResultOf(self.waiting), "late")
        self.assertEqual((self.clock.getDelayedCalls(), self.failures), ([], ["told"]))
