"""Times as the API writes and reads them: RFC 3339, with an offset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

Time = Annotated[datetime, Meta(tz=True)]


def seconds_of(time: datetime | None) -> float | None:
    """The reverse of ``time_at``, of a time that may be left out."""
    return time.timestamp() if time is not None else None


def time_at(seconds: float) -> datetime:
    """Seconds since the epoch, as it is told: in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
