"""What metrics tell of the server as it stands."""

from __future__ import annotations

from attrs import frozen

from mailrelay.inbound.context import Counters
from mailrelay.observe.maillog import MailLog
from mailrelay.observe.metrics import Metrics
from mailrelay.policy.limits import ConnectionCount
from mailrelay.queue.scheduler import Scheduler
from mailrelay.service.relaying import Relaying
from mailrelay.service.sites import Sites
from mailrelay.service.ways_out import WaysOut
from mailrelay.storage.space import SpaceWatch


@frozen(kw_only=True)
class Watched:
    """Whom the gauges ask."""

    connections: ConnectionCount
    counters: Counters
    sites: Sites
    scheduler: Scheduler
    ways: WaysOut
    relaying: Relaying
    space: SpaceWatch
    mail_log: MailLog


def add_gauges(metrics: Metrics, of: Watched) -> None:
    """Have ``metrics`` ask whenever they are scraped."""
    gauge, health, standing = metrics.gauge, of.ways.health, of.ways.peers.standing
    gauge("mailrelay_connections_in", "Open SMTP sessions", lambda: of.connections.total)
    gauge("mailrelay_http_connections", "Open HTTP connections", lambda: of.sites.connections)
    gauge(
        "mailrelay_connections_out",
        "SMTP connections to next hops",
        lambda: of.ways.pool.open_connections,
    )
    gauge("mailrelay_queue_in_memory", "Entries in memory", lambda: of.scheduler.in_memory)
    gauge(
        "mailrelay_store_short",
        "1 when mail is refused for lack of room",
        lambda: float(of.space.is_short),
    )
    gauge("mailrelay_mail_log_lost", "Lines not written", lambda: of.mail_log.left_out)
    gauge("mailrelay_relay_hosts_resting", "Passed over", lambda: health.resting)
    gauge("mailrelay_relay_chains_out", "All at rest", lambda: health.chains_out)
    gauge("mailrelay_peers_alarmed", "They refuse us", lambda: len(standing.alarms))
    gauge(
        "mailrelay_relay_files_stale",
        "1 when they cannot be used",
        lambda: float(of.relaying.is_stale),
    )
    gauge("mailrelay_smtp_commands", "Commands read", lambda: of.counters.commands)
    gauge("mailrelay_smtp_refusals", "Replies 4yz and 5yz", lambda: of.counters.refused)
    gauge("mailrelay_auth_failures", "Failed logins", lambda: of.counters.auth_failures)
