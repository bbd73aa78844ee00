"""When to try again, when to say that it takes long, when to give up.  Pure."""

from __future__ import annotations

import math
from typing import Any

from attrs import field, frozen, validators

_DURATION: Any = [validators.ge(0.001), validators.lt(math.inf)]


@frozen
class RetryProfile:
    """When to try again; all in seconds.  RFC 5321 section 4.5.4.1: give up after 4-5 days.

    Deviates from it ("at least 30 minutes" apart): early retries get greylisted mail through.
    """

    first_after: float = field(default=7.5 * 60, validator=_DURATION)
    longest_after: float = field(default=4 * 3600.0, validator=_DURATION)
    give_up_after: float = field(default=5 * 86400.0, validator=_DURATION)
    least_attempts: int = 8  # a clock step must not retire what was hardly tried
    most_attempts: int | None = None
    delay_dsn_after: float = 2 * 3600


MOX = RetryProfile(
    longest_after=8 * 3600, give_up_after=float(20 * 3600), most_attempts=8, least_attempts=8
)
"""mox's schedule: 7.5 min doubling, eight attempts within 15 h 52.5 min."""

PROFILES = {"default": RetryProfile(), "mox": MOX}


def next_attempt_at(
    profile: RetryProfile, queued_at: float, now: float, attempts: int, jitter: float
) -> float | None:
    """When to try again, in seconds since the epoch; None means retire the entry.

    ``attempts`` is how many were made, at least 1; ``jitter`` in [0, 1) adds up to
    5 %, so that mail deferred together does not return together.
    """
    if profile.most_attempts is not None and attempts >= profile.most_attempts:
        return None
    delay = min(profile.first_after * 2 ** min(attempts - 1, 30), profile.longest_after)
    due = now + delay * (1 + 0.05 * jitter)
    spent = due - queued_at >= profile.give_up_after and attempts >= profile.least_attempts
    return None if spent else due


def longest_wait(profile: RetryProfile) -> float:
    """The most seconds between two attempts, jitter included."""
    return profile.longest_after * 1.05


def gives_up_at(profile: RetryProfile, queued_at: float, now: float, attempts: int) -> float:
    """When the last attempt is made if all fail, seconds since the epoch, jitter aside.

    ``attempts`` were made, the last one at ``now``.
    """
    at = now
    while (due := next_attempt_at(profile, queued_at, at, attempts, 0.0)) is not None:
        at, attempts = due, attempts + 1
        if attempts > 30 and profile.most_attempts is None:
            # All that follow are equally far apart; a step of the clock may make them millions.
            left = queued_at + profile.give_up_after - at
            skipped = max(0, int(left / profile.longest_after) - 1)
            at, attempts = at + skipped * profile.longest_after, attempts + skipped
    return at


def is_delay_due(profile: RetryProfile, queued_at: float, now: float, *, reported: bool) -> bool:
    """Whether a failed attempt at ``now`` is the one whose delay the sender is told of."""
    return not reported and now - queued_at >= profile.delay_dsn_after
