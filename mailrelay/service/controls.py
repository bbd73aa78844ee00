"""Every control of ``control/``, composed: over a server's stores, or opened by a command."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from random import Random

from attrs import evolve, field, frozen

from mailrelay.acceptance.signing import Signing
from mailrelay.config.convert import relay_place, routing_settings
from mailrelay.config.settings import Settings
from mailrelay.control.accounts import AccountsControl
from mailrelay.control.aliases import AliasControl
from mailrelay.control.apply import ApplyControl, ListControls
from mailrelay.control.audit import AuditRecords
from mailrelay.control.backup import BackupControl
from mailrelay.control.calls import CallControl
from mailrelay.control.destinations import DestinationControl
from mailrelay.control.directory import DirectoryControl
from mailrelay.control.dkim import DKIMControl
from mailrelay.control.dns_check import DNSControl
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.errors import Refusal
from mailrelay.control.explain import ExplainControl
from mailrelay.control.forwarding import ForwardControl
from mailrelay.control.holds import HoldControl
from mailrelay.control.keys import KeyControl
from mailrelay.control.listings import ListingRecords
from mailrelay.control.mailbox import MailboxControl
from mailrelay.control.peers import PeerControl
from mailrelay.control.queue import QueueControl
from mailrelay.control.relay_alarms import RelayAlarmRecords
from mailrelay.control.relays import read_sources
from mailrelay.control.replay import ReplayControl
from mailrelay.control.reports import ReportControl
from mailrelay.control.routes import RouteControl
from mailrelay.control.second_factor import PROPOSED, SecondFactors
from mailrelay.control.statistics import StatisticsControl
from mailrelay.control.stored_relays import StoredRelayControl
from mailrelay.control.suppression import SuppressionControl
from mailrelay.control.templates import TemplateControl
from mailrelay.control.transports import TransportControl
from mailrelay.control.works import WorkControl
from mailrelay.directory.model import Directory
from mailrelay.handoff.settings import handed_off
from mailrelay.net.threads import AtOnce, Executor
from mailrelay.policy.links import Links
from mailrelay.policy.suppression import Suppressed
from mailrelay.queue.report import Reporter
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.routing.relay_rules import RelayRules
from mailrelay.routing.router import Router
from mailrelay.service.domain_dns import dns_control
from mailrelay.service.explaining import make_explain, snapshot_of
from mailrelay.service.forwarding import forward_control
from mailrelay.smtp.address import Address
from mailrelay.storage.accounts import DatabaseAccounts
from mailrelay.storage.alias_records import DatabaseAliases
from mailrelay.storage.audit import DatabaseAudit
from mailrelay.storage.call_records import DatabaseCallRecords
from mailrelay.storage.database import Database
from mailrelay.storage.declared import DatabaseDeclared
from mailrelay.storage.destinations import DatabaseDestinations
from mailrelay.storage.directory import load
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.dkim_keys import DatabaseDKIMKeys
from mailrelay.storage.endpoints import DatabaseEndpointRecords
from mailrelay.storage.findings import findings_on_server
from mailrelay.storage.forwards import DatabaseForwards
from mailrelay.storage.holds import DatabaseHoldRecords
from mailrelay.storage.ids import IdBlocks, take_ids
from mailrelay.storage.keys import DatabaseKeyRecords
from mailrelay.storage.listings import DatabaseListings
from mailrelay.storage.mailbox import DatabaseMailboxes
from mailrelay.storage.nodes import Node, register
from mailrelay.storage.peer_records import DatabasePeers
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.relay_alarms import DatabaseRelayAlarms
from mailrelay.storage.relay_records import DatabaseRelayRules
from mailrelay.storage.replay import DatabaseReplayRecords
from mailrelay.storage.reports import DatabaseReports
from mailrelay.storage.second_factors import DatabaseFactors
from mailrelay.storage.snapshot import SQLiteSnapshots
from mailrelay.storage.spool import Spool
from mailrelay.storage.statistics import DatabaseStatistics
from mailrelay.storage.stores import Threads, make_spool, open_database, server_secret
from mailrelay.storage.suppression import everybody
from mailrelay.storage.suppression_records import DatabaseSuppressionRecords
from mailrelay.storage.templates import DatabaseTemplateRecords
from mailrelay.storage.works import DatabaseWorks


@frozen
class Control:
    """What may be asked, by a command or on a page."""

    directory: DirectoryControl
    aliases: AliasControl
    relays: StoredRelayControl
    relay_alarms: RelayAlarmRecords
    queue: QueueControl
    transports: TransportControl
    works: WorkControl
    destinations: DestinationControl
    messages: MailboxControl
    suppression: SuppressionControl
    holds: HoldControl
    calls: CallControl
    routes: RouteControl
    explain: ExplainControl
    keys: KeyControl
    apply: ApplyControl
    templates: TemplateControl
    endpoints: EndpointControl
    replays: ReplayControl
    statistics: StatisticsControl
    peers: PeerControl
    forwarding: ForwardControl
    dkim: DKIMControl
    dns: DNSControl
    listings: ListingRecords
    reports: ReportControl
    audit: AuditRecords
    accounts: AccountsControl
    second_factors: SecondFactors
    database: Database

    def close(self) -> None:
        """Let the database go."""
        self.database.writer.close()
        self.database.engine.dispose()


@frozen
class Standing:
    """What controls stand on.  ``random`` gives 16 fresh bytes."""

    settings: Settings
    database: Database
    ids: IdBlocks
    node: Node
    spool: Spool
    queue: DatabaseQueueStore
    secret: bytes = field(repr=False)
    executor: Executor
    now: Callable[[], float]
    random: Callable[[], bytes]
    reporter: Reporter
    explain: ExplainControl
    dns: DNSControl
    kept_for: Callable[[int | None], float | None]


def controls(on: Standing, actor: str) -> Control:
    """All of them, for whoever is named in the audit."""
    settings, database, now, executor = on.settings, on.database, on.now, on.executor
    records = DatabaseQueueRecords(database, lambda: on.node, on.spool.remove)
    kept_after = settings.queue.retired_keep_after
    holds = HoldControl(DatabaseHoldRecords(database, now), records, now, actor)
    suppression = SuppressionControl(DatabaseSuppressionRecords(database, now), now, actor)
    endpoints = EndpointControl(DatabaseEndpointRecords(database, now), on.random, now, actor)
    templates = TemplateControl(DatabaseTemplateRecords(database, now), executor, actor)
    lists = ListControls(holds, endpoints, templates, suppression)
    forwards = DatabaseForwards(database, on.ids, on.node, now)
    return Control(
        DirectoryControl(DatabaseDirectory(database, now), executor, on.random, actor),
        AliasControl(DatabaseAliases(database, now), actor),
        StoredRelayControl(DatabaseRelayRules(database, now), actor),
        DatabaseRelayAlarms(database, on.node.id, now),
        QueueControl(
            *(records, on.queue, on.reporter, now, kept_after, actor, on.kept_for),
            settings.queue.failed_content_keep_after,
        ),
        TransportControl(records, on.explain.routes.router, now, actor),
        WorkControl(DatabaseWorks(database, on.node.id), now, actor),
        DestinationControl(DatabaseDestinations(database), now, actor),
        MailboxControl(DatabaseMailboxes(database, on.spool, on.ids), now, actor),
        suppression,
        holds,
        CallControl(DatabaseCallRecords(database), now, actor),
        on.explain.routes,
        on.explain,
        KeyControl(DatabaseKeyRecords(database, now), executor, on.random, now, actor),
        ApplyControl(DatabaseDeclared(database, now), lists, executor, on.random, now, actor),
        templates,
        endpoints,
        ReplayControl(DatabaseReplayRecords(database), now, actor),
        StatisticsControl(DatabaseStatistics(database), now),
        PeerControl(DatabasePeers(database, now), on.random, now, actor),
        forward_control(settings, forwards, on.secret, now, actor, on.reporter.sign),
        DKIMControl(DatabaseDKIMKeys(database, now), executor, now, actor),
        on.dns,
        DatabaseListings(database),
        ReportControl(DatabaseReports(database), now),
        DatabaseAudit(database),
        AccountsControl(DatabaseAccounts(database, now), on.explain.known.used_today, actor),
        _second_factors(on, actor),
        database,
    )


def _second_factors(on: Standing, actor: str) -> SecondFactors:
    links = Links(on.secret, PROPOSED)
    records = DatabaseFactors(on.database, on.now)

    def random(size: int) -> bytes:
        return (on.random() + on.random())[:size]

    return SecondFactors(records, on.now, random, links, on.settings.hostname, actor)


def open_control(
    settings: Settings, actor: str, now: Callable[[], float], random: Random
) -> Control:
    """The controls over the store that ``settings`` names; every Deferred of theirs has fired.

    Raises: UnusableDatabase.
    """

    def token() -> str:
        return f"{random.getrandbits(128):032x}"

    def random_bytes() -> bytes:
        return bytes.fromhex(token())

    executor = AtOnce()
    # An operator who asks for a long list waits for it.
    threads = Threads(executor, executor, token, read_cap=60.0)
    database = open_database(settings.storage.url, settings.data_dir, threads)
    ids = IdBlocks(database, block=64)
    with database.engine.begin() as connection:
        node = register(connection, "command")
        ids.use(take_ids(connection, 64))
        secret = server_secret(connection, token)
    spool = make_spool(database, settings.data_dir, threads, node)
    store = DatabaseQueueStore(database, ids, node, spool)
    router = _router(settings, database, now)
    asked = evolve(router, directory=cache(router.directory))  # a command asks once
    sign = Signing(asked.directory, executor, store.read_spool, now, settings.hostname).own
    standing = Standing(
        settings,
        database,
        ids,
        node,
        spool,
        store,
        secret,
        executor,
        now,
        random_bytes,
        Reporter(settings.hostname, store, now, token, sign=sign),
        make_explain(settings, database, asked, snapshot_of(database, asked, now), now, secret),
        dns_control(settings, DatabaseDirectory(database, now).load, now, executor),
        cache(partial(_kept_for, database)),
    )

    return controls(standing, actor)


def _router(settings: Settings, database: Database, now: Callable[[], float]) -> Router:
    """As a server with these settings and this store routes."""

    def directory() -> Directory:
        with database.engine.connect().execution_options(read_only=True) as connection:
            return evolve(load(connection), handed_off=handed_off(settings.handoff))

    def is_suppressed(account_id: int | None, recipient: Address) -> bool:
        with database.engine.connect().execution_options(read_only=True) as connection:
            return Suppressed(now, everybody(connection))(account_id, recipient)

    @cache
    def relays() -> RelayRules:
        try:
            known = directory()
            place = relay_place(settings.relaying)
            return read_sources(place, sorted(known.domains), known.relay_rules).rules()
        except RelayProblem as problem:
            raise Refusal(str(problem)) from None

    routing = routing_settings(settings)
    return Router(lambda: routing, directory, is_suppressed, relays)


def _kept_for(database: Database, account_id: int | None) -> float | None:
    """How long an account wants its retired entries kept, as the store says now."""
    with database.engine.connect().execution_options(read_only=True) as connection:
        return load(connection).retired_kept_for(account_id)


def backup_control(now: Callable[[], float], progress: Callable[[int, int], None]) -> BackupControl:
    """What copies and checks stores; it opens none of its own.

    ``progress`` is told of the bytes of a database that are copied, and of how many there are.
    """
    return BackupControl(SQLiteSnapshots(progress), findings_on_server, now)
