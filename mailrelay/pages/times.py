"""Times as people give them.  Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mailrelay.control.errors import Refusal

MOST_CHARACTERS = 40

_AHEAD = re.compile(r"in (\d{1,6}) ?(min|minutes?|h|hours?|d|days?)")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}

HOW = "2026-11-22T14:30 (UTC), 2026-11-22T14:30:00+01:00, or in 30 minutes, in 2 hours, in 3 days"


def read_time(text: str, now: float) -> float | None:
    """Seconds since the epoch; None of no text.  What names no zone is UTC.  Raises: Refusal."""
    said = " ".join(text.lower().split())
    if not said:
        return None
    ahead = _AHEAD.fullmatch(said) if len(said) <= MOST_CHARACTERS else None
    if ahead is not None:
        return now + int(ahead[1]) * _SECONDS[ahead[2][0]]
    try:
        if len(said) > MOST_CHARACTERS or not said.isascii():
            raise ValueError
        at = datetime.fromisoformat(said.upper())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Refusal(f"the time is not understood: write it as {HOW}") from None


def field_text(at: float | None) -> str:
    """A time for an input field, in UTC and to the minute."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M")
