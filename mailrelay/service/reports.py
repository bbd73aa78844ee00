"""Reports, composed: what is recorded for them, their making, and those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from publicsuffixlist import PublicSuffixList
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from typing_extensions import override

from mailrelay.acceptance.signing import Signing
from mailrelay.config.settings import Settings
from mailrelay.directory.model import Directory
from mailrelay.mailauth.dmarc_result import DMARCResult
from mailrelay.net.http import ClientSettings, HTTPClient
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls
from mailrelay.observe.metrics import Metrics
from mailrelay.outbound.tls_result import TLSResult
from mailrelay.queue.entry import NewMessage
from mailrelay.reporting.daily import Daily
from mailrelay.reporting.destinations import Wanted
from mailrelay.reporting.letter import Identity
from mailrelay.reporting.making import Making, Surrounding
from mailrelay.reporting.model import Kind
from mailrelay.reporting.receiving import Addresses, Receiving
from mailrelay.reporting.recorder import Recorder
from mailrelay.reporting.store import DAY
from mailrelay.storage.report_results import DatabaseResults, Judged, Session
from mailrelay.storage.reports import DatabaseReports
from mailrelay.storage.stores import Stores
from mailrelay.web.request import Route
from mailrelay.webapi.tls_reports import TLSReportDoor

RESULTS_KEPT_FOR = 3 * DAY
"""Seconds; DNS may fail for two days before a report is not made."""


class Reports(MultiService):
    """What a server notes, tells others daily, and keeps of what they tell."""

    def __init__(
        self,
        s: Surroundings,
        settings: Settings,
        stores: Stores,
        directory: Callable[[], Directory],
        signing: Signing,
        metrics: Metrics,
        look_every: float,
    ) -> None:
        super().__init__()
        self._s, self._settings, self._stores = s, settings, stores
        self._directory, self._signing, self._metrics = directory, signing, metrics
        self._results = DatabaseResults(stores.database, stores.node, s.now)
        self._reports = DatabaseReports(stores.database)
        own = settings.reports
        kinds = ((Kind.DMARC, own.send_dmarc), (Kind.TLS, own.send_tls))
        self._sent = [kind for kind, is_sent in kinds if is_sent and not settings.localserve]
        self.receiving = Receiving(
            self._reports,
            stores.queue,
            directory,
            s.workers,
            s.now,
            Addresses(frozenset(name.lower() for name in own.receive_at)),
            metrics.reported,
        )
        self._judged: Recorder[Judged] = Recorder(s.clock, self._results.record_dmarc)
        self._sessions: Recorder[Session] = Recorder(s.clock, self._results.record_tls)
        self._client = HTTPClient(s.reactor, s.clock, s.resolver, client_tls(), ClientSettings())
        self.makings = [Making(kind, self._surrounding()) for kind in self._sent]
        self.daily = Daily(
            s.clock,
            s.now,
            s.random,
            self.makings,
            self._sweep,
            look_every,
        )
        for service in (self._judged, self._sessions, self.daily):
            service.setServiceParent(self)
        metrics.gauge(
            "mailrelay_report_results_lost",
            "Results that no report will tell of, because the store did not take them",
            lambda: float(self._judged.lost + self._sessions.lost),
        )

    def record_dmarc(self, domain: str, at: float, result: DMARCResult) -> None:
        """Note what was judged of a message of ``domain``, which published the policy."""
        if Kind.DMARC in self._sent:
            self._judged.note((domain, at, result))

    def record_tls(self, result: TLSResult, at: float | None = None) -> None:
        """Note how TLS went with a host, now if not before."""
        if Kind.TLS in self._sent:
            self._sessions.note((self._s.now() if at is None else at, result))

    @property
    def tls_told(self) -> Callable[[TLSResult], object] | None:
        """``record_tls``; None when nobody is told of it."""
        return self.record_tls if Kind.TLS in self._sent else None

    def routes(self) -> Sequence[Route]:
        """Where reports are posted, if that is wanted."""
        if not self._settings.reports.receive_https:
            return []
        return TLSReportDoor(self.receiving.posted).routes()

    def _surrounding(self) -> Surrounding:
        s, stores = self._s, self._stores

        def signed(letter: NewMessage) -> Deferred[NewMessage]:
            return self._signing.signed(letter, letter.content.body or b"")

        return Surrounding(
            store=self._results,
            received=self._reports,
            wanted=Wanted(
                s.resolver.texts,
                self._is_same_organization,
                frozenset(name.lower() for name in self._settings.reports.suppress),
            ),
            identity=self._identity,
            new_id=stores.queue.new_id,
            token=lambda: f"{s.random.getrandbits(128):032x}",
            now=s.now,
            sign=signed,
            executor=s.workers,
            poster=self._client,
            pause=lambda seconds: deferLater(s.clock, seconds),
            told=self._metrics.reported,
        )

    def _identity(self) -> Identity:
        own = self._settings.reports
        domain = own.domain or domain_of_host(self._settings.hostname, self._directory().domains)
        return Identity(domain, own.organization or domain, own.contact)

    async def _is_same_organization(self, one: str, other: str) -> bool:
        return await self._s.workers.run(_is_same_organization, one, other)

    async def _sweep(self) -> bool:
        own, now = self._settings.reports, self._s.now()
        before = now - own.keep_after
        more = await self._results.sweep(now - RESULTS_KEPT_FOR, before)
        return await self._reports.sweep(before, own.most) or more

    @override
    def stopService(self) -> Deferred[object]:
        """What was noted is written, what is on its way to others is given up."""
        stopping: Deferred[object] = super().stopService()
        return stopping.addCallback(lambda _: self._client.close())


def domain_of_host(hostname: str, domains: Iterable[str]) -> str:
    """That of ``domains`` which ``hostname`` is or is in, the longest; else itself."""
    within = [name for name in domains if hostname == name or hostname.endswith(f".{name}")]
    return max(within, key=len, default=hostname)


def _is_same_organization(one: str, other: str) -> bool:
    """In a thread: the list is long, and read once."""
    known = _suffixes()
    own = known.privatesuffix(one)
    return own is not None and own == known.privatesuffix(other)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
