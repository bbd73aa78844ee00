"""Who changed what: every change that was made by page, API or command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

MOST_LISTED = 1000
"""Changes that are asked for at once."""


@frozen
class Change:
    """One change.  ``at`` is in seconds since the epoch; ``subject`` has no secret in it."""

    id: int
    at: float
    actor: str
    action: str
    subject: str


@frozen
class ChangeFilter:
    """Which changes; None is any.

    ``actor`` and ``subject`` are parts of theirs, whatever the case; ``action`` is its first words.
    """

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: float | None = None
    before_id: int | None = None
    limit: int = 100


class AuditRecords(Protocol):
    """What was written with each change.  Methods may fail with StoreUnavailable."""

    def find(self, wanted: ChangeFilter) -> Deferred[Sequence[Change]]:
        """Changes that fit, the newest first, MOST_LISTED at the most."""
