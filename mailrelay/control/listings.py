"""Lists in DNS that are watched for our own addresses: whoever is on one is not believed.

Invariant: an address comes off a list by the word of that list alone; while it gives none, or none
to be believed, what it said last holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.net.dnsbl import ListAnswer, ListResolver, look_up, zone_fault

LOOK_AFTER_MESSAGES = 100
LEAST_BETWEEN = 300.0
MOST_BETWEEN = 3 * 3600.0

_log = Logger()


@frozen
class Listing:
    """What a list said of an address of ours.  Times are seconds since the epoch.

    ``listed_since`` is None when it is not listed; ``error`` is why the list was not believed when
    it was last asked.
    """

    zone: str
    address: str
    listed_since: float | None
    text: str
    checked_at: float
    error: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether it is on the list."""
        return self.listed_since is not None


class ListingRecords(Protocol):
    """What was found last.  Methods fail with StoreUnavailable."""

    def load(self) -> Deferred[Sequence[Listing]]:
        """All of it, by zone and address."""

    def put(self, listings: Sequence[Listing], zones: Sequence[str]) -> Deferred[None]:
        """Keep ``listings``, and nothing of other lists than ``zones``."""


@frozen
class ListWatch:
    """Asks the lists that are watched."""

    records: ListingRecords
    resolver: ListResolver
    zones: Sequence[str]
    addresses: Callable[[], Awaitable[Sequence[str]]]
    now: Callable[[], float]

    async def look(self) -> Sequence[Listing]:
        """Ask all of them now, and tell of what has changed since."""
        before = {(one.zone, one.address): one for one in await self.records.load()}
        addresses = await self.addresses()
        found: list[Listing] = []
        for zone in self.zones:
            fault = await zone_fault(self.resolver, zone)
            for address in addresses:
                answer = ListAnswer(zone, fault=fault)
                if not fault:
                    answer = await look_up(self.resolver, zone, address)
                was = before.get((zone, address)) or Listing(zone, address, None, "", 0.0)
                found.append(self._became(was, answer))
        await self.records.put(found, self.zones)
        return found

    def _became(self, was: Listing, answer: ListAnswer) -> Listing:
        now = self.now()
        if answer.fault:
            if answer.fault != was.error:
                _log.warn("{zone} is not believed: {reason}", zone=was.zone, reason=answer.fault)
            return evolve(was, error=answer.fault, checked_at=now)
        if answer.is_listed:
            text = f"{', '.join(answer.codes)} {answer.text}".rstrip()
            if not was.is_listed:
                said = {"address": was.address, "zone": was.zone, "text": text}
                _log.warn("our address {address} is on the list {zone}: {text}", **said)
            since = was.listed_since if was.is_listed else now
            return Listing(was.zone, was.address, since, text, now)
        if was.is_listed:
            said = {"address": was.address, "zone": was.zone}
            _log.info("our address {address} is off the list {zone}", **said)
        return Listing(was.zone, was.address, None, "", now)


def is_due(since: float, messages: int) -> bool:
    """Whether to ask again, so many seconds and sent messages after the last time."""
    if since >= MOST_BETWEEN:
        return True
    return since >= LEAST_BETWEEN and messages >= LOOK_AFTER_MESSAGES
