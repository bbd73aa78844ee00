"""When a call that failed is made again.  Pure; times are seconds."""

from __future__ import annotations

_MINUTE, _HOUR = 60.0, 3600.0

MOX_WAITS = (
    1 * _MINUTE,
    2 * _MINUTE,
    4 * _MINUTE,
    7.5 * _MINUTE,
    15 * _MINUTE,
    30 * _MINUTE,
    1 * _HOUR,
    2 * _HOUR,
    4 * _HOUR,
    8 * _HOUR,
    16 * _HOUR,
)
"""Between the starts of attempts: twelve in all, the last some 32 hours after the first."""


def next_call_at(started_at: float, attempts: int, jitter: float) -> float | None:
    """When to call again after attempt number ``attempts``; None when that was the last.

    ``jitter`` in [0, 1) spreads by one percent either way.
    """
    if attempts > len(MOX_WAITS):
        return None
    return started_at + MOX_WAITS[attempts - 1] * (0.99 + 0.02 * jitter)
