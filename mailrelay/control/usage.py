"""What an account uses of what it may, and what of its mail waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.statistics import HOUR, StatisticsControl, StatisticsQuery
from mailrelay.directory.model import Account
from mailrelay.observe.events import EventKind


@frozen
class Waiting:
    """An account's entries that are not over.  With ``is_all`` False there may be more of them."""

    ready: int
    held: int
    is_all: bool = True


@frozen
class Usage:
    """``sent_of_day`` are recipients of the last 24 hours; a limit of None is none."""

    storage_bytes: int
    storage_quota_bytes: int | None
    sent_of_day: int
    messages_per_day: int | None
    waiting: Waiting


class UsageRecords(Protocol):
    """Methods may fail with StoreUnavailable."""

    def storage(self, account_id: int) -> Deferred[int]:
        """Bytes that its mailboxes hold."""

    def waiting(self, account_id: int) -> Deferred[Waiting]:
        """What is not over.  It looks at no more entries than can be looked at in no time."""


@frozen
class UsageControl:
    """What may be asked."""

    records: UsageRecords
    statistics: StatisticsControl
    now: Callable[[], float]

    async def usage(self, account: Account) -> Usage:
        """How much of everything there is."""
        now = self.now()
        # The hours that the daily limit is counted by: this one and those before it.
        since = (now // HOUR - 23) * HOUR
        wanted = StatisticsQuery(since, now + HOUR, account_id=account.id)
        counted = await self.statistics.find(wanted)
        return Usage(
            await self.records.storage(account.id),
            account.quota_bytes,
            sum(counts.get(EventKind.ACCEPTED.value, 0) for _, counts in counted.groups),
            account.messages_per_day,
            await self.records.waiting(account.id),
        )
