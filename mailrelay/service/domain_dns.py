"""What DNS should say of this server, from its settings and this machine."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from attrs import evolve

from mailrelay.certificates.settings import LETS_ENCRYPT
from mailrelay.config.settings import ListenerSection, Settings
from mailrelay.control.dns_check import DNSControl
from mailrelay.control.dns_records import MailHost, ReportAddresses
from mailrelay.directory.model import Directory
from mailrelay.net.own_addresses import outgoing_addresses
from mailrelay.net.threads import Executor
from mailrelay.net.tls import UnusableCertificate
from mailrelay.service.certificates import open_certificates

_PORTS = {"mx": 25, "submission": 587, "submissions": 465, "https": 443}
_PORT = re.compile(r"[a-z0-9]+:(?:port=)?([0-9]{1,5})\b")


def dns_control(
    settings: Settings,
    load: Callable[[], Awaitable[Directory]],
    now: Callable[[], float],
    executor: Executor,
) -> DNSControl:
    """What commands and pages ask of domains' DNS; ``executor`` opens certificates."""

    def host() -> tuple[MailHost, str]:
        found, addresses_from = mail_host(settings)
        is_default = settings.acme is not None and settings.acme.directory == LETS_ENCRYPT
        authority = "letsencrypt.org" if is_default else ""
        told = evolve(found, tlsa=_pins(settings, now), authority=authority)
        return told, addresses_from

    def reports(domain: str) -> ReportAddresses:
        return report_addresses(domain, settings.reports.receive_at)

    return DNSControl(load, lambda: executor.run(host), reports, settings.dns.validating)


def report_addresses(domain: str, receive_at: Sequence[str]) -> ReportAddresses:
    """Those that are read, by their names if they tell; "" where none are."""

    def of(kind: str) -> str:
        named = [text for text in receive_at if kind in text.partition("@")[0].lower()]
        found = next(iter([*named, *receive_at]), "")
        return found if not found or "@" in found else f"{found}@{domain}"

    return ReportAddresses(of("dmarc"), of("tls"))


def _pins(settings: Settings, now: Callable[[], float]) -> Sequence[str]:
    """Of the certificate that mail servers are shown, unless it was only made to have one."""
    try:
        certificates, _ = open_certificates(settings, now)
    except UnusableCertificate:
        return ()
    shown = certificates.of(settings.hostname)
    return () if shown is None or shown.is_self_signed else (shown.tlsa,)


def mail_host(settings: Settings) -> tuple[MailHost, str]:
    """This server, and whence it knows its addresses."""
    addresses, addresses_from = settings.dns.addresses, "[dns] addresses"
    if not addresses:
        sources = (settings.smtp_out.source_ipv4, settings.smtp_out.source_ipv6)
        addresses, addresses_from = tuple(filter(None, sources)), "[smtp_out]"
    if not addresses:
        addresses, addresses_from = outgoing_addresses(), "this machine's routes"
    host = MailHost(
        settings.hostname,
        settings.smtp_out.ehlo_name,
        addresses,
        _port(settings, lambda one: one.role == "mx"),
        _port(settings, lambda one: one.role == "submission"),
        _port(settings, lambda one: one.role == "submissions"),
        _port(settings, lambda one: one.role == "https" and one.autoconfig),
    )
    return host, addresses_from


def https_url(settings: Settings) -> str:
    """Where this server is seen by https."""
    port = _port(settings, lambda one: one.role == "https") or 443
    return f"https://{settings.hostname}" + (f":{port}" if port != 443 else "")


def _port(settings: Settings, fits: Callable[[ListenerSection], bool]) -> int | None:
    """Of the first listener that fits; that of its role where it gets its socket from elsewhere."""
    for section in settings.listener:
        if fits(section):
            found = _PORT.match(section.endpoint)
            return int(found[1]) if found else _PORTS[section.role]
    return None
