"""The configuration file and ``MAILRELAY_...`` variables into Settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from mailrelay.config.checks import check_settings
from mailrelay.config.environment import override
from mailrelay.config.handoffs import completed_endpoints, completed_handoffs
from mailrelay.config.incoming import completed_rspamd
from mailrelay.config.read import Problem, Reader, from_file
from mailrelay.config.settings import Settings
from mailrelay.config.tls_checks import completed_acme, completed_tls
from mailrelay.config.transports import (
    PORTS,
    HostTransportSection,
    RelayHostSection,
    RelayingSection,
    TransportSection,
)
from mailrelay.net.tls import TLSLevel


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
        check_settings(settings, reader)
    if reader.problems or settings is None:
        raise BadConfiguration(file, reader.problems)
    return settings


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
