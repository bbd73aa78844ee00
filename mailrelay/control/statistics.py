"""What became of mail, in numbers: events counted by account, hour, tag and recipient's domain.

They are counted from the log of events, a little after it is written and before it is swept, and
are kept longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import Refusal
from mailrelay.observe.events import EventKind

HOUR = 3600.0
DAY = 24 * HOUR

LONGEST = 400
"""Days that may be asked for at once."""

MOST_GROUPS = 10_000
"""Of one question: they are in memory."""

BATCHES = 5
"""Of events that are counted before a question is answered, at the most."""

KINDS = (
    *(EventKind.ACCEPTED, EventKind.DELIVERED, EventKind.DELAYED, EventKind.FAILED),
    *(EventKind.SUPPRESSED, EventKind.CANCELED, EventKind.COMPLAINED, EventKind.UNSUBSCRIBED),
)
"""What is counted: recipients that were accepted, and what happened to each."""


class By(StrEnum):
    """What numbers may be told apart by."""

    ACCOUNT = "account"
    HOUR = "hour"
    DAY = "day"  # in UTC
    TAG = "tag"
    DOMAIN = "domain"


@frozen
class StatisticsQuery:
    """Which numbers; None is any.  ``since`` and ``until`` are seconds, of which hours are made.

    Each message is counted once, and once more under each tag that it has: by tag, or of one.
    """

    since: float
    until: float
    account_id: int | None = None
    tag: str | None = None
    domain: str | None = None
    by: frozenset[By] = frozenset()

    @property
    def hours(self) -> range:
        """The hours since the epoch that it is about, whole ones."""
        return range(int(self.since // HOUR), -int(-self.until // HOUR))


@frozen(order=True)
class Group:
    """What a number is of.  What it is not told apart by is empty; ``at`` is when it begins."""

    at: float = 0.0
    account_id: int = 0
    tag: str = ""
    domain: str = ""


Counts: TypeAlias = Mapping[str, int]
"""By the kind of event."""


def rate(counts: Counts, kind: EventKind, of: EventKind) -> float | None:
    """How many of one kind there are for each of another; None when there is none of that."""
    whole = counts.get(of.value, 0)
    return counts.get(kind.value, 0) / whole if whole else None


@frozen
class Statistics:
    """The groups in order.  What happened at ``counted_until`` and later may be missing."""

    counted_until: float
    groups: Sequence[tuple[Group, Counts]] = field(factory=list)


class StatisticsStore(Protocol):
    """The numbers.  Methods may fail with StoreUnavailable."""

    def count_more(self) -> Deferred[bool]:
        """Count the next events of the log, each once whoever asks; whether there are more."""

    def uncounted_since(self) -> Deferred[float | None]:
        """When the oldest event happened that is not counted; None when all are."""

    def first_hour(self, wanted: StatisticsQuery) -> Deferred[int | None]:
        """The first of the hours that has anything of the account's."""

    def find(self, wanted: StatisticsQuery, hours: range) -> Deferred[Mapping[Group, Counts]]:
        """The numbers of these hours."""

    def sweep(self, before_hour: int) -> Deferred[bool]:
        """Remove some of the numbers of hours before that one; whether there are more."""


@frozen
class StatisticsControl:
    """What may be asked of the numbers."""

    store: StatisticsStore
    now: Callable[[], float]

    async def catch_up(self, batches: int) -> bool:
        """Count what is new, but no more than so many batches; whether all is counted."""
        for _ in range(batches):
            if not await self.store.count_more():
                return True
        return False

    async def find(self, wanted: StatisticsQuery, batches: int = BATCHES) -> Statistics:
        """The numbers that are wanted, as new as may be.  Raises: Refusal."""
        hours = wanted.hours
        if not 0 < len(hours) <= LONGEST * 24:
            raise Refusal(f"until must be after since, by {LONGEST} days at the most")
        now = self.now()
        if await self.catch_up(batches):
            counted_until = now
        else:
            counted_until = min(now, await self.store.uncounted_since() or now)
        found = await self._of_days(evolve(wanted, until=min(wanted.until, now + HOUR)))
        if not wanted.by and not found:
            found = {Group(): Counter()}
        return Statistics(counted_until, sorted(found.items(), key=lambda item: item[0]))

    async def _of_days(self, wanted: StatisticsQuery) -> dict[Group, Counter[str]]:
        """Day by day: no question to the store takes long."""
        found: dict[Group, Counter[str]] = {}
        first, end = await self.store.first_hour(wanted), wanted.hours.stop
        for start in range(first if first is not None else end, end, 24):
            hours = range(start, min(start + 24, end))
            for group, counts in (await self.store.find(wanted, hours)).items():
                found.setdefault(group, Counter()).update(counts)
            if len(found) > MOST_GROUPS:
                raise Refusal(
                    f"these are more than {MOST_GROUPS} groups: ask for a shorter time, or by less"
                )
        return found

    async def sweep(self, kept_for: float) -> None:
        """Remove what is older than so many seconds, in small steps."""
        before = int((self.now() - kept_for) // HOUR)
        while await self.store.sweep(before):
            pass
