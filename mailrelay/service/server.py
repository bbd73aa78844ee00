"""Settings and surroundings into a running server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from typing_extensions import override

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.copies import report_copies
from mailrelay.acceptance.making import Making
from mailrelay.acceptance.passing import PassingOn
from mailrelay.acceptance.refusal import STORE_FULL
from mailrelay.config.convert import (
    listener_settings,
    queue_settings,
    relay_place,
    routing_settings,
)
from mailrelay.config.settings import HTTP_ROLES, ListenerSection, Settings
from mailrelay.directory.login import Authenticator
from mailrelay.directory.model import Directory
from mailrelay.handoff.settings import handed_off
from mailrelay.inbound.auth import submission_portal
from mailrelay.inbound.context import Context, Counters, LiveSession
from mailrelay.inbound.factory import smtp_factory
from mailrelay.message.srs import SRS
from mailrelay.net.listening import CannotListen, Listener
from mailrelay.net.privileges import CannotDropPrivileges, drop_privileges
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.threads import Draining
from mailrelay.net.tls import UnusableCertificate
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.observe.maillog import MailLog, append_text
from mailrelay.observe.metrics import Metrics
from mailrelay.policy.limits import SHUTTING_DOWN, ConnectionCount
from mailrelay.policy.networks import TrustedNetworks
from mailrelay.policy.report_rate import ReportRate
from mailrelay.queue.content_cache import ContentCache
from mailrelay.queue.report import Reporter
from mailrelay.queue.scheduler import Outside, Scheduler
from mailrelay.queue.transport import Job, Result, Transport
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.routing.router import Router
from mailrelay.service.application import Doors, api_routes, make_intake, make_webapi
from mailrelay.service.calls import make_calls
from mailrelay.service.certificates import CertificateService
from mailrelay.service.clients import autoconfig_routes
from mailrelay.service.dkim import KeyService, make_signing
from mailrelay.service.explaining import StateNow, server_explain
from mailrelay.service.fixed import Origin, running_configuration, with_fixed
from mailrelay.service.gauges import Watched, add_gauges
from mailrelay.service.handing_in import make_handing_in
from mailrelay.service.incoming import Telling, make_incoming
from mailrelay.service.judging import make_judges
from mailrelay.service.listings import make_listings
from mailrelay.service.lists import Lists
from mailrelay.service.mta_sts_site import mta_sts_routes
from mailrelay.service.page_health import make_watch
from mailrelay.service.pages import page_routes, serves_pages
from mailrelay.service.peers_in import PeerDoors, PeersIn
from mailrelay.service.relaying import Relaying
from mailrelay.service.reports import Reports
from mailrelay.service.server_controls import server_controls
from mailrelay.service.sites import Sites
from mailrelay.service.snapshots import Snapshots
from mailrelay.service.statistics import counting_service
from mailrelay.service.stopping import in_turn, when_empty
from mailrelay.service.synchronous import make_synchronous
from mailrelay.service.ways_out import WaysOut
from mailrelay.service.works import make_works
from mailrelay.service.zotonic import ZotonicSites
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply
from mailrelay.storage.database import UnusableDatabase
from mailrelay.storage.keys import KeyUses
from mailrelay.storage.space import SpaceWatch
from mailrelay.storage.stores import Stores, Threads, open_stores
from mailrelay.storage.upkeep import Intervals, Upkeep, queue_sizes, repeated
from mailrelay.web.intake import Intake
from mailrelay.web.monitor import Health, Monitor
from mailrelay.web.request import Route

_log = Logger()

STARTUP_ERRORS = (
    *(UnusableDatabase, UnusableCertificate, CannotListen, CannotDropPrivileges),
    *(RelayProblem,),
)
"""What an operator did or can mend: the message is enough, no traceback."""

KEY_USES_EVERY = 60.0
"""Seconds after which it is written when keys were used."""

_CONTENT_NOT_NEEDED = (
    *(EventKind.DELIVERED, EventKind.HANDED_OVER),
    *(EventKind.FAILED, EventKind.SUPPRESSED),
)


class Server(MultiService):
    """The whole server.  ``privilegedStartService`` binds, ``startService`` does the rest."""

    intervals = Intervals()
    origin = Origin()

    def __init__(
        self,
        surroundings: Surroundings,
        settings: Settings,
        standard_output: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        self._append = partial(append_text, standard_output=standard_output)
        self._workers = Draining(surroundings.workers)
        self._s, self._settings = evolve(surroundings, workers=self._workers), settings
        self.listeners = [
            Listener(serverFromString(surroundings.reactor, section.endpoint), section.endpoint)
            for section in settings.listener
        ]
        for listener in self.listeners:
            listener.setServiceParent(self)
        self._sessions: set[LiveSession] = set()
        self.metrics = Metrics()
        self.tls = CertificateService(self._s, settings, lambda: self.directory)
        self._trusted = TrustedNetworks.of(settings.trusted_networks)
        self._routing = routing_settings(settings)
        self._report_rate = ReportRate(
            surroundings.now, lambda: self._settings.queue.reports_per_hour
        )

    # Start

    @override
    def startService(self) -> None:
        """Drop privileges, open the stores, serve.  Blocks: the reactor does not run yet.

        Raises: what STARTUP_ERRORS names.
        """
        settings = self._settings
        for listener in self.listeners:
            listener.startService()
            _ = listener.port  # raises when it is not bound
        if settings.run_as:
            drop_privileges(settings.run_as, settings.data_dir)
        self.tls.load()
        self._open()
        self._wire()
        self._serve()
        super().startService()

    def _open(self) -> None:
        s = self._s
        threads = Threads(
            s.writer,
            s.workers,
            self._token,
            self.metrics.committed,
            s.clock.seconds,
            s.clock.callLater,
        )
        settings = self._settings
        with suppress(OSError):  # the store says what is wrong
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stores: Stores = open_stores(
            settings.storage.url, settings.data_dir, settings.node, threads, s.now()
        )
        self._known = Snapshots(self.stores, s.now, handed_off(settings.handoff))

    @property
    def directory(self) -> Directory:
        """Whom it serves, as of now."""
        return self._known.directory

    def _token(self) -> str:
        return f"{self._s.random.getrandbits(128):032x}"

    def _wire(self) -> None:
        s, settings, stores = self._s, self._settings, self.stores
        self._bell = Bell(s.clock)
        self._cache = ContentCache(stores.queue.content)
        self._mail_log = MailLog(
            settings.log.mail_log, settings.log.format, s.clock, s.workers, self._append
        )
        self._space = SpaceWatch(
            settings.data_dir,
            settings.storage.min_free_bytes,
            s.clock,
            s.workers,
            self.intervals.space,
        )
        stores.queue.committed = self._committed
        stores.mailboxes.committed = self._arrived
        self._relaying = Relaying(
            relay_place(settings.relaying), lambda: self.directory, s.clock, s.workers
        )
        self._relaying.load()
        self._wire_queue()
        self._wire_doors()
        self._start_with_it()

    def _wire_queue(self) -> None:
        """What decides where entries go, and attempts them."""
        s, settings, stores, known = self._s, self._settings, self.stores, self._known
        self._signing = make_signing(s, settings, stores, lambda: self.directory)
        self.reports = Reports(
            *(s, settings, stores, lambda: self.directory, self._signing),
            *(self.metrics, self.intervals.reports),
        )
        self._reporter = Reporter(
            settings.hostname,
            stores.queue,
            s.now,
            self._token,
            lambda entry: report_copies(self.directory, stores.queue.new_id, entry),
            lambda path: self._acceptance.making.returning.owner(self.directory, path, s.now()),
            self._signing.own,
            self._report_turn,
        )
        self._ways = WaysOut(
            *(s, settings, stores, self._cache, self.listeners, lambda: self.directory),
            self._token,
            self._committed,
            self.reports,
        )
        self._router = Router(
            lambda: self._routing,
            lambda: self.directory,
            known.suppressed,
            self._relaying.rules,
            self._ways.peers.standing.is_away,
        )
        self.scheduler = Scheduler(
            Outside(
                clock=s.clock,
                now=s.now,
                # Jitter needs no secrecy, and the system's source is a call into the kernel.
                random=Random(s.random.getrandbits(64)),
                store=stores.queue,
                route=self._router,
                transport=self._transport(),
                reporter=self._reporter,
                epoch=lambda: stores.node.epoch,
                attempted=self._attempted,
                is_held=known.is_held,
                account_kept_for=known.account_kept_for,
            ),
            queue_settings(settings.queue),
        )

    def _wire_doors(self) -> None:
        """What takes messages, and tells of them."""
        s, settings, stores, known = self._s, self._settings, self.stores, self._known
        self._lists = Lists(
            *(s, settings, stores, lambda: self.directory, self.scheduler, self._committed),
            self._signing.own,
        )
        making = Making(
            settings.hostname,
            lambda: self.directory,
            s.now,
            self._token,
            stores.queue.new_id,
            self.scheduler.admit,
            settings.limits.received_fields,
            passing=PassingOn(SRS(stores.secret), settings.forwarding),
            list_link=self._lists.link,
            report_turn=self._report_turn,
        )
        self._acceptance = Acceptance(
            making,
            stores.queue,
            self.scheduler.enqueue,
            self._cache.remember,
            self._signing,
            self._lists.failed_late,
        )
        self.keys = KeyService(s, stores, lambda: self.directory)
        self._key_uses = KeyUses(stores.database, s.now)
        self._authenticator = Authenticator(
            lambda: self.directory,
            s.workers,
            settings.login,
            s.clock.seconds,
            stores.secret,
            s.now,
            self._key_uses.note,
        )
        self.calls, self._http_client = make_calls(s, settings, stores, known, self.metrics)
        self._connections = ConnectionCount()
        self._incoming = make_incoming(
            *(s, settings, stores, lambda: self.directory, self._token),
            Telling(s.now, self._mail_log, self.metrics),
        )
        self._handing_in = make_handing_in(
            *(s, settings, lambda: self._settings.handoff_in, stores),
            *(lambda: self._acceptance, lambda: self.directory, known.daily.refuse),
            self._hand_in_trouble,
        )
        self._peers_in = PeersIn(s, settings, stores, self._peer_doors())
        self._watch = make_watch(s, self.metrics, self.health)
        application = self._application_doors()
        control = server_controls(s, settings, stores, application)
        self._works = make_works(s, stores, control)
        intake = make_intake(s, settings, self._token)
        self._sites = Sites(
            s,
            settings,
            self._sessions,
            self.metrics.answered,
            Monitor(self.health, self._scrape),
            self._application_routes(application, intake),
            self._handing_in.routes,
            lambda proxied: [*self._peers_in.routes(proxied), *self._zotonic.routes(proxied)],
            page_routes(s, settings, stores, application, intake, self._watch, control),
            autoconfig_routes(settings, lambda: self.directory),
            [*self.tls.routes(), *mta_sts_routes(settings.hostname, lambda: self.directory)],
        )
        self._counters = Counters(on_accept=self.metrics.accept_seconds.observe)

    def _start_with_it(self) -> None:
        """What starts and stops with the server, and what is seen of it all."""
        s, settings, stores = self._s, self._settings, self.stores
        upkeep = Upkeep(
            stores.database,
            stores.node,
            s.clock,
            s.now,
            self._changed,
            stores.spool.remove,
            self.intervals,
            stores.orphans,
            lambda: self._space.is_short,
        )
        uses = repeated(s.clock, KEY_USES_EVERY, self._key_uses.write, _log)
        counting = counting_service(s, settings, stores, self.intervals, _log)
        for service in (
            self._mail_log,
            self._space,
            self._relaying,
            self.tls,
            *(self._ways.peers.feeds, self._ways.peers.sharing, self._ways.tls),
            self._peers_in.pusher(self._ways.peers.client, self.metrics),
            self._peers_in.upkeep(self._committed, self.metrics),
            self.scheduler,
            self.calls,
            self._handing_in.rounds,
            upkeep,
            uses,
            counting,
            self.keys,
            self._works,
            *self._incoming.services,
            *make_listings(s, settings, stores, self.metrics),
            self.reports,
            *([self._watch.service] if serves_pages(settings) else []),
        ):
            service.setServiceParent(self)
        self.tls.add_gauges(self.metrics)
        add_gauges(
            self.metrics,
            Watched(
                connections=self._connections,
                counters=self._counters,
                sites=self._sites,
                scheduler=self.scheduler,
                ways=self._ways,
                relaying=self._relaying,
                space=self._space,
                mail_log=self._mail_log,
            ),
        )

    def _peer_doors(self) -> PeerDoors:
        return PeerDoors(
            self._acceptance,
            self._authenticator,
            self._known,
            self._bell,
            self._store_trouble,
            self._reporter,
            self._ways.peers.feeds.record,
        )

    def _application_doors(self) -> Doors:
        return Doors(
            self._acceptance,
            self._authenticator,
            lambda: self.directory,
            self._known.daily.refuse,
            self._known.suppressed,
            self._token,
            self._known.load_directory,
            self._bell,
            self._committed,
            self._reporter,
            server_explain(
                *(self._s, self._settings, self.stores, self._router),
                *(self._known, self.scheduler, self._ways.health),
            ),
            lambda: running_configuration(self._settings, self.origin),
            StateNow(self.scheduler, self._ways.health, self._s.clock.seconds),
        )

    def _application_routes(self, doors: Doors, intake: Intake) -> Sequence[Route]:
        webapi = make_webapi(self._s, self._settings, self.stores, doors, intake, self.metrics)
        self._zotonic = ZotonicSites(
            *(self._s, self._settings, self.stores, doors, intake),
            self._store_trouble,
            self._ways.peers.clients.of,
        )
        self._zotonic.setServiceParent(self)
        lists, reports = self._lists.routes(intake), self.reports.routes()
        return [*webapi.routes(), *lists, *reports, *self._api(doors, intake)]

    def _api(self, doors: Doors, intake: Intake) -> Sequence[Route]:
        s, settings = self._s, self._settings
        return api_routes(s, settings, self.stores, doors, intake, self.metrics)

    def _transport(self) -> Transport:
        return self._ways.transport

    # Serving

    def _serve(self) -> None:
        for section, listener in zip(self._settings.listener, self.listeners, strict=True):
            listener.serve(self._factory(section))

    def _factory(self, section: ListenerSection) -> IProtocolFactory:
        if section.role in HTTP_ROLES:
            return self._sites.factory(section, self.tls.certificates)
        return smtp_factory(self._context(section))

    def _context(self, section: ListenerSection) -> Context:
        s = self._s
        return Context(
            hostname=self._settings.hostname,
            listener=listener_settings(section, self._settings),
            clock=s.clock,
            now=s.now,
            acceptance=self._acceptance,
            open_spool=self.stores.spool.open,
            directory=lambda: self.directory,
            is_trusted=self._trusted,
            store_trouble=self._store_trouble,
            over_daily_limit=self._known.daily.refuse,
            connections=self._connections,
            counters=self._counters,
            portal=submission_portal(self._authenticator),
            authenticator=self._authenticator,
            nonce=self._token,
            sessions=self._sessions,
            certificate=self.tls.in_use,
            synchronous=make_synchronous(
                *(self._settings, self.stores, self._acceptance, self._reporter),
                *(self._ways.answering, self._known.account_kept_for, self.metrics),
            ),
            screening=self._incoming.screening_of(section),
            judges=make_judges(
                *(s, self._settings, section, self.stores, self._incoming.turned_away),
                *(self.reports.record_dmarc, self._incoming.judges_of(section)),
            ),
            simulate=self._settings.localserve,
        )

    def _report_turn(self, path: Address) -> float | None:
        """When the next report may go to ``path``: to our own domains at once."""
        is_ours = path.domain in self.directory.domains
        return 0.0 if is_ours else self._report_rate.turn(path.domain)

    def _store_trouble(self) -> Reply | None:
        return STORE_FULL if self._space.is_short else None

    def _hand_in_trouble(self) -> Reply | None:
        return self._store_trouble() if self.running else SHUTTING_DOWN

    # What is told

    def _committed(self, events: Sequence[NewEvent]) -> None:
        self._mail_log.record(events)
        self.metrics.count(events)
        self._bell.ring(event.account_id for event in events)
        self._known.committed(events)
        self._handing_in.rounds.committed(events)
        self._lists.committed(events)
        for event in events:
            account = self.directory.accounts.get(event.account_id or 0)
            if account is not None and account.is_called_for_outgoing:
                self.calls.wake()
            if event.kind in _CONTENT_NOT_NEEDED:
                self._cache.forget(event.message_id)

    def _arrived(self, events: Sequence[NewEvent]) -> None:
        self._committed(events)
        self.calls.wake()

    def _attempted(self, job: Job, result: Result) -> None:
        attempt = result.attempt
        self.metrics.attempt_seconds.observe(max(0.0, attempt.ended_at - attempt.started_at))

    def _changed(self, kinds: set[str]) -> None:
        """Somebody changed the store: the CLI, or another process."""
        self._known.changed(kinds)
        self._bell.ring_all()
        if "transports" in kinds:
            self.scheduler.reclaim()
        if "queue" in kinds:
            self.scheduler.wake()
        if "works" in kinds:
            self._works.wake()
        # An endpoint that is new may have calls that nobody here was told of.
        if kinds & {"queue", "calls", "directory"}:
            self.calls.wake()

    def health(self) -> Health:
        """Whether mail can be accepted now."""
        if not self.running:
            return Health(False, "stopping")
        return Health(False, "no room on the disk") if self._space.is_short else Health(True, "ok")

    async def _scrape(self) -> bytes:
        now = self._s.now()
        sizes, oldest = await self.stores.database.read(lambda c: queue_sizes(c, now))
        self.metrics.queue(sizes, oldest)
        return self.metrics.text()

    # Change and stop

    def reload(self, settings: Settings) -> None:
        """Take what may change while running; the rest is said in the log and needs a restart.

        Raises: UnusableCertificate; then everything stays as it was.
        """
        self.tls.reload(settings)
        self._settings, left = with_fixed(self._settings, settings)
        for name in left:
            _log.warn("{name} changed: restart to use it", name=name)
        self._mail_log.configure(settings.log.mail_log, settings.log.format)
        making = evolve(self._acceptance.making, max_received=settings.limits.received_fields)
        self._acceptance = evolve(self._acceptance, making=making)
        self._trusted = TrustedNetworks.of(settings.trusted_networks)
        self._routing = routing_settings(settings)
        self._relaying.reconfigure(relay_place(settings.relaying))
        self.scheduler.reconfigure(queue_settings(settings.queue))
        self._serve()
        self.scheduler.wake()

    @override
    def stopService(self) -> Deferred[Any]:
        """Listeners close, transactions under way end within the grace period, all is recorded."""
        if not self.running:
            stopping_before: Deferred[Any] = super().stopService()
            return stopping_before
        abort = self._s.clock.callLater(self._settings.stop_grace, self._abort)
        for session in list(self._sessions):
            session.leave()
        stopping: Deferred[Any] = super().stopService()
        self._bell.close()
        self._ways.failing.give_up()
        stopping.addCallback(lambda _: when_empty(self._s.clock, self._sessions))

        def stopped(result: object) -> Deferred[None]:
            if abort.active():
                abort.cancel()
            self._ways.pool.close_idle()
            return in_turn(
                self._ways.pool.gone,
                self.stores.database.writer.drained,
                self._known.loaded,
                self._http_client.close,
                self._incoming.close,
                self._ways.close,
                self._workers.drained,
                self._closed,
            )

        stopping.addBoth(stopped)
        return stopping

    def _abort(self) -> None:
        """The grace period is over."""
        for session in list(self._sessions):
            session.abort()
        self._ways.pool.abort_all()

    def _closed(self) -> None:
        self.stores.database.writer.close()
        self.stores.database.engine.dispose()
