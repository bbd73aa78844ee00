"""How many reports a domain of others gets about mail of strangers (threat 12: backscatter).

Whoever forges a reverse-path has us write to its domain: some reports go at once, and those beyond
wait for their turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field

HOUR = 3600.0
LONGEST_WAIT = 3 * 86400.0
"""Seconds: what would wait longer is not made."""

MOST_DOMAINS = 50_000


@define
class ReportRate:
    """Gives turns: ``per_hour`` at once, and as many an hour; no limit when that is 0.

    Of each process, and from its start on.  ``now`` is since the epoch.
    """

    now: Callable[[], float]
    per_hour: Callable[[], int]
    _used_until: OrderedDict[str, float] = field(factory=OrderedDict)

    def turn(self, domain: str) -> float | None:
        """When the next report to ``domain`` may go, which uses it; None when there is none."""
        now, most = self.now(), self.per_hour()
        if not most:
            return now
        used_until = max(self._used_until.get(domain, now), now)
        turn = max(now, used_until - HOUR)
        if turn - now > LONGEST_WAIT:
            return None
        self._used_until[domain] = used_until + HOUR / most
        self._used_until.move_to_end(domain)
        while len(self._used_until) > MOST_DOMAINS:
            self._used_until.popitem(last=False)
        return turn
