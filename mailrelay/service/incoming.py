"""Who is asked about mail of strangers while it comes, composed of what is configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.acceptance.greylisting import Greylist
from mailrelay.acceptance.screening import Screening, TurnedAway
from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.maillog import MailLog, NotTaken
from mailrelay.observe.metrics import Metrics
from mailrelay.policy.blocklists import Blocklists
from mailrelay.policy.rates import Rates
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.greylist import DatabaseGreylist
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import repeated

SWEEP_EVERY = 60.0
SWEEP_BATCH = 2000

_log = Logger()


@frozen
class Incoming:
    """``screening`` is None where nothing is asked; ``services`` start and stop with the server."""

    screening: Screening | None
    services: Sequence[IService] = field(factory=tuple)


def make_incoming(
    s: Surroundings, settings: Settings, stores: Stores, log: MailLog, metrics: Metrics
) -> Incoming:
    """What the settings ask for."""
    lists = Blocklists(settings.dnsbl, s.resolver, s.clock) if settings.dnsbl.zone else None
    limits, seconds = settings.sender_limits, s.clock.seconds
    rates = Rates(limits, seconds) if limits.judges_peers else None
    greylist, services = None, MultiService()
    if settings.greylisting.enabled:
        store = DatabaseGreylist(stores.database)
        greylist = Greylist(settings.greylisting, store, s.now, stores.secret)
        _swept(s, greylist.sweep).setServiceParent(services)
    if lists is None and rates is None and greylist is None:
        return Incoming(None)
    told = Telling(s.now, log, metrics)
    return Incoming(Screening(told, lists, rates, greylist), [services])


@frozen
class Telling:
    """Tells the mail log and the metrics of what was refused."""

    now: Callable[[], float]
    log: MailLog
    metrics: Metrics

    def __call__(self, one: TurnedAway) -> None:
        """Tell."""
        reply, path = one.reply, one.reverse_path
        data = {
            "door": "mx",
            "recipient": str(one.recipient) if one.recipient is not None else None,
            "reverse_path": str(path) if path is not None else None,
            "peer_ip": one.peer_ip,
            "code": reply.code,
            "status": str(reply.status),
            "reply": reply.text,
            "reason": one.reason,
        }
        self.log.record([NotTaken(self.now(), data)])
        self.metrics.turned_away(one.reason)


def _swept(s: Surroundings, sweep: Callable[[int], Deferred[int]]) -> IService:
    """Forgets what is over, some at a time."""

    def work() -> Deferred[object]:
        def again(count: int) -> object:
            return work() if count >= SWEEP_BATCH and service.running else None

        return sweep(SWEEP_BATCH).addCallback(again).addErrback(_unless_unavailable)

    service = repeated(s.clock, SWEEP_EVERY, work, _log)
    return service


def _unless_unavailable(failure: Failure) -> None:
    failure.trap(StoreUnavailable)
