"""Executors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.threads import AtOnce, Draining, Wanted


class DrainingTests(SynchronousTestCase):
    """What is under way when it is to end."""

    def test_drained(self) -> None:
        """Work that was canceled is waited for as well; results and failures arrive."""
        under_way: list[Deferred[Any]] = []

        class Slow:
            def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
                under_way.append(Deferred())
                return under_way[-1].addCallback(lambda _: work(*args, **kwargs))

        draining = Draining(Slow())
        answers = [draining.run(divmod, 7, by) for by in (2, 0, 3)]
        drained = draining.drained()
        answers[2].cancel()
        self.failureResultOf(answers[2], CancelledError)
        for one in under_way:
            self.assertNoResult(drained)
            one.callback(None)
        self.assertEqual(self.successResultOf(answers[0]), (3, 1))
        self.failureResultOf(answers[1], ZeroDivisionError)
        self.successResultOf(drained)

    def test_idle(self) -> None:
        """Where nothing is under way nothing is waited for."""
        draining = Draining(AtOnce())
        self.successResultOf(draining.run(int))
        self.successResultOf(draining.drained())


class WantedTests(SynchronousTestCase):
    """Work that nobody waits for any more."""

    def test_canceled(self) -> None:
        """It is not begun; what is under way ends unheard; results and failures arrive."""
        turns: list[Callable[[], None]] = []
        done: list[int] = []

        class Slow:
            def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
                answer: Deferred[Any] = Deferred()
                turns.append(lambda: answer.callback(None))
                return answer.addCallback(lambda _: work(*args, **kwargs))

        def work(number: int) -> int:
            done.append(number)
            return 6 // number

        wanted = Wanted(Slow())
        answers = [wanted.run(work, number) for number in (2, 3, 0)]
        answers[1].cancel()
        self.failureResultOf(answers[1], CancelledError)
        for turn in turns:
            turn()
        self.assertEqual(self.successResultOf(answers[0]), 3)
        self.failureResultOf(answers[2], ZeroDivisionError)
        self.assertEqual(done, [2, 0])
