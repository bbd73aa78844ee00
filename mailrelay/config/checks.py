"""What the types of settings cannot say, section by section."""

from __future__ import annotations

from attrs import asdict
from twisted.internet.endpoints import serverFromString

from mailrelay.config.convert import chain_key, relay_chain, relay_place
from mailrelay.config.handoffs import check_handoffs
from mailrelay.config.incoming import check_incoming
from mailrelay.config.read import Reader, check_addresses, check_networks
from mailrelay.config.reports import check_reports
from mailrelay.config.settings import (
    HTTP_ROLES,
    SMTP_ROLES,
    ListenerSection,
    QueueSection,
    Settings,
)
from mailrelay.config.tls_checks import check_tls, has_certificates
from mailrelay.config.transport_checks import check_logins, check_routes, check_transports
from mailrelay.config.transports import TLS_SCOPES, RelayingSection, relay_host_sections
from mailrelay.control.errors import Refusal
from mailrelay.control.relays import read_sources
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.queue.schedule import PROFILES
from mailrelay.routing.relay_chains import MalformedChain
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.smtp.address import MalformedAddress, normal_domain
from mailrelay.web.settings import HTTPSettings

_LEVELS = ("debug", "info", "warn", "error", "critical")


def check_settings(settings: Settings, reader: Reader) -> None:
    """Note with ``reader`` what is wrong with ``settings``."""
    try:
        normal_domain(settings.hostname)
    except MalformedAddress:
        reader.problem("hostname", f"{settings.hostname!r} is not a host name")
    if settings.autoconfig.imap_host:
        try:
            normal_domain(settings.autoconfig.imap_host)
        except MalformedAddress:
            text = f"{settings.autoconfig.imap_host!r} is not a host name"
            reader.problem("autoconfig.imap_host", text)
    check_networks("trusted_networks", settings.trusted_networks, reader)
    check_addresses("dns.addresses", settings.dns.addresses, reader)
    webhooks = settings.webhooks
    check_networks("webhooks.allowed_networks", webhooks.allowed_networks, reader)
    _check_forwarding(settings, reader)
    if not settings.listener:
        reader.problem("listener", "there is none: add [[listener]] with role and endpoint")
    for i, listener in enumerate(settings.listener):
        _check_listener(listener, settings, reader, f"listener[{i + 1}]")
    check_tls(settings, reader)
    _check_queue(settings.queue, reader)
    _check_http(settings.http, reader)
    _check_ports(settings, reader)
    _check_outbound_tls(settings, reader)
    check_transports(settings.transport, reader.problem)
    check_routes(settings.route, settings.transport, reader.problem)
    _check_relaying(settings.relaying, reader)
    check_handoffs(settings, reader)
    check_incoming(settings, reader)
    check_reports(settings.reports, reader.problem)
    hosts = list(relay_host_sections(settings.relay_host, settings.route))
    if settings.handoff_relay is not None:
        hosts.append(("handoff_relay", settings.handoff_relay))
    check_logins(hosts, reader.problem)
    _check_log(settings, reader)


def _check_forwarding(settings: Settings, reader: Reader) -> None:
    domain = settings.forwarding.srs_domain
    try:
        if domain and normal_domain(domain) != domain:
            reader.problem("forwarding.srs_domain", f"write it as {normal_domain(domain)}")
    except MalformedAddress:
        reader.problem("forwarding.srs_domain", f"{domain!r} is not a host name")


def _check_queue(queue: QueueSection, reader: Reader) -> None:
    if queue.retry_profile not in PROFILES:
        reader.problem("queue.retry_profile", f"must be one of {', '.join(PROFILES)}")
    for name in ("first_retry_after", "longest_retry_after", "give_up_after"):
        value = getattr(queue, name)
        if value is not None and value < 0.001:
            reader.problem(f"queue.{name}", "must be more than 0 seconds")
    for name in ("concurrency_per_destination", "recipients_per_attempt", "window"):
        if getattr(queue, name) < 1:
            reader.problem(f"queue.{name}", "must be at least 1")


def _check_relaying(section: RelayingSection, reader: Reader) -> None:
    if section.tls_scope not in TLS_SCOPES:
        reader.problem("relaying.tls_scope", f"must be one of {', '.join(TLS_SCOPES)}")
    before = len(reader.problems)
    _check_chains(section, reader)
    if len(reader.problems) > before:
        return
    try:
        read_sources(relay_place(section), ())
    except RelayProblem as error:
        reader.problem("relaying", str(error))


def _check_chains(section: RelayingSection, reader: Reader) -> None:
    keys: set[str] = set()
    for number, chain in enumerate(section.chain, 1):
        place = f"relaying.chain[{number}]"
        if bool(chain.sender) == bool(chain.account):
            reader.problem(place, "needs exactly one of sender and account")
            continue
        try:
            key = chain_key(chain)
            relay_chain(chain)
        except (Refusal, MalformedChain) as error:
            reader.problem(place, str(error))
            continue
        if key in keys:
            reader.problem(place, f"another one is {key}'s, too")
        keys.add(key)


def _check_http(http: HTTPSettings, reader: Reader) -> None:
    for name, value in asdict(http).items():
        if name in ("public_url", "requests_per_minute", "requests_per_hour"):
            continue
        if value <= 0:
            reader.problem(f"http.{name}", "must be more than 0")
    if http.public_url and not _is_base_url(http.public_url):
        reader.problem("http.public_url", f"{http.public_url!r} is not as https://mail.example.org")


def _is_base_url(text: str) -> bool:
    try:
        return parse_url(text).path == "/" and not text.endswith(("/", "#", "?"))
    except UnusableURL:
        return False


def _check_outbound_tls(settings: Settings, reader: Reader) -> None:
    if settings.dns.validating and not settings.dns.nameservers:
        reader.problem("dns.validating", "needs nameservers: those that check DNSSEC for us")
    for domain in settings.smtp_out.tls:
        place, name = f"smtp_out.tls.{domain}", domain.removeprefix(".")
        try:
            if normal_domain(name) != name:
                reader.problem(place, f"write it as {normal_domain(name)}")
        except MalformedAddress:
            reader.problem(place, f"{domain!r} is neither a domain nor .domain")


def _check_ports(settings: Settings, reader: Reader) -> None:
    ports = {"smtp_out.mx_port": settings.smtp_out.mx_port}
    ports["autoconfig.imap_port"] = settings.autoconfig.imap_port
    for where, relay_host in relay_host_sections(settings.relay_host, settings.route):
        ports[f"{where}.port"] = relay_host.port
    if settings.handoff_relay is not None:
        ports["handoff_relay.port"] = settings.handoff_relay.port
    for place, port in ports.items():
        if not 1 <= port <= 65535:
            reader.problem(place, f"must be a port from 1 to 65535, not {port}")
    for host, instead in settings.smtp_out.host_overrides.items():
        _, colon, port_text = instead.partition(":")
        if colon and ":" not in port_text and not _is_port(port_text):
            reader.problem(f"smtp_out.host_overrides.{host}", f"{instead!r} has no port")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _check_listener(
    listener: ListenerSection, settings: Settings, reader: Reader, place: str
) -> None:
    if listener.role not in (*SMTP_ROLES, *HTTP_ROLES):
        words = ", ".join((*SMTP_ROLES, *HTTP_ROLES))
        reader.problem(f"{place}.role", f"must be one of {words}, not {listener.role!r}")
    needs_tls = listener.role in ("submissions", "https")
    if needs_tls and not has_certificates(settings):
        text = f"{listener.role} needs [tls] certificate and private_key, or [acme]"
        reader.problem(f"{place}.role", text)
    if listener.judge and listener.role != "mx":
        reader.problem(f"{place}.judge", "is for role mx: who logs in is not judged")
    if listener.endpoint.split(":")[0] not in ("tcp", "tcp6", "unix", "systemd"):
        reader.problem(f"{place}.endpoint", "must begin with tcp:, tcp6:, unix: or systemd:")
        return
    try:
        serverFromString(None, listener.endpoint)
    except (ValueError, TypeError, LookupError) as error:
        reader.problem(f"{place}.endpoint", f"is no Twisted endpoint string: {error}")


def _check_log(settings: Settings, reader: Reader) -> None:
    if settings.log.format not in ("human", "json"):
        reader.problem("log.format", "must be human or json")
    levels = {"level": settings.log.level} | {
        f"levels.{k}": v for k, v in settings.log.levels.items()
    }
    for name, level in levels.items():
        if level not in _LEVELS:
            reader.problem(f"log.{name}", f"must be one of {', '.join(_LEVELS)}")
