"""The certificates of the listeners while the server runs: files are watched, ACME orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.application.internet import TimerService
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.certificates.challenges import PATH, Challenges
from mailrelay.certificates.desk import CertificateDesk
from mailrelay.certificates.held import Certificates, Place
from mailrelay.certificates.pair import DAY, Pair
from mailrelay.certificates.renewal import is_ending
from mailrelay.certificates.store import ACMEStore, Standings
from mailrelay.config.settings import Settings
from mailrelay.config.tls_checks import place_of
from mailrelay.directory.model import Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import UnusableCertificate
from mailrelay.observe.metrics import Metrics
from mailrelay.web.request import Request, Response, Route

if TYPE_CHECKING:
    from mailrelay.service.acme import Renewals

_log = Logger()

LOOK_EVERY = 10.0
"""Seconds between two looks at the files, and after what is to be ordered."""


class CertificateService(TimerService):
    """Looks at the files, and after what is to be ordered, every ``LOOK_EVERY`` seconds.

    ``certificates`` is the same object as long as the server runs: who has it shows what holds.
    """

    def __init__(
        self, s: Surroundings, settings: Settings, directory: Callable[[], Directory]
    ) -> None:
        super().__init__(LOOK_EVERY, self._looked)
        self.clock = s.clock
        self._s, self._settings, self._directory = s, settings, directory
        self._challenges = Challenges()
        self._store = ACMEStore(settings.data_dir)
        self.renewals: Renewals | None = None
        self.certificates = Certificates(
            settings.hostname, place_of(settings), self._challenges, s.now
        )
        self._told: dict[Pair, float] = {}
        self._ordering: Deferred[None] | None = None

    @property
    def in_use(self) -> Certificates | None:
        """None when there is to be no TLS."""
        is_none = self._place.is_empty and self._settings.acme is None
        return None if is_none else self.certificates

    def load(self) -> None:
        """Read everything.  Blocks: at start, before the reactor runs.

        Raises: UnusableCertificate.
        """
        if self._settings.acme is not None:
            self._prepare_acme()
        self.certificates.load()
        for pair in self.certificates.pairs:
            host = self._settings.hostname if pair.source == str(self._place.main) else ""
            for fault in pair.faults(self._s.now(), host):
                _log.warn(
                    "the certificate in {name}: {reason}", name=pair.source, reason=fault.value
                )

    @property
    def _place(self) -> Place:
        return self.certificates.place

    def _prepare_acme(self) -> None:
        from mailrelay.service.acme import Names, Renewals

        settings, s = self._settings, self._s
        assert settings.acme is not None
        try:
            self._store.prepare()
            self.certificates.ordered.update(self._store.pairs())
            self.certificates.last_resort = self._store.self_signed(settings.hostname, s.now())
        except OSError as error:
            raise UnusableCertificate(f"{error.filename}: {error.strerror}") from error
        self.renewals = Renewals(
            s,
            settings.acme,
            self._store,
            self.certificates,
            Names(s, settings.acme, settings.hostname, self._directory),
            standings=self._store.standings(),
        )

    def reload(self, settings: Settings) -> None:
        """Take what ``[tls]`` says now.  Blocks.

        Raises: UnusableCertificate; then everything stays as it was.
        """
        self.certificates.load(place_of(settings))
        self._settings = settings

    @override
    def stopService(self) -> Deferred[None]:
        """An order under way is given up: the next start begins anew."""
        if self._ordering is not None:
            self._ordering.cancel()
        stopping: Deferred[None] = super().stopService()
        return stopping

    def _looked(self) -> Deferred[None]:
        if self.renewals is not None and self._ordering is None:
            self._ordering = Deferred.fromCoroutine(self.renewals.look())
            self._ordering.addErrback(_not_looked).addBoth(self._ordered)
        return Deferred.fromCoroutine(self.look()).addErrback(_not_looked)

    def _ordered(self, _: object) -> None:
        self._ordering = None

    async def look(self) -> None:
        """Look at the files once.  An order may take minutes: nothing here waits for it."""
        certificates, place = self.certificates, self._place
        found = await self._s.workers.run(certificates.look, place, certificates.seen)
        certificates.looked(place, found)
        self._warn()

    def _warn(self) -> None:
        """Say once a day which end soon."""
        now, ending = self._s.now(), self.ending()
        self._told = {pair: at for pair, at in self._told.items() if pair in ending}
        for pair in ending:
            if now - self._told.get(pair, 0.0) >= DAY:
                self._told[pair] = now
                _log.error(
                    "the certificate in {name} ends in {days} days",
                    name=pair.source,
                    days=round((pair.ends - now) / DAY, 1),
                )

    def ending(self) -> Sequence[Pair]:
        """Those that somebody should look after."""
        now, days = self._s.now(), self._settings.tls.warn_days
        left = () if self.renewals is None else self.renewals.unwanted()
        found = [pair for pair in self.certificates.pairs if pair not in left]
        return [pair for pair in found if is_ending(pair, now, days)]

    # What is seen of it

    def routes(self) -> Sequence[Route]:
        """Where an authority looks for http-01."""
        if self._settings.acme is None:
            return ()
        return [Route(("GET", "HEAD"), PATH, self._challenge)]

    async def _challenge(self, request: Request) -> Response:
        answer = self._challenges.answer(request.params["token"])
        if answer is None:
            return Response.text(404, "404 - not found\n")
        return Response(200, answer, content_type="application/octet-stream")

    def add_gauges(self, metrics: Metrics) -> None:
        """Have ``metrics`` tell of it."""
        gauge, now = metrics.gauge, self._s.now
        gauge(
            "mailrelay_tls_days_left",
            "Until the first certificate in use ends",
            lambda: min((p.ends - now() for p in self.certificates.pairs), default=0.0) / DAY,
        )
        gauge("mailrelay_tls_ending", "Certificates that end soon", lambda: len(self.ending()))
        gauge(
            "mailrelay_tls_files_broken",
            "Files that cannot be used; what was read before is",
            lambda: len(self.certificates.broken),
        )
        gauge(
            "mailrelay_acme_failing",
            "Names whose last order failed",
            lambda: 0 if self.renewals is None else self.renewals.failing,
        )


def open_certificates(
    settings: Settings, now: Callable[[], float]
) -> tuple[Certificates, Standings]:
    """What a server of ``settings`` shows, as its files say now.  Blocks; writes nothing.

    Raises: UnusableCertificate when the directory cannot be read.
    """
    place = place_of(settings)
    certificates = Certificates(settings.hostname, place, Challenges(), now)
    standings: Standings = {}
    if settings.acme is not None:
        store = ACMEStore(settings.data_dir)
        certificates.ordered.update(store.pairs())
        certificates.last_resort = store.kept_self_signed()
        standings = store.standings()
    certificates.take(certificates.look(place, {}))
    return certificates, standings


def certificate_desk(settings: Settings, now: Callable[[], float]) -> CertificateDesk:
    """What operators ask."""
    store = None if settings.acme is None else ACMEStore(settings.data_dir)
    return CertificateDesk(
        settings.hostname,
        settings.tls.warn_days,
        lambda: open_certificates(settings, now),
        store,
    )


def _not_looked(failure: Failure) -> None:
    if failure.check(CancelledError) is None:
        _log.failure("certificates cannot be looked after", failure)
