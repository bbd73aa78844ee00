"""The ways out, composed: SMTP to hosts, local mailboxes, and what is done in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from mailrelay.config.convert import outbound_settings
from mailrelay.config.settings import Settings
from mailrelay.directory.model import Directory
from mailrelay.handoff.answering import Answering
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.handoff.told import JSONBodies
from mailrelay.handoff.transport import HandOff, HandOffTransport
from mailrelay.mailbox.delivery import MailboxTransport
from mailrelay.net.http import ClientSettings, HTTPClient
from mailrelay.net.listening import Listener
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls, trust_root
from mailrelay.observe.events import NewEvent
from mailrelay.outbound.dispatch import DiscardTransport, Dispatch, FailTransport, RefrainTransport
from mailrelay.outbound.health import RelayHealth
from mailrelay.outbound.hosts import HostFinder
from mailrelay.outbound.pool import ConnectionPool
from mailrelay.outbound.transport import SMTPTransport
from mailrelay.queue.content_cache import ContentCache
from mailrelay.routing.ways import (
    ByMX,
    ByRelayHost,
    Discard,
    Fail,
    Refrain,
    ToEndpoint,
    ToMailbox,
    ToPeer,
)
from mailrelay.service.calls import make_reading
from mailrelay.service.outbound_tls import OutboundTLS
from mailrelay.service.peers_out import PeersOut
from mailrelay.service.received import file_links
from mailrelay.service.reports import Reports
from mailrelay.storage.relay_alarms import DatabaseRelayAlarms
from mailrelay.storage.stores import Stores


class WaysOut:
    """One transport for each way, and the connections that those of SMTP share."""

    def __init__(
        self,
        surroundings: Surroundings,
        settings: Settings,
        stores: Stores,
        cache: ContentCache,
        listeners: Iterable[Listener],
        directory: Callable[[], Directory],
        token: Callable[[], str],
        committed: Callable[[Sequence[NewEvent]], None],
        reports: Reports,
    ) -> None:
        s, outbound = surroundings, outbound_settings(settings)
        self.pool = ConnectionPool(
            s.reactor, s.clock, outbound, outbound.ehlo_name, client_tls(), token
        )
        self.tls = OutboundTLS(s, settings, stores, reports.tls_told)
        hosts = HostFinder(
            s.resolver,
            outbound,
            s.random,
            frozenset({settings.hostname.lower()}),
            frozenset(_own_addresses(listeners, outbound.mx_port)),
            self.tls.policies.dane,
        )
        alarms = DatabaseRelayAlarms(stores.database, stores.node.id, s.now)
        self.health = RelayHealth(s.clock.seconds, alarms)
        smtp = SMTPTransport(
            self.pool,
            hosts,
            outbound.mx_tls,
            self.health,
            s.now,
            cache.content,
            stores.queue.read_spool,
            self.tls.policies,
        )
        self.failing = FailTransport(s.now, s.clock)
        self._endpoints = {one.name: _endpoint(s, one) for one in settings.handoff}
        handoff = HandOffTransport(
            settings.hostname,
            self._endpoints.get,
            s.now,
            cache.content,
            stores.queue.read_spool,
            s.clock.seconds,
            JSONBodies(s.workers, file_links(settings, stores), stores.queue.read_spool, s.now),
        )
        self.answering = Answering(handoff)
        self.peers = PeersOut(s, settings, stores, cache, directory, committed)
        reading = make_reading(s, settings, stores, directory, reports.receiving)
        self.transport = Dispatch(
            {
                ByMX: smtp,
                ByRelayHost: smtp,
                ToEndpoint: handoff,
                ToPeer: self.peers.transport,
                ToMailbox: MailboxTransport(stores.mailboxes, directory, s.now, reading),
                Discard: DiscardTransport(s.now),
                Fail: self.failing,
                Refrain: RefrainTransport(s.now),
            }
        )

    def close(self) -> Deferred[Any]:
        """Let go of the connections to applications and peers; those of SMTP are the pool's."""
        self.answering.give_up()
        closing = [one.client.close() for one in self._endpoints.values()]
        return gatherResults([*closing, self.peers.close()])


def _endpoint(s: Surroundings, section: HandOffSettings) -> HandOff:
    root = trust_root(Path(section.trusted_ca)) if section.trusted_ca else None
    allowed = ClientSettings(allowed_networks=section.allowed_networks)
    client = HTTPClient(s.reactor, s.clock, s.resolver, client_tls(root), allowed)
    return HandOff(section, client)


def _own_addresses(listeners: Iterable[Listener], mx_port: int) -> list[str]:
    """Where we ourselves take mail on the port of MX hosts."""
    hosts: list[Any] = [listener.port.getHost() for listener in listeners]
    own = [host.host for host in hosts if getattr(host, "port", None) == mx_port]
    return [*own, *(["127.0.0.1", "::1"] if {"0.0.0.0", "::"} & set(own) else [])]
