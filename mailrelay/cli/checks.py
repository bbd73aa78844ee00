"""``mailrelay check-config``: everything that is wrong, at once, with its place and a remedy."""

from __future__ import annotations

import os
import pwd
import re
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

import click
from attrs import frozen

from mailrelay.certificates.files import Files, read_pair
from mailrelay.certificates.held import Place
from mailrelay.certificates.pair import Fault, Pair
from mailrelay.cli.configuration import show_config
from mailrelay.cli.output import fail, print_json
from mailrelay.cli.target import EX_CONFIG, EX_USAGE
from mailrelay.config.convert import relay_place
from mailrelay.config.load import BadConfiguration, load_settings
from mailrelay.config.read import Problem, line_of
from mailrelay.config.settings import SMTP_ROLES, Settings
from mailrelay.config.tls_checks import place_of
from mailrelay.config.transports import login_sections
from mailrelay.control.relays import read_sources
from mailrelay.net.privileges import CannotDropPrivileges, refuse_root
from mailrelay.net.tls import UnusableCertificate

RENEW_WITHIN = timedelta(days=14)


@frozen
class Remark:
    """A problem, which keeps the server from starting, or a warning, which does not."""

    place: str
    text: str
    is_problem: bool = False
    line: int = 0


@click.command("check-config")
@click.argument("file", required=False, envvar="MAILRELAY_CONFIG", type=click.Path(path_type=Path))
@click.option("--show", is_flag=True, help="Print all settings as they are; no secrets.")
@click.option("--json", "as_json", is_flag=True)
def check_config(file: Path | None, show: bool, as_json: bool) -> None:
    """Check a configuration file.

    Without FILE, that of $MAILRELAY_CONFIG.
    """
    if file is None:
        fail("which file? Name it, or set MAILRELAY_CONFIG", EX_USAGE)
    if show:
        show_config(file, as_json=as_json)
        return
    remarks = check(file)
    problems = [one for one in remarks if one.is_problem]
    if as_json:
        print_json(
            {
                "file": str(file),
                "usable": not problems,
                "problems": [_object(one) for one in problems],
                "warnings": [_object(one) for one in remarks if not one.is_problem],
            }
        )
    else:
        for one in remarks:
            click.echo(f"{file}:{one.line}: {_text(one)}" if one.line else f"{file}: {_text(one)}")
        if not problems:
            click.echo(f"{file} can be used.")
    sys.exit(EX_CONFIG if problems else 0)


def check(file: Path) -> list[Remark]:
    """What is to be said about ``file``, problems first."""
    try:
        settings = load_settings(file.absolute(), os.environ)
    except BadConfiguration as error:
        return [_remark(problem) for problem in error.problems]
    text = file.read_text(encoding="utf-8")
    found = []
    for look in (_tls, _listeners, _user, _data_dir, _storage, _relay):
        for one in look(settings):
            line = line_of(text, one.place)
            found.append(Remark(one.place, one.text, one.is_problem, line))
    return sorted(found, key=lambda one: not one.is_problem)


def _remark(problem: Problem) -> Remark:
    return Remark(problem.place, problem.text, True, problem.line)


def _object(one: Remark) -> dict[str, object]:
    return {"line": one.line or None, "place": one.place, "text": one.text}


def _text(one: Remark) -> str:
    level = "" if one.is_problem else "warning: "
    return f"{level}{one.place}: {one.text}" if one.place else f"{level}{one.text}"


def _tls(settings: Settings) -> Iterator[Remark]:
    """The files belong together, can be read, are still valid and name the server."""
    place = place_of(settings)
    if place.is_empty and settings.acme is None:
        for i, listener in enumerate(settings.listener, 1):
            if listener.role == "submission" and not listener.auth_without_tls:
                where = f"listener[{i}].role"
                yield Remark(where, "nobody can log in without TLS: set [tls] certificate")
        return
    try:
        files = place.files()
    except UnusableCertificate as error:
        yield Remark("tls.directory", str(error), is_problem=True)
        return
    for one in files:
        where = _place_of(one, place)
        try:
            pair = read_pair(one, place.owners)
        except UnusableCertificate as error:
            yield Remark(where, str(error), is_problem=one in place.named)
            continue
        is_main = one == place.main and settings.acme is None
        yield from _pair(where, pair, settings.hostname.lower() if is_main else "")


def _place_of(files: Files, place: Place) -> str:
    if files == place.main:
        return "tls.certificate"
    return "tls.certificates" if files in place.others else "tls.directory"


def _pair(place: str, pair: Pair, host: str) -> Iterator[Remark]:
    now, end = datetime.now(UTC), pair.certificate.not_valid_after_utc
    faults = pair.faults(now.timestamp(), host)
    if Fault.EXPIRED in faults:
        yield Remark(place, f"it was valid until {end:%Y-%m-%d}: renew it")
    elif end < now + RENEW_WITHIN:
        yield Remark(place, f"it is valid until {end:%Y-%m-%d} only: renew it")
    if Fault.NOT_YET in faults:
        begin = pair.certificate.not_valid_before_utc
        yield Remark(place, f"it is not valid before {begin:%Y-%m-%d}")
    if Fault.CHAIN in faults:
        yield Remark(place, Fault.CHAIN.value)
    if Fault.NAME in faults:
        yield Remark(place, f"it does not name {host}: clients will not believe it")


def _listeners(settings: Settings) -> Iterator[Remark]:
    """They can be bound, each once, and offer no password in clear to a network."""
    seen: dict[str, int] = {}
    lowest = first_free_port()
    for i, listener in enumerate(settings.listener, 1):
        place, parts = f"listener[{i}].endpoint", listener.endpoint.split(":")
        port = int(parts[1]) if parts[0].startswith("tcp") and parts[1:2][0].isdigit() else 0
        if port and port < lowest and os.geteuid() != 0:
            yield Remark(place, f"port {port} needs a start as root, or CAP_NET_BIND_SERVICE")
        if port and listener.endpoint in seen:
            other = seen[listener.endpoint]
            yield Remark(place, f"listener[{other}] has the same: keep one", is_problem=True)
        seen[listener.endpoint] = i
        if listener.webapi and listener.role == "http" and is_reachable(listener.endpoint):
            place = f"listener[{i}].webapi"
            text = "passwords go over the network in clear: role https, or interface=127.0.0.1"
            yield Remark(place, text)
        is_local = "interface=127." in listener.endpoint or "interface=\\:\\:1" in listener.endpoint
        if listener.auth_without_tls and listener.role in SMTP_ROLES and not is_local:
            place = f"listener[{i}].auth_without_tls"
            yield Remark(place, "passwords go over the network in clear: take it out")
    if settings.localserve:
        yield Remark("localserve", "takes every recipient and sends nothing out: not for servers")


def is_reachable(endpoint: str) -> bool:
    """Whether more than this machine and the private network it is in can connect."""
    interface = re.search(r"interface=((?:\\.|[^:])+)", endpoint)
    if interface is None:
        return not endpoint.startswith("unix:")
    try:
        address = ip_address(interface[1].replace("\\", ""))
    except ValueError:
        return True
    return not address.is_private or address.is_unspecified


def first_free_port() -> int:
    """The lowest port that any user may bind."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _user(settings: Settings) -> Iterator[Remark]:
    """The server can become its user, or is allowed to stay root."""
    if settings.run_as:
        try:
            pwd.getpwnam(settings.run_as)
        except KeyError:
            remedy = f"no user {settings.run_as}: make it with useradd --system {settings.run_as}"
            yield Remark("run_as", remedy, is_problem=True)
    else:
        try:
            refuse_root("", allow_root=settings.allow_root)
        except CannotDropPrivileges as error:
            yield Remark("run_as", str(error), is_problem=True)


def _data_dir(settings: Settings) -> Iterator[Remark]:
    """The server's user can get there, and nobody else in."""
    path = settings.data_dir
    if not path.exists():
        yield Remark("data_dir", f"{path} will be made at the first start")
        return
    if not path.is_dir():
        yield Remark("data_dir", f"{path} is no directory", is_problem=True)
        return
    status = path.stat()
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Remark("data_dir", f"others can look into it: chmod 700 {path}")
    if os.geteuid() != 0 and status.st_uid != os.geteuid():
        yield Remark("data_dir", f"{path} belongs to another user than you")


def _storage(settings: Settings) -> Iterator[Remark]:
    """The database is of a kind that there is, with its driver."""
    kind = settings.storage.url.split(":")[0].split("+")[0]
    if kind not in ("sqlite", "postgresql"):
        text = "must begin with sqlite:/// or postgresql+psycopg://"
        yield Remark("storage.url", text, is_problem=True)
    if kind == "postgresql" and find_spec("psycopg") is None:
        text = "needs psycopg: pip install 'mailrelay[postgres]'"
        yield Remark("storage.url", text, is_problem=True)


def _relay(settings: Settings) -> Iterator[Remark]:
    """Credentials are not sent in clear without being asked to."""
    hosts = login_sections(settings.relay_host, settings.route, settings.transport)
    for place, host in hosts:
        if not host.username:
            continue
        if not host.password:
            yield Remark(place, "a username without password: set password or password_file")
        if host.auth_without_tls:
            yield Remark(f"{place}.auth_without_tls", "the password may be sent in clear")
    for warning in read_sources(relay_place(settings.relaying), ()).rules().warnings:
        yield Remark("relaying", str(warning))
