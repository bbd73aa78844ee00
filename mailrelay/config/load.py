"""The configuration file and ``MAILRELAY_...`` variables into Settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve
from twisted.internet.endpoints import serverFromString

from mailrelay.config.convert import chain_key, relay_chain, relay_place
from mailrelay.config.handoffs import (
    check_handoffs,
    completed_endpoints,
    completed_handoffs,
    override_handoffs,
)
from mailrelay.config.incoming import check_incoming, completed_rspamd
from mailrelay.config.read import Problem, Reader, check_addresses, check_networks, from_file
from mailrelay.config.reports import check_reports
from mailrelay.config.settings import (
    HTTP_ROLES,
    SMTP_ROLES,
    ListenerSection,
    QueueSection,
    Settings,
)
from mailrelay.config.tls_checks import check_tls, completed_acme, completed_tls, has_certificates
from mailrelay.config.transport_checks import check_logins, check_routes, check_transports
from mailrelay.config.transports import (
    DOCKER_VARIABLES,
    PORTS,
    TLS_SCOPES,
    HostTransportSection,
    RelayHostSection,
    RelayingSection,
    TransportSection,
    relay_host_sections,
)
from mailrelay.control.errors import Refusal
from mailrelay.control.relays import read_sources
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.net.tls import TLSLevel
from mailrelay.queue.schedule import PROFILES
from mailrelay.routing.relay_chains import MalformedChain
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.smtp.address import MalformedAddress, normal_domain
from mailrelay.web.settings import HTTPSettings

ENVIRONMENT_PREFIX = "MAILRELAY_"
NOT_SETTINGS = frozenset({"CONFIG", "PASSWORD", "TEST"})
"""Variables with our prefix that are no settings."""

_LEVELS = ("debug", "info", "warn", "error", "critical")


class BadConfiguration(Exception):
    """The configuration cannot be used; ``problems`` says everything that is wrong with it."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))
        self.file, self.problems = file, problems


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """The settings in ``path``, overridden by ``environment``.

    Raises: BadConfiguration.
    """
    return parse_settings(read_text(path), environment, file=str(path), base=path.parent)


def read_text(path: Path) -> str:
    """What ``path`` holds.  Raises: BadConfiguration."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadConfiguration(str(path), [Problem("", f"cannot be read: {reason}")]) from error


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """The table that ``text`` is.  Raises: BadConfiguration."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, deep nesting too
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else 0
        raise BadConfiguration(file, [Problem("", f"is not TOML: {error}", line)]) from error


def parse_settings(text: str, environment: Mapping[str, str], *, file: str, base: Path) -> Settings:
    """The settings that ``text`` is; relative paths are below ``base``.

    Raises: BadConfiguration.
    """
    table = parse_toml(text, file)
    reader = Reader(text)
    override(table, environment, reader)
    settings: Settings | None = reader.read(Settings, table)
    if settings is not None:
        settings = _completed(settings, reader, base)
        _check(settings, reader)
    if reader.problems or settings is None:
        raise BadConfiguration(file, reader.problems)
    return settings


def override(table: dict[str, Any], environment: Mapping[str, str], reader: Reader) -> None:
    """Put ``MAILRELAY_SECTION_NAME`` into ``table``; values are read as TOML, else as text."""
    sections = {
        "storage",
        "tls",
        "acme",
        "relaying",
        "relay_host",
        "limits",
        "queue",
        "login",
        "forwarding",
        "http",
        "dns",
        "dnsbl",
        "autoconfig",
        "sender_limits",
        "greylisting",
        "rspamd",
        "first_time_senders",
        "smtp_out",
        "reports",
        "log",
        "handoff_relay",
    }
    for name, value in sorted(environment.items()):
        rest = name.removeprefix(ENVIRONMENT_PREFIX)
        if rest == name or rest.split("_")[0] in NOT_SETTINGS or rest in NOT_SETTINGS:
            continue
        key = rest.lower()
        section = next((s for s in sorted(sections) if key.startswith(f"{s}_")), None)
        target = table if section is None else table.setdefault(section, {})
        if not isinstance(target, dict):
            reader.problem(section or "", "must be a table")
            continue
        target[key if section is None else key.removeprefix(f"{section}_")] = _toml_value(value)
    relaying = {
        setting: environment[name]
        for name, setting in DOCKER_VARIABLES.items()
        if environment.get(name)
    }
    if relaying and isinstance(table.setdefault("relaying", {}), dict):
        table["relaying"].update(relaying)
    override_handoffs(table, environment)


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _completed(settings: Settings, reader: Reader, base: Path) -> Settings:
    """Paths made absolute, secrets read from their files, port 465 understood."""
    data_dir = base / settings.data_dir
    relay_host = settings.relay_host
    if relay_host is not None:
        relay_host = _completed_host(relay_host, reader, base, "relay_host")
    transports = tuple(
        _completed_transport(transport, reader, base, f"transport[{i}]")
        for i, transport in enumerate(settings.transport, 1)
    )
    routes = tuple(
        evolve(r, relay_host=_completed_host(r.relay_host, reader, base, f"route[{i + 1}]"))
        if r.relay_host
        else r
        for i, r in enumerate(settings.route)
    )
    log = settings.log
    log = evolve(log, file=_log_path(base, log.file), mail_log=_log_path(base, log.mail_log))
    return evolve(
        settings,
        data_dir=data_dir,
        relay_host=relay_host,
        handoff=completed_handoffs(settings.handoff, reader, base),
        handoff_in=completed_endpoints(settings.handoff_in, reader, base),
        handoff_relay=_completed_host(settings.handoff_relay, reader, base, "handoff_relay")
        if settings.handoff_relay
        else None,
        relaying=_completed_relaying(settings.relaying, reader, base),
        transport=transports,
        route=routes,
        tls=completed_tls(settings.tls, base),
        acme=completed_acme(settings.acme, reader, base),
        rspamd=completed_rspamd(settings.rspamd, reader, base),
        log=log,
    )


def _log_path(base: Path, name: str) -> str:
    return name if name in ("", "-") else str(base / name)


def _completed_host(
    host: RelayHostSection, reader: Reader, base: Path, place: str
) -> RelayHostSection:
    if host.port == 465:
        host = evolve(host, implicit_tls=True)
    if host.implicit_tls and host.tls in (TLSLevel.NONE, TLSLevel.MAY):
        host = evolve(host, tls=TLSLevel.ENCRYPT)
    return evolve(host, password=_password(host, reader, base, place))


def _completed_relaying(section: RelayingSection, reader: Reader, base: Path) -> RelayingSection:
    return evolve(
        section,
        dir=str(base / section.dir) if section.dir else "",
        recipient_routes=str(base / section.recipient_routes) if section.recipient_routes else "",
        password=_password(section, reader, base, "relaying"),
    )


def _completed_transport(
    transport: TransportSection, reader: Reader, base: Path, place: str
) -> TransportSection:
    completed: dict[str, Any] = {}
    for kind, port in PORTS.items():
        host: HostTransportSection | None = getattr(transport, kind)
        if host is not None:
            password = _password(host, reader, base, f"{place}.{kind}")
            given = port if host.port is None else host.port
            completed[kind] = evolve(host, port=given, password=password)
    return evolve(transport, **completed)


def _password(
    host: RelayHostSection | HostTransportSection | RelayingSection,
    reader: Reader,
    base: Path,
    place: str,
) -> str:
    """The password, read from its file if it has one."""
    return from_file(host.password, host.password_file, reader, base, f"{place}.password")


def _check(settings: Settings, reader: Reader) -> None:
    """What types cannot say."""
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
