"""Who is asked about mail of strangers while it comes, composed of what is configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.acceptance.exempting import Exempting
from mailrelay.acceptance.first_time import FirstTime, KnownSenders
from mailrelay.acceptance.greylisting import Greylist
from mailrelay.acceptance.judging import Judge
from mailrelay.acceptance.peer_judges import DomainRate, Listed
from mailrelay.acceptance.rspamd import MOST_ANSWER_BYTES, Rspamd
from mailrelay.acceptance.screening import Screening, TurnedAway
from mailrelay.config.settings import ListenerSection, Settings
from mailrelay.directory.model import Directory
from mailrelay.inbound.context import Role
from mailrelay.net.http import ClientSettings, HTTPClient
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls
from mailrelay.observe.maillog import MailLog, NotTaken
from mailrelay.observe.metrics import Metrics
from mailrelay.policy.blocklists import Blocklists
from mailrelay.policy.rates import Rates, SenderLimits
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.greylist import DatabaseGreylist
from mailrelay.storage.known_senders import DatabaseKnownSenders
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import repeated

SWEEP_EVERY = 60.0
SWEEP_BATCH = 2000

_log = Logger()


@frozen(kw_only=True)
class Incoming:
    """``screening`` is None where nothing is asked; ``services`` start and stop with the server.

    ``judges`` follow those of authentication; ``turned_away`` hears of what any of them refuses.
    """

    turned_away: Telling
    screening: Screening | None = None
    judges: Sequence[Judge] = ()
    services: Sequence[IService] = ()
    close: Callable[[], Deferred[None]] = lambda: succeed(None)

    def screening_of(self, section: ListenerSection) -> Screening | None:
        """What is asked at a listener."""
        return self.screening if section.role == Role.MX.value else None

    def judges_of(self, section: ListenerSection) -> Sequence[Judge]:
        """Who judges what comes in at a listener."""
        return self.judges if section.role == Role.MX.value else ()


def make_incoming(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    directory: Callable[[], Directory],
    token: Callable[[], str],
    telling: Telling,
) -> Incoming:
    """What the settings ask for."""
    made = _Parts(s, settings, stores, directory, token)
    lists, rates, greylist = made.lists(), made.rates(), made.greylist()
    screened = (lists, rates if settings.sender_limits.judges_peers else None)
    screening = None
    if any(part is not None for part in (*screened, made.greylist_of_all(greylist))):
        screening = Screening(telling, *screened, made.greylist_of_all(greylist))
    judges: list[Judge] = []
    if lists is not None and settings.dnsbl.may_junk:
        judges.append(Listed(lists))
    if rates is not None and settings.sender_limits.messages_per_domain:
        judges.append(DomainRate(rates))
    rspamd, close = made.rspamd(greylist)
    if rspamd is not None:
        judges.append(rspamd)
    first = made.first_time()
    if first is not None:
        judges.append(first)
    return Incoming(
        turned_away=telling,
        screening=screening,
        judges=judges,
        services=made.services,
        close=close,
    )


@frozen
class _Parts:
    """Each of them, None when it is not configured."""

    s: Surroundings
    settings: Settings
    stores: Stores
    directory: Callable[[], Directory]
    token: Callable[[], str]
    services: list[IService] = field(factory=list)
    known: KnownSenders = field(init=False)

    def __attrs_post_init__(self) -> None:
        store = DatabaseKnownSenders(self.stores.database)
        known_for = self.settings.first_time_senders.known_for
        object.__setattr__(self, "known", KnownSenders(store, self.s.now, known_for))

    def lists(self) -> Blocklists | None:
        dnsbl, s = self.settings.dnsbl, self.s
        return Blocklists(dnsbl, s.judging, s.clock) if dnsbl.zone else None

    def rates(self) -> Rates | None:
        limits = self.settings.sender_limits
        return Rates(limits, self.s.clock.seconds) if limits != SenderLimits() else None

    def greylist(self) -> Greylist | None:
        """For all mail, or for what rspamd would see again."""
        settings, stores, s = self.settings, self.stores, self.s
        if not (settings.greylisting.enabled or settings.rspamd.url):
            return None
        store = DatabaseGreylist(stores.database)
        made = Greylist(settings.greylisting, store, s.now, stores.secret, self.exempt())
        self.services.append(_swept(s, made.sweep))
        return made

    def exempt(self) -> Exempting | None:
        settings, s = self.settings.greylisting, self.s
        if not (settings.skip_named or settings.skip_known):
            return None
        resolver = s.judging
        return Exempting(settings, resolver, s.clock, self.directory, self.known)

    def greylist_of_all(self, greylist: Greylist | None) -> Greylist | None:
        return greylist if self.settings.greylisting.enabled else None

    def rspamd(
        self, greylist: Greylist | None
    ) -> tuple[Rspamd | None, Callable[[], Deferred[None]]]:
        """And what closes its connections."""
        settings, s = self.settings, self.s
        if not settings.rspamd.url or greylist is None:
            return None, lambda: succeed(None)
        everywhere = ClientSettings(
            allowed_networks=("0.0.0.0/0", "::/0"), most_body_bytes=MOST_ANSWER_BYTES
        )
        http = HTTPClient(s.reactor, s.clock, s.resolver, client_tls(), everywhere)
        made = Rspamd(settings.rspamd, http, settings.hostname, self.token, greylist)
        return made, http.close

    def first_time(self) -> FirstTime | None:
        settings, s = self.settings.first_time_senders, self.s
        if not settings.delay:
            return None
        made = FirstTime(settings, self.known, self.directory, s.clock)
        self.services.extend((made, _swept(s, self.known.sweep)))
        return made


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
