"""From the file's sections to the settings that the packages own."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from mailrelay.config.settings import (
    SMTP_ROLES,
    ListenerSection,
    QueueSection,
    RelayHostSection,
    Settings,
)
from mailrelay.inbound.context import ListenerSettings
from mailrelay.outbound.settings import OutboundSettings, Timeouts
from mailrelay.queue.schedule import PROFILES
from mailrelay.queue.scheduler import QueueSettings
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.ways import RelayHost
from mailrelay.smtp.address import normal_domain


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
        evolve(PROFILES[section.retry_profile], **changed),
        section.retired_keep_after,
        section.concurrency_per_destination,
        section.recipients_per_attempt,
        section.window,
    )


def routing_settings(settings: Settings) -> RoutingSettings:
    """The router's."""
    routes = tuple(
        Route(
            normal_route_domain(route.domain),
            relay_host(route.relay_host) if route.relay_host else None,
            route.discard,
            route.mx,
        )
        for route in settings.route
    )
    host = relay_host(settings.relay_host) if settings.relay_host else None
    return RoutingSettings(
        routes, host, simulate=settings.localserve, local_only=settings.localserve
    )


def normal_route_domain(text: str) -> str:
    """A route's domain as recipients' are kept."""
    if text == "*":
        return text
    dot = "." if text.startswith(".") else ""
    return dot + normal_domain(text.removeprefix("."))


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
