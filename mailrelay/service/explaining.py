"""Explaining, composed: acceptance that stores nothing, the router, and who knows the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, succeed

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.content import IncomingContent, SpoolWriter
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.making import Making
from mailrelay.acceptance.passing import PassingOn
from mailrelay.acceptance.refusal import Refused, refused_by
from mailrelay.acceptance.returned import Returning
from mailrelay.config.convert import obeys_dane, obeys_mta_sts
from mailrelay.config.settings import Settings
from mailrelay.control.destinations import LiveDestination
from mailrelay.control.explain import (
    MX,
    DestinationState,
    ExplainControl,
    Judged,
    Known,
    Question,
)
from mailrelay.control.routes import RouteControl, way_text
from mailrelay.directory.model import Account, Directory
from mailrelay.message.srs import SRS
from mailrelay.message.trace import date_field, with_protocol
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.health import RelayHealth
from mailrelay.outbound.tls_policy import level_for
from mailrelay.policy.daily import DailyCount
from mailrelay.policy.holds import HoldRule
from mailrelay.policy.limits import TOO_LARGE
from mailrelay.policy.networks import TrustedNetworks
from mailrelay.policy.relay import refuse_recipient
from mailrelay.queue.destination import Backlog, Destination
from mailrelay.queue.entry import Entry, EntryState, NewMessage
from mailrelay.queue.scheduler import Scheduler
from mailrelay.queue.store import NotStored, Together
from mailrelay.routing.router import Router
from mailrelay.routing.ways import ByMX, ByRelayHost, ToEndpoint, ToPeer
from mailrelay.service.snapshots import Snapshots
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.smtp.reply import Reply
from mailrelay.storage.conditions import expected_refusal
from mailrelay.storage.database import Database
from mailrelay.storage.explaining import DatabaseExplainRecords
from mailrelay.storage.history import DatabaseHistory
from mailrelay.storage.holds import load as load_hold_rules
from mailrelay.storage.stores import Stores, sent_since
from mailrelay.webapi.v1.explain import ExplainOperations
from mailrelay.webapi.v1.operations import Operation

DAY = 86400.0


@frozen
class Snapshot:
    """What is known at one moment of whoever may be asked for."""

    directory: Callable[[], Directory]
    hold_rules: Callable[[], Sequence[HoldRule]]
    used_today: Callable[[int], int]
    over_daily_limit: Callable[[Account, int], Reply | None]


def snapshot_of(database: Database, router: Router, now: Callable[[], float]) -> Snapshot:
    """What the store says now, for a command."""

    def hold_rules() -> Sequence[HoldRule]:
        with database.engine.connect().execution_options(read_only=True) as connection:
            return load_hold_rules(connection)

    @cache
    def daily() -> DailyCount:
        found = DailyCount(now)
        with database.engine.connect().execution_options(read_only=True) as connection:
            found.load(sent_since(connection, now() - DAY))
        return found

    return Snapshot(
        router.directory,
        hold_rules,
        lambda account_id: daily().used(account_id),
        lambda account, more: daily().refuse(account, more),
    )


def make_explain(
    settings: Settings,
    database: Database,
    router: Router,
    snapshot: Snapshot,
    now: Callable[[], float],
    secret: bytes,
    state: Callable[[Destination], DestinationState] | None = None,
) -> ExplainControl:
    """Of a server; or, without ``state``, of a command that sees the database only."""
    passing = PassingOn(SRS(secret), settings.forwarding)
    returning = Returning(passing.srs, passing.settings.srs_domain)

    def refuse(question: Question) -> Reply | None:
        directory, recipient = snapshot.directory(), question.recipient
        if returning.is_ours(directory, recipient):
            return returning.refuse(directory, recipient, question.sender, (), now())
        return refuse_recipient(directory, question.submitter, recipient)

    words = tls_words(settings)
    known = Known(
        snapshot.directory,
        snapshot.hold_rules,
        snapshot.used_today,
        snapshot.over_daily_limit,
        refuse,
        TrustedNetworks.of(settings.trusted_networks),
        words,
        state,
    )
    return ExplainControl(
        RouteControl(router),
        known,
        Judge(settings, database, router, snapshot, passing, now),
        DatabaseExplainRecords(database),
        now,
    )


@frozen
class Judge:
    """Asks acceptance about a message, and keeps nothing of it."""

    settings: Settings
    database: Database
    router: Router
    snapshot: Snapshot
    passing: PassingOn
    now: Callable[[], float]

    def __call__(self, question: Question) -> Deferred[Judged]:
        """What acceptance would store, or answer."""
        return Deferred.fromCoroutine(self._judged(question))

    async def _judged(self, question: Question) -> Judged:
        content = question.message or _plain(question, self.snapshot.directory(), self.now())
        if len(content) > self.settings.limits.message_bytes:
            return Judged(refusal=TOO_LARGE)
        incoming = IncomingContent(_Nowhere)
        incoming.write(content)
        envelope = Envelope(Mail(question.sender, smtputf8=True), [Rcpt(question.recipient)])
        try:
            new = await self._acceptance().prepare(_source(question), envelope, incoming)
        except Refused as refused:
            return Judged(refusal=refused.reply)
        incoming.abandon()
        refusal = await self.database.read(lambda c: expected_refusal(c, new))
        if refusal is not None:
            return Judged(refusal=refused_by(refusal).reply)
        return Judged(new.entries)

    def _acceptance(self) -> Acceptance:
        store = _NoStore()
        making = Making(
            self.settings.hostname,
            self.snapshot.directory,
            self.now,
            lambda: "0" * 32,
            store.new_id,
            self._admit,
            self.settings.limits.received_fields,
            passing=self.passing,
        )
        return Acceptance(making, store, lambda entries: None, lambda message_id, content: None)

    def _admit(self, entry: Entry) -> Entry:
        placed = evolve(entry, destination=self.router(entry))
        path = entry.message.reverse_path
        fits = (
            rule.fits(entry.account_id, path, entry.recipient)
            for rule in self.snapshot.hold_rules()
        )
        return evolve(placed, state=EntryState.HELD) if any(fits) else placed


def _source(question: Question) -> Source:
    logged_in = question.door != MX
    return Source(
        door=question.door,
        protocol=with_protocol(esmtp=True, tls=True, authenticated=logged_in, smtputf8=False),
        submitter=question.submitter,
        peer_ip=question.client_ip,
        keeps_from_id=logged_in,
        needs_from=logged_in,
    )


def _plain(question: Question, directory: Directory, now: float) -> bytes:
    """A message that is like others: From its sender."""
    account, author = question.submitter.account, question.sender
    own = directory.addresses_of(account) if account is not None and author is None else []
    written = next((text for text in own if not text.startswith("@")), str(author or "<>"))
    fields = f"From: {written}\r\nTo: {question.recipient}\r\nDate: {date_field(now)}\r\n\r\n"
    return fields.encode("utf-8", "surrogateescape")


@frozen
class _NoStore:
    """AcceptanceStore that gives ids, and takes nothing."""

    _ids: count[int] = field(factory=lambda: count(1), init=False)

    def new_id(self) -> int:
        return next(self._ids)

    def add(self, message: NewMessage) -> Deferred[None]:
        raise AssertionError("a message that is explained is not stored")

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        raise AssertionError("messages that are explained are not stored")


@frozen
class _Nowhere(SpoolWriter):
    """A spool that keeps nothing."""

    name: str = "-"

    def append(self, data: bytes) -> Deferred[None]:
        return succeed(None)

    def finish(self) -> Deferred[None]:
        return succeed(None)

    def abandon(self) -> None:
        """There is nothing."""


@frozen
class TLSWords:
    """The least that a way out must have, in words."""

    mx_tls: TLSLevel
    levels: Mapping[str, TLSLevel]
    policies: Sequence[str] = ()  # of domains, that are obeyed

    def __call__(self, way: object) -> str:
        """See Known."""
        match way:
            case ByMX():
                return self._by_mx(way)
            case ByRelayHost():
                levels = [
                    f"{host.tls.value}, implicit" if host.implicit_tls else host.tls.value
                    for host in way.relay_hosts
                ]
                return "; ".join(dict.fromkeys(levels))
            case ToEndpoint() | ToPeer():
                return "verify, as https"
        return ""

    def _by_mx(self, way: ByMX) -> str:
        own = level_for(way.domain, self.levels)
        if own is not None:
            return f"{own[1].value}, set for the domain"
        level = way.least_tls or self.mx_tls
        if level is TLSLevel.NONE or not self.policies:
            return level.value
        return f"{level.value}, or as {' or '.join(self.policies)} asks"


def tls_words(settings: Settings) -> TLSWords:
    """By the settings, as the ways out have them."""
    outbound, policies = settings.smtp_out, []
    if obeys_dane(settings):
        policies.append("DANE")
    if obeys_mta_sts(settings):
        policies.append("MTA-STS")
    return TLSWords(outbound.mx_tls, outbound.tls, policies)


def server_explain(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    router: Router,
    known: Snapshots,
    scheduler: Scheduler,
    health: RelayHealth,
) -> ExplainControl:
    """Of a running server."""
    snapshot = Snapshot(
        router.directory,
        lambda: known.hold_rules,
        known.daily.used,
        known.daily.refuse,
    )
    state = StateNow(scheduler, health, s.clock.seconds)
    return make_explain(settings, stores.database, router, snapshot, s.now, stores.secret, state)


def explain_operations(control: ExplainControl, stores: Stores) -> Sequence[Operation]:
    """What an account may ask."""
    return ExplainOperations(control, DatabaseHistory(stores.database)).operations()


@frozen
class StateNow:
    """What a running server knows of a destination."""

    scheduler: Scheduler
    health: RelayHealth
    seconds: Callable[[], float]

    def __call__(self, to: Destination) -> DestinationState:
        """As of now."""
        hosts = to.way.relay_hosts if isinstance(to.way, ByRelayHost) else ()
        resting = [host.host for host in hosts if self.health.is_resting(host)]
        backlog = self.scheduler.backlog_of(to.key)
        if backlog is None:
            return DestinationState(resting_hosts=resting)
        said = backlog.last_reply
        return DestinationState(
            backlog.size,
            backlog.active,
            backlog.failures,
            max(0.0, backlog.suspended_until - self.seconds()),
            str(said) if said is not None and backlog.failures else "",
            resting,
        )

    def all(self) -> Sequence[LiveDestination]:
        """See LiveDestinations."""
        return [self._live(backlog) for backlog in self.scheduler.backlogs()]

    def _live(self, backlog: Backlog[Entry]) -> LiveDestination:
        to = backlog.destination
        now = self(to)
        return LiveDestination(
            to.key,
            way_text(to.way),
            now.waiting,
            now.active,
            self.scheduler.at_once(backlog),
            now.failures,
            now.rests_for,
            now.said,
            now.resting_hosts,
        )

    def resume(self, key: str) -> None:
        """See LiveDestinations."""
        backlog = self.scheduler.backlog_of(key)
        way = backlog.destination.way if backlog is not None else None
        for host in way.relay_hosts if isinstance(way, ByRelayHost) else ():
            self.health.answered(host)
        self.scheduler.resume(key)
