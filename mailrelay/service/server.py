"""Settings and surroundings into a running server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from typing_extensions import override

from mailrelay.acceptance.accept import STORE_FULL, Acceptance
from mailrelay.config.convert import (
    listener_settings,
    outbound_settings,
    queue_settings,
    routing_settings,
)
from mailrelay.config.settings import HTTP_ROLES, ListenerSection, Settings
from mailrelay.directory.login import Authenticator
from mailrelay.directory.model import Directory
from mailrelay.inbound.auth import submission_portal
from mailrelay.inbound.context import Context, Counters, LiveSession
from mailrelay.inbound.factory import smtp_factory
from mailrelay.mailbox.delivery import MailboxTransport
from mailrelay.net.listening import CannotListen, Listener
from mailrelay.net.privileges import CannotDropPrivileges, drop_privileges
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import ServerCertificate, UnusableCertificate, client_tls
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.observe.maillog import MailLog, append_text
from mailrelay.observe.metrics import Metrics
from mailrelay.outbound.dispatch import DiscardTransport, Dispatch, FailTransport, RefrainTransport
from mailrelay.outbound.hosts import HostFinder
from mailrelay.outbound.pool import ConnectionPool
from mailrelay.outbound.transport import SMTPTransport
from mailrelay.policy.daily import DailyCount
from mailrelay.policy.holds import HoldRule, is_held
from mailrelay.policy.limits import ConnectionCount
from mailrelay.policy.networks import TrustedNetworks
from mailrelay.policy.suppression import Suppressed
from mailrelay.queue.content_cache import ContentCache
from mailrelay.queue.entry import Entry
from mailrelay.queue.report import Reporter
from mailrelay.queue.scheduler import Outside, Scheduler
from mailrelay.queue.transport import Job, Result
from mailrelay.routing.route import Router
from mailrelay.routing.ways import ByMX, ByRelayHost, Discard, Fail, Refrain, ToMailbox
from mailrelay.service.application import Doors, make_api, make_intake, make_webapi
from mailrelay.service.calls import make_calls, make_reading
from mailrelay.service.sites import Sites
from mailrelay.smtp.reply import Reply
from mailrelay.storage.database import UnusableDatabase
from mailrelay.storage.directory import load
from mailrelay.storage.holds import load as load_hold_rules
from mailrelay.storage.rows import stored_address
from mailrelay.storage.space import SpaceWatch
from mailrelay.storage.stores import Stores, Threads, open_stores
from mailrelay.storage.suppression import everybody
from mailrelay.storage.upkeep import Intervals, Upkeep, queue_sizes
from mailrelay.web.monitor import Health, Monitor
from mailrelay.web.request import Route

_log = Logger()

STARTUP_ERRORS = (UnusableDatabase, UnusableCertificate, CannotListen, CannotDropPrivileges)
"""What an operator did or can mend: the message is enough, no traceback."""

FIXED = (
    *("hostname", "data_dir", "node", "storage", "listener", "localserve"),
    *("run_as", "allow_root", "login", "http", "dns", "smtp_out"),
)
"""Settings of which a running server keeps what it was started with."""


_CONTENT_NOT_NEEDED = (EventKind.DELIVERED, EventKind.FAILED, EventKind.SUPPRESSED)


class Server(MultiService):
    """The whole server.  ``privilegedStartService`` binds, ``startService`` does the rest."""

    intervals = Intervals()

    def __init__(
        self,
        surroundings: Surroundings,
        settings: Settings,
        standard_output: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        self._append = partial(append_text, standard_output=standard_output)
        self._s, self._settings = surroundings, settings
        self.listeners = [
            Listener(serverFromString(surroundings.reactor, section.endpoint), section.endpoint)
            for section in settings.listener
        ]
        for listener in self.listeners:
            listener.setServiceParent(self)
        self._sessions: set[LiveSession] = set()
        self.metrics = Metrics()
        self.directory = Directory()
        self._certificate = _certificate(settings)
        self._trusted = TrustedNetworks.of(settings.trusted_networks)
        self._routing = routing_settings(settings)
        self._loading: Deferred[Any] = succeed(None)  # the directory, when it was changed

    # Start

    @override
    def startService(self) -> None:
        """Drop privileges, open the stores, serve.  Blocks: the reactor does not run yet.

        Raises: UnusableDatabase, UnusableCertificate, CannotListen, CannotDropPrivileges.
        """
        settings = self._settings
        for listener in self.listeners:
            listener.startService()
            _ = listener.port  # raises when it is not bound
        if settings.run_as:
            drop_privileges(settings.run_as, settings.data_dir)
        if self._certificate is not None:
            self._certificate.load()
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
        self.stores: Stores = open_stores(
            settings.storage.url, settings.data_dir, settings.node, threads, s.now()
        )
        self.directory = self.stores.directory

    def _token(self) -> str:
        return f"{self._s.random.getrandbits(128):032x}"

    def _wire(self) -> None:
        s, settings, stores = self._s, self._settings, self.stores
        self._daily = DailyCount(s.now)
        self._daily.load(stores.sent_before)
        self._suppressed = Suppressed(stores.suppressed)
        self._hold_rules: Sequence[HoldRule] = stores.hold_rules
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
        reporter = Reporter(settings.hostname, stores.queue, s.now, self._token)
        self._pool = self._make_pool()
        self.scheduler = Scheduler(
            Outside(
                clock=s.clock,
                now=s.now,
                # Jitter needs no secrecy, and the system's source is a call into the kernel.
                random=Random(s.random.getrandbits(64)),
                store=stores.queue,
                route=Router(lambda: self._routing, lambda: self.directory, self._suppressed),
                transport=self._make_transport(),
                reporter=reporter,
                epoch=lambda: stores.node.epoch,
                attempted=self._attempted,
                is_held=self._is_held,
                account_kept_for=self._account_kept_for,
            ),
            queue_settings(settings.queue),
        )
        self._acceptance = Acceptance(
            settings.hostname,
            stores.queue,
            lambda: self.directory,
            s.now,
            self._token,
            self.scheduler.admit,
            self.scheduler.enqueue,
            self._cache.remember,
            settings.limits.received_fields,
        )
        self._authenticator = Authenticator(
            lambda: self.directory, s.workers, settings.login, s.clock.seconds, stores.secret
        )
        self.calls, self._http_client = make_calls(
            s, settings, stores, lambda: self.directory, self.metrics
        )
        self._connections = ConnectionCount()
        self._sites = Sites(
            s,
            settings,
            self._sessions,
            self.metrics.answered,
            Monitor(self.health, self._scrape),
            self._application_routes(),
        )
        self._counters = Counters(on_accept=self.metrics.accept_seconds.observe)
        upkeep = Upkeep(
            stores.database,
            stores.node,
            s.clock,
            s.now,
            self._changed,
            stores.spool.remove,
            self.intervals,
            stores.orphans,
        )
        for service in (self._mail_log, self._space, self.scheduler, self.calls, upkeep):
            service.setServiceParent(self)
        self._add_gauges()

    def _application_routes(self) -> Sequence[Route]:
        doors = Doors(
            self._acceptance,
            self._authenticator,
            lambda: self.directory,
            self._daily.refuse,
            self._suppressed,
            self._token,
        )
        intake = make_intake(self._s, self._settings, self._token)
        webapi = make_webapi(self._s, self._settings, self.stores, doors, intake, self.metrics)
        return [*webapi.routes(), *make_api(doors, intake, self.metrics).routes()]

    def _account_kept_for(self, account_id: int | None) -> float | None:
        return self.directory.retired_kept_for(account_id)

    def _make_pool(self) -> ConnectionPool:
        s, outbound = self._s, outbound_settings(self._settings)
        return ConnectionPool(
            s.reactor, s.clock, outbound, outbound.ehlo_name, client_tls(), self._token
        )

    def _make_transport(self) -> Dispatch:
        s, stores = self._s, self.stores
        outbound = outbound_settings(self._settings)
        hosts = HostFinder(
            s.resolver,
            outbound,
            s.random,
            frozenset({self._settings.hostname.lower()}),
            frozenset(self._own_addresses(outbound.mx_port)),
        )
        smtp = SMTPTransport(
            self._pool,
            hosts,
            outbound.mx_tls,
            s.now,
            self._cache.content,
            stores.queue.read_spool,
        )
        self._failing = FailTransport(s.now, s.clock)
        return Dispatch(
            {
                ByMX: smtp,
                ByRelayHost: smtp,
                ToMailbox: self._make_mailbox_transport(),
                Discard: DiscardTransport(s.now),
                Fail: self._failing,
                Refrain: RefrainTransport(s.now),
            }
        )

    def _make_mailbox_transport(self) -> MailboxTransport:
        read = make_reading(self._s, self.stores, lambda: self.directory)
        return MailboxTransport(self.stores.mailboxes, lambda: self.directory, self._s.now, read)

    def _own_addresses(self, mx_port: int) -> Sequence[str]:
        """Where we ourselves take mail on the port of MX hosts."""
        hosts: list[Any] = [listener.port.getHost() for listener in self.listeners]
        own = [h.host for h in hosts if getattr(h, "port", None) == mx_port]
        return [*own, *(["127.0.0.1", "::1"] if {"0.0.0.0", "::"} & set(own) else [])]

    # Serving

    def _serve(self) -> None:
        for section, listener in zip(self._settings.listener, self.listeners, strict=True):
            listener.serve(self._factory(section))

    def _factory(self, section: ListenerSection) -> IProtocolFactory:
        if section.role in HTTP_ROLES:
            return self._sites.factory(section, self._certificate)
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
            over_daily_limit=self._daily.refuse,
            connections=self._connections,
            counters=self._counters,
            portal=submission_portal(self._authenticator),
            authenticator=self._authenticator,
            nonce=self._token,
            sessions=self._sessions,
            certificate=self._certificate,
            simulate=self._settings.localserve,
        )

    def _store_trouble(self) -> Reply | None:
        return STORE_FULL if self._space.is_short else None

    # What is told

    def _committed(self, events: Sequence[NewEvent]) -> None:
        self._mail_log.record(events)
        self.metrics.count(events)
        for event in events:
            if event.data.get("suppressing") and event.account_id is not None:
                self._suppressed.add(event.account_id, stored_address(str(event.data["recipient"])))
            account = self.directory.accounts.get(event.account_id or 0)
            if account is not None and account.is_called_for_outgoing:
                self.calls.wake()
            if event.kind in _CONTENT_NOT_NEEDED:
                self._cache.forget(event.message_id)
            if event.kind is EventKind.ACCEPTED and event.account_id is not None:
                count = event.data.get("recipient_count", 1)
                self._daily.sent(event.account_id, int(str(count)))

    def _is_held(self, entry: Entry) -> bool:
        path = entry.message.reverse_path
        return is_held(self._hold_rules, entry.account_id, path, entry.recipient)

    def _arrived(self, events: Sequence[NewEvent]) -> None:
        self._committed(events)
        self.calls.wake()

    def _attempted(self, job: Job, result: Result) -> None:
        attempt = result.attempt
        self.metrics.attempt_seconds.observe(max(0.0, attempt.ended_at - attempt.started_at))

    def _changed(self, kinds: set[str]) -> None:
        """Somebody changed the store: the CLI, or another process."""
        if "directory" in kinds:
            loading = self.stores.database.read(load)
            loading.addCallback(partial(setattr, self, "directory"))
            loading.addErrback(lambda f: _log.failure("the directory cannot be read", f))
            self._loading = loading
        if "holds" in kinds:
            rules = self.stores.database.read(load_hold_rules)
            rules.addCallback(partial(setattr, self, "_hold_rules"))
            rules.addErrback(lambda f: _log.failure("the hold rules cannot be read", f))
        if "suppression" in kinds:
            listed = self.stores.database.read(everybody)
            listed.addCallback(self._suppressed.replace)
            listed.addErrback(lambda f: _log.failure("the suppression lists cannot be read", f))
        if "queue" in kinds:
            self.scheduler.wake()
        if kinds & {"queue", "calls"}:
            self.calls.wake()

    def _add_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("mailrelay_connections_in", "Open SMTP sessions", lambda: self._connections.total)
        gauge("mailrelay_http_connections", "Open HTTP connections", self._http_connections)
        gauge("mailrelay_connections_out", "SMTP connections to next hops", self._connections_out)
        gauge("mailrelay_queue_in_memory", "Entries in memory", lambda: self.scheduler.in_memory)
        gauge("mailrelay_store_short", "1 when mail is refused for lack of room", self._is_short)
        gauge("mailrelay_mail_log_lost", "Lines not written", lambda: self._mail_log.left_out)
        gauge("mailrelay_smtp_commands", "Commands read", lambda: self._counters.commands)
        gauge("mailrelay_smtp_refusals", "Replies 4yz and 5yz", lambda: self._counters.refused)
        gauge("mailrelay_auth_failures", "Failed logins", lambda: self._counters.auth_failures)

    def _connections_out(self) -> float:
        return self._pool.open_connections

    def _http_connections(self) -> float:
        return self._sites.connections

    def _is_short(self) -> float:
        return float(self._space.is_short)

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
        certificate = _certificate(settings)
        if certificate is not None:
            certificate.load()
        changed = [n for n in FIXED if getattr(settings, n) != getattr(self._settings, n)]
        if settings.log.file != self._settings.log.file:
            changed.append("log.file")
        for name in changed:
            _log.warn("{name} changed: restart to use it", name=name)
        kept = {name: getattr(self._settings, name) for name in FIXED}
        self._settings = evolve(settings, **kept)
        self._mail_log.configure(settings.log.mail_log, settings.log.format)
        self._acceptance = evolve(self._acceptance, max_received=settings.limits.received_fields)
        self._certificate = certificate
        self._trusted = TrustedNetworks.of(settings.trusted_networks)
        self._routing = routing_settings(settings)
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
        self._failing.give_up()
        stopping.addCallback(lambda _: self._sessions_gone())

        def stopped(result: object) -> object:
            if abort.active():
                abort.cancel()
            self._pool.close_idle()
            gone = self._pool.gone()
            gone.addCallback(lambda _: self.stores.database.writer.drained())
            gone.addCallback(lambda _: self._loading)
            gone.addCallback(lambda _: self._http_client.close())
            return gone.addCallback(lambda _: self._closed())

        stopping.addBoth(stopped)
        return stopping

    def _sessions_gone(self) -> Deferred[None]:
        gone: Deferred[None] = Deferred()

        def look() -> None:
            if self._sessions:
                self._s.clock.callLater(0.02, look)
            else:
                gone.callback(None)

        look()
        return gone

    def _abort(self) -> None:
        """The grace period is over."""
        for session in list(self._sessions):
            session.abort()
        self._pool.abort_all()

    def _closed(self) -> None:
        self.stores.database.writer.close()
        self.stores.database.engine.dispose()


def _certificate(settings: Settings) -> ServerCertificate | None:
    if not settings.tls.certificate:
        return None
    data_dir = settings.data_dir
    return ServerCertificate(
        data_dir / settings.tls.certificate, data_dir / settings.tls.private_key
    )
