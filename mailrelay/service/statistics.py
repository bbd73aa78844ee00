"""Statistics, composed: events are counted as time goes by, and the API tells the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.config.settings import Settings
from mailrelay.control.statistics import StatisticsControl
from mailrelay.net.surroundings import Surroundings
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import Intervals, repeated
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.statistics import StatisticsOperations

BATCHES_A_TURN = 20
"""Of events: what an upgrade finds is counted beside the mail that comes, not before it."""

SWEEP_EVERY = 600.0
"""Seconds."""


def counting_service(
    s: Surroundings, settings: Settings, stores: Stores, intervals: Intervals, log: Logger
) -> IService:
    """Counts what is new, and removes what is old."""
    control = StatisticsControl(stores.statistics, s.now)

    async def count() -> None:
        with suppress(StoreUnavailable):  # the next turn counts it
            await control.catch_up(BATCHES_A_TURN)

    async def sweep() -> None:
        with suppress(StoreUnavailable):
            await control.sweep(settings.queue.statistics_keep_after)

    def counting() -> Deferred[object]:
        return Deferred.fromCoroutine(count())

    def sweeping() -> Deferred[object]:
        return Deferred.fromCoroutine(sweep())

    both = MultiService()
    for every, work in ((intervals.statistics, counting), (SWEEP_EVERY, sweeping)):
        repeated(s.clock, every, work, log).setServiceParent(both)
    return both


def statistics_operations(s: Surroundings, stores: Stores) -> Sequence[Operation]:
    """The numbers of an account."""
    return StatisticsOperations(StatisticsControl(stores.statistics, s.now), s.now).operations()
