"""Watching lists for our own addresses, while the server runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.application.internet import TimerService
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.config.settings import Settings
from mailrelay.control.listings import LEAST_BETWEEN, MOST_BETWEEN, Listing, ListWatch, is_due
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.metrics import Metrics
from mailrelay.queue.store import StoreUnavailable
from mailrelay.service.domain_dns import mail_host
from mailrelay.storage.listings import DatabaseListings
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import repeated

LOOK_EVERY = 60.0
"""Seconds between two looks at whether it is time."""

_log = Logger()


@define
class ListingService:
    """Asks when it is time; ``attempts`` counts those of deliveries since the server started."""

    watch: ListWatch
    seconds: Callable[[], float]
    attempts: Callable[[], int]
    _found: Sequence[Listing] = field(default=(), init=False)
    _last: float | None = field(default=None, init=False)
    _attempts_then: int = field(default=0, init=False)

    @property
    def listed(self) -> int:
        """On how many lists an address of ours is."""
        return sum(one.is_listed for one in self._found)

    def turn(self) -> Deferred[object]:
        """Ask if it is time."""
        return Deferred.fromCoroutine(self._turn())

    async def _turn(self) -> None:
        try:
            if self._last is None:
                await self._begin()
            sent = self.attempts() - self._attempts_then
            if is_due(self.seconds() - (self._last or 0.0), sent):
                self._last, self._attempts_then = self.seconds(), self.attempts()
                self._found = await self.watch.look()
        except (StoreUnavailable, LookupFailed, NoSuchDomain) as error:
            self._last = self.seconds() - MOST_BETWEEN + LEAST_BETWEEN
            _log.warn("watched lists cannot be asked: {reason}", reason=str(error))

    async def _begin(self) -> None:
        """Go on where a process before this one was."""
        known = await self.watch.records.load()
        self._found = [one for one in known if one.zone in self.watch.zones]
        missing = set(self.watch.zones) - {one.zone for one in self._found}
        oldest = min((one.checked_at for one in self._found), default=0.0)
        age = MOST_BETWEEN if missing else max(0.0, self.watch.now() - oldest)
        self._last = self.seconds() - min(age, MOST_BETWEEN)


def make_listings(
    s: Surroundings, settings: Settings, stores: Stores, metrics: Metrics
) -> Sequence[IService]:
    """The service, when there is something to watch."""
    if not settings.dnsbl.watched:
        return ()

    async def addresses() -> Sequence[str]:
        host, _ = mail_host(settings)
        if host.addresses:
            return host.addresses
        return await s.resolver.addresses(settings.hostname, ipv4=True, ipv6=True)

    records = DatabaseListings(stores.database)
    watch = ListWatch(records, s.resolver, settings.dnsbl.watched, addresses, s.now)
    listing = ListingService(watch, s.clock.seconds, lambda: metrics.attempt_seconds.count)
    metrics.gauge(
        "mailrelay_dnsbl_listed",
        "Entries for our addresses on the lists that are watched",
        lambda: listing.listed,
    )
    service: TimerService = repeated(s.clock, LOOK_EVERY, listing.turn, _log)
    return [service]
