"""Times as the API writes and reads them: RFC 3339, with an offset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

Time = Annotated[datetime, Meta(tz=True)]


def time_at(seconds: float) -> datetime:
    """Seconds since the epoch, as it is told: in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
