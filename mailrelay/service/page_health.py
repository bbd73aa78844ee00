"""What the health page tells, composed: samples of the metrics, the queue, the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.application.service import IService
from twisted.logger import Logger

import mailrelay
from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.metrics import Metrics
from mailrelay.observe.sampling import EVERY, Sampler, resident_bytes
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.pages.health import About, HealthPages, QueueNow
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import queue_sizes, repeated
from mailrelay.web.monitor import Health
from mailrelay.web.request import Route

_log = Logger()


@frozen
class Watch:
    """Knows how the process was; ``service`` runs with the server."""

    metrics: Metrics
    health: Callable[[], Health]
    sampler: Sampler
    service: IService
    started_at: float


def make_watch(s: Surroundings, metrics: Metrics, health: Callable[[], Health]) -> Watch:
    """For one process, from now on."""
    sampler = Sampler(metrics, s.now, s.workers, resident_bytes)
    service = repeated(s.clock, EVERY, sampler.turn, _log)
    return Watch(metrics, health, sampler, service, s.now())


def health_routes(
    s: Surroundings, settings: Settings, stores: Stores, watch: Watch, page_doors: PageDoors
) -> Sequence[Route]:
    """The page."""

    async def queue() -> QueueNow:
        now = s.now()
        return QueueNow(*await stores.database.read(lambda c: queue_sizes(c, now)))

    store = "SQLite" if stores.database.is_sqlite else "PostgreSQL"
    about = About(mailrelay.__version__, settings.node, watch.started_at, store)
    return HealthPages(
        page_doors,
        about,
        watch.health,
        watch.metrics.value,
        lambda: watch.sampler.samples,
        queue,
        s.now,
    ).routes()
