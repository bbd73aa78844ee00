"""Destinations: how each is doing in the running server, and what the store knows is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.queue import EntryFilter
from mailrelay.control.queue_works import QueueChange, QueueWorkControl
from mailrelay.control.works import Work
from mailrelay.directory.model import Directory
from mailrelay.queue.destination import Destination

LOOK = 10_000
"""Entries that are counted in one go."""

BY_MX = "mx:"
"""How the key of a destination that is a domain begins."""


@frozen
class DomainWaiting:
    """What waits for a domain.  ``tried_id`` is an entry that was tried.  Times since the epoch."""

    domain: str
    waiting: int
    held: int
    oldest_at: float
    next_at: float | None  # of those that are not held
    tried_id: int | None = None
    said: str = ""  # in answer to that one's last attempt


@frozen
class DomainsCounted:
    """Domains, those with the most entries first, of ``looked_at`` entries, or of all."""

    domains: Sequence[DomainWaiting]
    looked_at: int
    is_whole: bool


@frozen
class DomainPart:
    """Domains of a part of the queue, which goes on to ``to_id``."""

    domains: Sequence[DomainWaiting]
    looked_at: int
    to_id: int
    is_end: bool


@frozen
class LiveDestination:
    """A destination as the running server has it.  ``way`` is in words; seconds from now."""

    key: str
    way: str = ""
    waiting: int = 0
    active: int = 0
    allowed: int = 0  # attempts at once
    failures: int = 0  # of its host, in a row
    rests_for: float = 0.0
    said: str = ""
    resting_hosts: Sequence[str] = ()

    @property
    def state(self) -> str:
        """In a word."""
        if self.rests_for > 0:
            return "backing off"
        if self.failures:
            return "failing"
        if self.waiting and self.active >= self.allowed:
            return "limited"
        return "open" if self.waiting or self.active else "idle"


class LiveDestinations(Protocol):
    """The running server's."""

    def all(self) -> Sequence[LiveDestination]:
        """Those with entries in memory, or whose host failed."""

    def resume(self, key: str) -> None:
        """Forget that its host, or relay hosts, failed: it is tried again at once."""


class DestinationRecords(Protocol):
    """What the store knows.  Methods may fail with StoreUnavailable."""

    def count(self, after_id: int, most: int) -> Deferred[DomainPart]:
        """By domain, up to ``most`` living entries behind ``after_id``."""

    def replies(self, entry_ids: Sequence[int]) -> Deferred[Mapping[int, str]]:
        """What was answered to each entry's last attempt that is known."""

    def resumed(self, actor: str, key: str, now: float) -> Deferred[None]:
        """Audit it."""


@frozen
class DestinationControl:
    """What may be asked of destinations, and by whom it was."""

    records: DestinationRecords
    now: Callable[[], float]
    actor: str

    async def domains(self, most: int | None = None, shown: int = 100) -> DomainsCounted:
        """What waits, by domain; of the first ``most`` entries, unless all are counted."""
        by_domain: dict[str, DomainWaiting] = {}
        looked_at, after_id, is_end = 0, 0, False
        while not is_end and (most is None or looked_at < most):
            part = await self.records.count(after_id, LOOK)
            for one in part.domains:
                known = by_domain.get(one.domain)
                by_domain[one.domain] = one if known is None else _sum(known, one)
            looked_at += part.looked_at
            after_id, is_end = part.to_id, part.is_end
        found = sorted(by_domain.values(), key=lambda one: (-one.waiting, one.domain))[:shown]
        return DomainsCounted(await self._with_replies(found), looked_at, is_end)

    async def _with_replies(self, found: Sequence[DomainWaiting]) -> Sequence[DomainWaiting]:
        tried = [one.tried_id for one in found if one.tried_id is not None]
        said = await self.records.replies(tried) if tried else {}
        return [evolve(one, said=said.get(one.tried_id or 0, "")) for one in found]


def _sum(one: DomainWaiting, other: DomainWaiting) -> DomainWaiting:
    due = [at for at in (one.next_at, other.next_at) if at is not None]
    tried = [id_ for id_ in (one.tried_id, other.tried_id) if id_ is not None]
    return DomainWaiting(
        one.domain,
        one.waiting + other.waiting,
        one.held + other.held,
        min(one.oldest_at, other.oldest_at),
        min(due, default=None),
        max(tried, default=None),
    )


@frozen
class LiveControl:
    """What is done to destinations of the running server."""

    destinations: DestinationControl
    live: LiveDestinations
    changes: QueueWorkControl
    directory: Callable[[], Directory]

    def all(self) -> Sequence[LiveDestination]:
        """Those in trouble first, then those with the most entries."""
        return sorted(self.live.all(), key=lambda one: (not one.failures, -one.waiting, one.key))

    def get(self, key: str) -> LiveDestination:
        """One, which is idle when nothing of it is in memory."""
        found = (one for one in self.live.all() if one.key == key)
        return next(found, LiveDestination(key))

    async def resume(self, key: str) -> None:
        """Forget that its host failed."""
        await self.destinations.records.resumed(
            self.destinations.actor, key, self.destinations.now()
        )
        self.live.resume(key)

    async def try_now(self, key: str) -> Work:
        """Forget that its host failed, and have all that waits for it tried now, by a work."""
        await self.resume(key)
        return await self.changes.all_that_fit(QueueChange("retry", self._waiting(key)))

    def _waiting(self, key: str) -> EntryFilter:
        if key.startswith(BY_MX):
            return EntryFilter(domain=key.removeprefix(BY_MX).partition(":")[0], held=False)
        return EntryFilter(lanes=sorted(_lanes(key, self.directory().accounts)), held=False)


def _lanes(key: str, accounts: Iterable[int]) -> set[int]:
    """Of all accounts, and of mail that is nobody's, urgent or not."""
    to = Destination(key, None)
    whose = (None, *accounts)
    return {to.lane(account, urgent=urgent) for account in whose for urgent in (False, True)}
