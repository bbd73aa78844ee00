"""``mailrelay relay``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import evolve, frozen

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, print_json, print_properties, print_rows
from mailrelay.cli.passwords import read_password, read_secret
from mailrelay.cli.target import (
    EX_CONFIG,
    become_owner,
    config_option,
    directory_option,
    find_settings,
    opened,
)
from mailrelay.config.convert import relay_place
from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.control.relays import RelayControl, RelayFolder, RelayPlace, read_sources
from mailrelay.routing.relay_files import NULL_SENDER, RelayProblem
from mailrelay.routing.relay_rules import Hop, RelayDecision, RelayRules
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

MASK = "********"
RECIPIENT_MX = "<mx-of-recipient-domain>"


@click.group()
def relay() -> None:
    """Relay hosts by sender, and who logs in there."""


def relay_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--relay-dir``, ``--config`` and ``--dir``; it is called with ``folder``."""

    @click.option(
        "--relay-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder of the files; the configured one when left out.",
    )
    @config_option
    @directory_option
    @wraps(command)
    def with_folder(
        *args: Any,
        relay_dir: Path | None,
        config_file: Path | None,
        data_dir: Path | None,
        **options: Any,
    ) -> Any:
        folder = relay_dir or _configured(find_settings(config_file, data_dir))
        with refusals():
            return command(*args, folder=RelayFolder(folder), **options)

    return with_folder


def _configured(settings: Settings) -> Path:
    if not settings.relaying.dir:
        fail("the server has no folder of relay hosts: set [relaying] dir, or give --relay-dir DIR")
    become_owner(settings.data_dir)
    return Path(settings.relaying.dir)


@contextmanager
def refusals() -> Iterator[None]:
    """End the command with what was refused, or with what the disk said."""
    try:
        yield
    except Refusal as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'the folder'}: {error.strerror}")


@relay.command("add-domain")
@relay_options
@click.argument("domain")
@click.argument("host")
@click.argument("port", default="25")
def add_domain(folder: RelayFolder, domain: str, host: str, port: str) -> None:
    """Have senders of DOMAIN, or one address, go by HOST."""
    key = RelayControl(folder).add_domain(domain, host, port)
    click.echo(f"Senders of {key} go by {host}, port {port}.")


@relay.command("exclude-domain")
@relay_options
@click.argument("domain")
def exclude_domain(folder: RelayFolder, domain: str) -> None:
    """Have senders of DOMAIN not go by RELAY_HOST."""
    key = RelayControl(folder).exclude_domain(domain)
    click.echo(f"Senders of {key} do not go by RELAY_HOST.")


@relay.command("add-auth")
@relay_options
@click.argument("domain")
@click.argument("username")
@click.argument("password", required=False)
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="Its first line; - is stdin."
)
def add_auth(
    folder: RelayFolder,
    domain: str,
    username: str,
    password: str | None,
    password_file: Path | None,
) -> None:
    """Have senders of DOMAIN, or one address, log in."""
    given = _password(password, password_file)
    key = RelayControl(folder).add_login(domain, username, given)
    click.echo(f"Senders of {key} log in as {username}.")


@relay.command("add-host-auth")
@relay_options
@click.argument("host")
@click.argument("username")
@click.argument("password", required=False)
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="Its first line; - is stdin."
)
def add_host_auth(
    folder: RelayFolder,
    host: str,
    username: str,
    password: str | None,
    password_file: Path | None,
) -> None:
    """Have everybody log in at HOST, as [HOST]:PORT or by its name."""
    given = _password(password, password_file)
    key = RelayControl(folder).add_host_login(host, username, given)
    click.echo(f"At {key} everybody logs in as {username}.")


def _password(given: str | None, file: Path | None) -> str:
    if given is not None:
        return given
    if file is None and not sys.stdin.isatty():
        return read_secret(Path("-"), "password")
    return read_password(file, "Password")


@relay.command("remove")
@relay_options
@click.argument("key")
def remove(folder: RelayFolder, key: str) -> None:
    """Take a domain, address or host out of both files."""
    files = RelayControl(folder).remove(key)
    click.echo(f"{key} is gone from {' and '.join(file.file_name for file in files)}.")


@relay.command("list")
@relay_options
@json_option
def list_entries(folder: RelayFolder, as_json: bool) -> None:
    """List relay hosts and logins, without passwords."""
    rows = [
        {
            "key": entry.key,
            "next_hop": entry.next_hop,
            "excluded": entry.opted_out,
            "username": entry.username,
        }
        for entry in RelayControl(folder).entries()
    ]
    columns = ("key", "next_hop", "excluded", "username")
    print_rows(rows, columns, "No relay hosts.", as_json=as_json)


@relay.command("import")
@relay_options
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--replace", is_flag=True, help="Take what SOURCE says where both say something.")
def import_entries(folder: RelayFolder, source: Path, replace: bool) -> None:
    """Take over the files of docker-mailserver's folder SOURCE."""
    try:
        changed = RelayControl(folder).import_from(RelayFolder(source), replace=replace)
    except RelayProblem as problem:
        fail(f"{source}: {problem}", EX_CONFIG)
    click.echo(f"{changed} entries are new or changed.")


@frozen
class _Asked:
    """What a check is about, and what it is judged by."""

    place: RelayPlace
    managed_domains: Sequence[str]
    shows_passwords: bool


@relay.command("check")
@click.argument("sender")
@click.argument("recipient", default="someone@recipient.invalid")
@click.option("--relay-dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--managed-domain", "managed", multiple=True, help="A domain of ours (repeatable).")
@click.option(
    "--recipient-routes",
    "routes_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PATTERN smtp:NEXTHOP a line, as Postfix's transport map.",
)
@config_option
@directory_option
@json_option
def check(
    sender: str,
    recipient: str,
    relay_dir: Path | None,
    managed: tuple[str, ...],
    routes_file: Path | None,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Say by which relay host mail of SENDER to RECIPIENT goes, and why."""
    from_, to = _sender(sender), _address(recipient, "recipient")
    with refusals():
        asked = _asked(relay_dir, config_file, data_dir, managed)
        place = asked.place
        if routes_file is not None:
            place = evolve(place, recipient_routes=routes_file)
        try:
            rules = read_sources(place, asked.managed_domains).rules()
        except RelayProblem as problem:
            _print_problem(problem, as_json=as_json)
    is_local = to.domain in asked.managed_domains
    decision = None if is_local else rules.decide(from_, to)
    found = _object(decision, rules, shows_passwords=asked.shows_passwords)
    if as_json:
        print_json(found)
    else:
        print_properties(_properties(found))


def _asked(
    relay_dir: Path | None, config_file: Path | None, data_dir: Path | None, managed: Sequence[str]
) -> _Asked:
    domains = [_domain(one) for one in managed]
    if relay_dir is not None:
        place = RelayPlace(RelayFolder(relay_dir), os.environ)
        return _Asked(place, domains, shows_passwords=True)
    settings = find_settings(config_file, data_dir)
    with opened(settings) as control:
        known = control.routes.router.directory().domains
    place = relay_place(settings.relaying)
    return _Asked(place, [*domains, *known], shows_passwords=False)


def _sender(text: str) -> Address | None:
    return None if text in ("", NULL_SENDER) else _address(text, "sender")


def _address(text: str, what: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        fail(f"the {what} {text!r} is no address: {error}")


def _domain(text: str) -> str:
    try:
        return normal_domain(text)
    except MalformedAddress as error:
        fail(f"--managed-domain {text!r} is no domain: {error}")


def _print_problem(problem: RelayProblem, *, as_json: bool) -> None:
    place = problem.warning
    if as_json:
        where: dict[str, object] = {"file": place.file.value, "line": place.line}
        print_json({"route": "config-error", **where, "detail": place.text, "hops": []})
    else:
        click.echo(f"mailrelay: {problem}", err=True)
    sys.exit(EX_CONFIG)


def _object(
    decision: RelayDecision | None, rules: RelayRules, *, shows_passwords: bool
) -> dict[str, Any]:
    hops: list[dict[str, Any]] = []
    if decision is not None:
        hops = [_hop(hop, shows_passwords=shows_passwords) for hop in decision.hops] or [_BY_MX]
    is_relayed = decision is not None and bool(decision.hops)
    return {
        "route": "local" if decision is None else "relay" if is_relayed else "direct",
        "hops": hops,
        "warnings": [str(warning) for warning in rules.warnings],
        "considered": [
            {"rule": one.rule, "key": one.key, "said": one.said}
            for one in (decision.considered if decision is not None else ())
        ],
    }


_BY_MX = {
    "host": RECIPIENT_MX,
    "port": 25,
    "mx_lookup": True,
    "auth": None,
    "tls": "default",
    "verify": False,
}


def _hop(hop: Hop, *, shows_passwords: bool) -> dict[str, Any]:
    login = hop.login
    return {
        "host": hop.next_hop.host,
        "port": hop.next_hop.port,
        "mx_lookup": hop.next_hop.mx_lookup,
        "auth": login
        and {
            "username": login.credentials.username,
            "password": login.credentials.password if shows_passwords else MASK,
            "matched_by": login.matched_by.value,
        },
        "tls": hop.tls.value,
        "verify": hop.verifies,
    }


def _properties(found: dict[str, Any]) -> dict[str, object]:
    rules = [f"{one['rule']} {one['key']}".rstrip() for one in found["considered"]]
    said = [one["said"] for one in found["considered"]]
    lists = {
        "hop": [_hop_text(hop) for hop in found["hops"]],
        "rule": [f"{rule}: {text}" for rule, text in zip(rules, said, strict=True)],
        "warning": found["warnings"],
    }
    numbered = {
        f"{name} {number}": text
        for name, texts in lists.items()
        for number, text in enumerate(texts, 1)
    }
    return {"route": found["route"], **numbered}


def _hop_text(hop: dict[str, Any]) -> str:
    login = hop["auth"]
    who = f", as {login['username']} (by {login['matched_by']})" if login else ", without login"
    mx = ", by its MX records" if hop["mx_lookup"] else ""
    verified = ", certificate verified" if hop["verify"] else ""
    return f"{hop['host']} port {hop['port']}{mx}, TLS {hop['tls']}{verified}{who}"
