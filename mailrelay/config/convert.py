"""From the file's sections to the settings that the packages own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import evolve

from mailrelay.config.settings import SMTP_ROLES, ListenerSection, QueueSection, Settings
from mailrelay.config.transport_checks import host_and_port, normal_route_domain
from mailrelay.config.transports import (
    ChainSection,
    DirectSection,
    FailSection,
    HostTransportSection,
    RelayHostSection,
    RelayingSection,
    RouteSection,
    SocksSection,
    TransportSection,
)
from mailrelay.control.relay_checks import sender_key
from mailrelay.control.relays import RelayFolder, RelayPlace
from mailrelay.inbound.context import ListenerSettings
from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.settings import OutboundSettings, Timeouts
from mailrelay.queue.schedule import PROFILES
from mailrelay.queue.scheduler import QueueSettings
from mailrelay.routing.relay_chains import (
    ACCOUNT,
    ChainValue,
    HopValue,
    RelayChain,
    checked_chain,
)
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.transports import Direct, NamedTransport
from mailrelay.routing.ways import Fail, RelayHost, SocksProxy, ToPeer
from mailrelay.smtp.address import normal_domain
from mailrelay.smtp.reply import EnhancedStatus, Reply


def listener_settings(section: ListenerSection, settings: Settings) -> ListenerSettings:
    """An SMTP listener's."""
    return ListenerSettings(
        SMTP_ROLES[section.role],
        section.endpoint,
        section.limits.over(settings.limits),
        section.auth_without_tls,
        section.proxy_protocol,
        section.repair_newlines,
        section.hide_submitters,
    )


def queue_settings(section: QueueSection) -> QueueSettings:
    """The scheduler's."""
    given = {
        "first_after": section.first_retry_after,
        "longest_after": section.longest_retry_after,
        "give_up_after": section.give_up_after,
        "delay_dsn_after": section.delay_dsn_after,
    }
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return QueueSettings(
        profile=evolve(PROFILES[section.retry_profile], **changed),
        retired_kept_for=section.retired_keep_after,
        content_kept_for=section.failed_content_keep_after,
        concurrency=section.concurrency_per_destination,
        entries_per_attempt=section.recipients_per_attempt,
        window=section.window,
    )


def routing_settings(settings: Settings) -> RoutingSettings:
    """The router's."""
    transports = {section.name: transport(section) for section in settings.transport}
    routes = [route(i, section, transports) for i, section in enumerate(settings.route, 1)]
    host = relay_host(settings.relay_host) if settings.relay_host else None
    return RoutingSettings(
        routes,
        host,
        simulate=settings.localserve,
        local_only=settings.localserve,
        handoff_relays=handoff_relays(settings),
        transports=transports,
    )


def handoff_relays(settings: Settings) -> tuple[RelayHost, ...]:
    """``[handoff_relay]``'s hosts; those of unverified_hosts need no right certificate."""
    section = settings.handoff_relay
    hosts = [host.strip() for host in section.host.split(",")] if section is not None else []
    unverified = {host.lower() for host in settings.relaying.unverified_hosts}
    found = []
    for host in hosts:
        assert section is not None
        one = evolve(relay_host(section), host=host)
        if host.lower() in unverified and one.tls is TLSLevel.VERIFY:
            one = evolve(one, tls=TLSLevel.ENCRYPT)
        found.append(one)
    return tuple(found)


def route(number: int, section: RouteSection, transports: Mapping[str, NamedTransport]) -> Route:
    """A route's; ``number`` is its place in the file."""
    return Route(
        normal_route_domain(section.domain or "*"),
        relay_host(section.relay_host) if section.relay_host else None,
        section.discard,
        section.mx,
        transports[section.transport] if section.transport else None,
        tuple(normal_route_domain(domain) for domain in section.to_domain),
        tuple(normal_route_domain(domain) for domain in section.from_domain),
        section.minimum_attempts,
        section.account or None,
        number,
    )


def transport(section: TransportSection) -> NamedTransport:
    """A transport's, of the one kind that it is."""
    [kind] = section.kinds
    return NamedTransport(section.name, _KINDS[kind](getattr(section, kind)))


def _host(section: HostTransportSection) -> RelayHost:
    assert section.port is not None  # the file's, or its kind's
    return RelayHost(
        section.host,
        section.port,
        section.tls,
        False,
        section.username or None,
        section.password or None,
        section.auth_without_tls,
        section.usable_mechanisms,
    )


def _implicit(section: HostTransportSection) -> RelayHost:
    return evolve(_host(section), implicit_tls=True)


def _direct(section: DirectSection) -> Direct:
    return Direct(not section.disable_ipv4, not section.disable_ipv6)


def _socks(section: SocksSection) -> Direct:
    address = host_and_port(section.address)
    assert address is not None
    versions = {ip_address(text).version for text in section.remote_ips}
    proxy = SocksProxy(*address, normal_domain(section.remote_hostname))
    return Direct(4 in versions, 6 in versions, proxy)


def _fail(section: FailSection) -> Fail:
    status = EnhancedStatus(section.smtp_code // 100, 7, 0)
    return Fail(Reply(section.smtp_code, section.smtp_message, status))


_KINDS: Mapping[str, Callable[[Any], RelayHost | Direct | ToPeer | Fail]] = {
    "submissions": _implicit,
    "submission": _host,
    "smtp": _host,
    "direct": _direct,
    "socks": _socks,
    "peer": ToPeer,
    "fail": _fail,
}


def relay_host(section: RelayHostSection) -> RelayHost:
    """A relay host's."""
    return RelayHost(
        section.host,
        section.port,
        section.tls,
        section.implicit_tls,
        section.username or None,
        section.password or None,
        section.auth_without_tls,
    )


def relay_place(section: RelayingSection) -> RelayPlace:
    """Where it is said which relay hosts there are."""
    return RelayPlace(
        RelayFolder(Path(section.dir)) if section.dir else None,
        section.variables,
        Path(section.recipient_routes) if section.recipient_routes else None,
        section.tls_scope == "all",
        frozenset(host.lower() for host in section.unverified_hosts),
        {chain_key(one): relay_chain(one) for one in section.chain},
    )


def chain_key(section: ChainSection) -> str:
    """Whose chain it is.  Raises: Refusal."""
    return f"{ACCOUNT}{section.account}" if section.account else sender_key(section.sender)


def relay_chain(section: ChainSection) -> RelayChain:
    """A chain's.  Raises: MalformedChain."""
    hops = [HopValue(hop.next_hop, hop.weight, hop.tls, hop.credentials) for hop in section.hop]
    return checked_chain(ChainValue(hops, list(section.move_on)))


def outbound_settings(settings: Settings) -> OutboundSettings:
    """The SMTP client's."""
    section = settings.smtp_out
    return OutboundSettings(
        ehlo_name=section.ehlo_name or settings.hostname,
        source_ipv4=section.source_ipv4,
        source_ipv6=section.source_ipv6,
        ipv4=section.ipv4,
        ipv6=section.ipv6,
        prefer_ipv4=section.prefer_ipv4,
        mx_port=section.mx_port,
        mx_tls=section.mx_tls,
        host_overrides=section.host_overrides,
        timeouts=Timeouts(
            connect=section.connect_timeout,
            greeting=section.command_timeout,
            command=section.command_timeout,
        ),
        own_names=(settings.hostname,),
    )


def obeys_dane(settings: Settings) -> bool:
    """Whether TLSA records decide: localserve goes out to nobody."""
    return settings.smtp_out.dane and settings.dns.validating and not settings.localserve


def obeys_mta_sts(settings: Settings) -> bool:
    """Whether other domains' policies decide."""
    return settings.smtp_out.mta_sts and not settings.localserve
