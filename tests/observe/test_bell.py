"""Waiting for an account's next event."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.observe.bell import Bell


class BellTests(SynchronousTestCase):
    """Bell."""

    def setUp(self) -> None:
        """A bell that nobody waits for."""
        self.clock = Clock()
        self.bell = Bell(self.clock)

    def test_rung(self) -> None:
        """All who wait for the account are woken, and nobody else; no timer is left."""
        mine = [self.bell.wait(1, 10) for _ in range(2)]
        other = self.bell.wait(2, 10)
        self.bell.ring([1, 3, 1])
        for waiting in mine:
            self.successResultOf(waiting)
        self.assertNoResult(other)
        self.bell.ring_all()
        self.successResultOf(other)
        waiting = self.bell.wait(1, 10)
        self.bell.close()
        for closed in (waiting, self.bell.wait(1, 10)):
            self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_canceled(self) -> None:
        """Who goes is woken no more, nor by who was woken before; no timer is left."""
        first, second, third = (self.bell.wait(1, 10) for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        lone = self.bell.wait(2, 10)
        lone.cancel()
        self.failureResultOf(lone, CancelledError)
        self.assertEqual(list(self.bell._waiting), [1])  # nothing is kept of who went
        first.addCallback(lambda _: third.cancel())
        self.bell.ring([1])
        self.successResultOf(first)
        self.failureResultOf(third, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_over(self) -> None:
        """Who waited long enough is woken alone."""
        first, second = self.bell.wait(1, 10), self.bell.wait(1, 20)
        self.clock.advance(10)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.bell.leave(1, second)
        self.successResultOf(second)
        self.bell.leave(1, second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_first(self) -> None:
        """It looks again each time it rings, until something is found or the time is over."""
        looks: list[list[str]] = [[], [], ["found"], []]

        async def look() -> list[str]:
            return looks.pop(0)

        first = Deferred.fromCoroutine(self.bell.first(1, 10, look))
        self.bell.ring([1])
        self.assertNoResult(first)
        self.bell.ring([1])
        self.assertEqual(self.successResultOf(first), ["found"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        looks = [[], ["at last"]]
        first = Deferred.fromCoroutine(self.bell.first(1, 10, look))
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(first), ["at last"])

    def test_first_ends_with_the_server(self) -> None:
        """Nobody looks on and on at a bell that rings no more."""
        looks = []

        async def look() -> list[str]:
            looks.append(1)
            return []

        first = Deferred.fromCoroutine(self.bell.first(1, 10, look))
        self.bell.close()
        self.assertEqual(self.successResultOf(first), [])
        self.assertEqual(len(looks), 2)

    def test_first_fails(self) -> None:
        """Who cannot look waits no longer."""

        async def look() -> list[str]:
            raise OSError("no store")

        first = Deferred.fromCoroutine(self.bell.first(1, 10, look))
        self.failureResultOf(first, OSError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
