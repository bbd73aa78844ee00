"""When to try again: the bounds, five days of retries, the mox profile, steps of the clock."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.queue.schedule import (
    MOX,
    PROFILES,
    RetryProfile,
    gives_up_at,
    is_delay_due,
    next_attempt_at,
)

DEFAULT = RetryProfile()
DAY = 86400.0
YEAR = 365 * DAY
jitters = st.floats(0, 0.999)


def attempts_on_a_clock(profile: RetryProfile, jitter: Random | None = None) -> list[float]:
    """When attempts are made that all fail, the first one at 0."""
    clock, made = Clock(), list[float]()

    def attempt() -> None:
        made.append(clock.seconds())
        due = next_attempt_at(
            profile, 0.0, clock.seconds(), len(made), jitter.random() if jitter else 0.0
        )
        if due is not None:
            clock.callLater(due - clock.seconds(), attempt)

    clock.callLater(0.0, attempt)
    while calls := clock.getDelayedCalls():
        clock.advance(max(0.0, calls[0].getTime() - clock.seconds()))
    return made


class NextAttemptTests(SynchronousTestCase):
    """next_attempt_at."""

    def test_doubles_up_to_the_longest(self) -> None:
        """7.5 minutes, doubling, never more than 4 hours."""
        waits = [next_attempt_at(DEFAULT, 0.0, 0.0, n, 0.0) for n in (1, 2, 3, 4, 5, 6, 7, 1000)]
        self.assertEqual(waits, [450, 900, 1800, 3600, 7200, 14400, 14400, 14400])

    @given(st.floats(0, 1e9), st.integers(8, 10_000), jitters)
    def test_stays_within_the_lifetime(self, now: float, attempts: int, jitter: float) -> None:
        """Once tried often enough, the next attempt is ahead and within the lifetime, or none."""
        due = next_attempt_at(DEFAULT, 0.0, now, attempts, jitter)
        self.assertTrue(due is None or now + 14400 <= due < 5 * DAY)

    @given(st.floats(0, 4e9), st.floats(-YEAR, YEAR), st.integers(1, 7), jitters)
    def test_no_step_retires_the_hardly_tried(
        self, queued_at: float, step: float, attempts: int, jitter: float
    ) -> None:
        """Before eight attempts there is always another, wherever the clock was stepped to."""
        now = queued_at + step
        due = next_attempt_at(DEFAULT, queued_at, now, attempts, jitter)
        assert due is not None
        self.assertTrue(now < due <= now + 14400 * 1.05)

    @given(st.floats(0, 4e9), st.integers(1, 10**6), jitters)
    def test_a_step_back_does_not_stall(
        self, queued_at: float, attempts: int, jitter: float
    ) -> None:
        """A year back, the next attempt is still within hours of now."""
        now = queued_at - YEAR
        due = next_attempt_at(DEFAULT, queued_at, now, attempts, jitter)
        assert due is not None
        self.assertLessEqual(due - now, 14400 * 1.05)

    @given(st.integers(1, 100), jitters)
    def test_jitter_is_bounded(self, attempts: int, jitter: float) -> None:
        """Jitter adds up to 5 % and never makes an attempt early."""
        plain = next_attempt_at(DEFAULT, 0.0, 0.0, attempts, 0.0)
        due = next_attempt_at(DEFAULT, 0.0, 0.0, attempts, jitter)
        assert plain is not None and due is not None
        self.assertTrue(plain <= due <= plain * 1.05)

    def test_five_days_on_a_clock(self) -> None:
        """Attempts that all fail go on for most of five days and then end."""
        for jitter in (None, Random(1), Random(2)):
            made = attempts_on_a_clock(DEFAULT, jitter)
            self.assertTrue(5 * DAY - 14400 * 1.06 <= made[-1] < 5 * DAY)
            self.assertTrue(33 <= len(made) <= 35)

    def test_mox(self) -> None:
        """mox's profile makes eight attempts, 7.5 minutes doubling, and no ninth."""
        made = attempts_on_a_clock(MOX)
        waits = [b - a for a, b in pairwise(made)]
        self.assertEqual(waits, [450.0 * 2**n for n in range(7)])
        self.assertEqual(made[-1], 57150.0)  # 15 h 52.5 min
        self.assertEqual(len(attempts_on_a_clock(MOX, Random(3))), 8)

    def test_short_life(self) -> None:
        """A short life still gets its least attempts."""
        profile = RetryProfile(first_after=5.0, give_up_after=10.0)
        self.assertEqual(len(attempts_on_a_clock(profile)), 8)

    def test_profiles(self) -> None:
        """The names of the configuration."""
        self.assertEqual(PROFILES, {"default": DEFAULT, "mox": MOX})

    def test_no_meaningless_durations(self) -> None:
        """Nothing, less than nothing and for ever are refused: schedules must end."""
        for name in ("first_after", "longest_after", "give_up_after"):
            for value in (0.0, -1.0, float("nan"), float("inf")):
                self.assertRaises(ValueError, lambda n=name, v=value: RetryProfile(**{n: v}))


class GivesUpTests(SynchronousTestCase):
    """gives_up_at: the time a delay DSN names."""

    def test_is_the_last_attempt(self) -> None:
        """Without jitter, it is when the last attempt is really made, asked at any attempt."""
        for profile in (DEFAULT, MOX, RetryProfile(60.0, 600.0, 3 * DAY)):
            made = attempts_on_a_clock(profile)
            for number, at in enumerate(made, 1):
                self.assertAlmostEqual(gives_up_at(profile, 0.0, at, number), made[-1], places=3)

    def test_with_jitter(self) -> None:
        """With jitter, it is off by no more than the longest wait."""
        for seed in range(5):
            made = attempts_on_a_clock(DEFAULT, Random(seed))
            self.assertLess(abs(gives_up_at(DEFAULT, 0.0, made[5], 6) - made[-1]), 14400 * 1.05)

    def test_far_steps_take_no_time(self) -> None:
        """Short waits and a clock that was stepped back for years are no endless loop."""
        profile = RetryProfile(first_after=0.001, longest_after=1.0)
        at = gives_up_at(profile, 40 * YEAR, 0.0, 1)
        self.assertLess(abs(at - 40 * YEAR - 5 * DAY), 2.0)


class DelayTests(SynchronousTestCase):
    """is_delay_due."""

    def test_once_and_late_enough(self) -> None:
        """Due from two hours on, unless it was reported."""
        self.assertFalse(is_delay_due(DEFAULT, 0.0, 7199.0, reported=False))
        self.assertTrue(is_delay_due(DEFAULT, 0.0, 7200.0, reported=False))
        self.assertFalse(is_delay_due(DEFAULT, 0.0, 7200.0, reported=True))
