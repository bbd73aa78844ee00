"""``mailrelay relay``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from mailrelay.cli.output import fail
from mailrelay.cli.passwords import read_password, read_secret
from mailrelay.cli.target import (
    EX_CONFIG,
    EX_USAGE,
    become_owner,
    config_option,
    directory_option,
    find_settings,
    opened,
    settled,
    target_options,
)
from mailrelay.config.convert import relay_place
from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.control.relays import RelayControl, RelayFolder, read_sources, read_text
from mailrelay.control.stored_relays import StoredRelayControl
from mailrelay.routing.relay_files import RelayFile, RelayProblem


@click.group()
def relay() -> None:
    """Relay hosts by sender, and who logs in there."""


Rules = RelayControl | StoredRelayControl


def relay_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command options that say which rules are meant; it is called with ``rules``."""

    @click.option(
        "--relay-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder of the files; the configured one when left out.",
    )
    @click.option("--directory", is_flag=True, help="The server's directory data, not the files.")
    @config_option
    @directory_option
    @wraps(command)
    def with_rules(
        *args: Any,
        relay_dir: Path | None,
        directory: bool,
        config_file: Path | None,
        data_dir: Path | None,
        **options: Any,
    ) -> Any:
        if relay_dir is not None:
            if directory:
                fail("--relay-dir names files, --directory none of them: give one", EX_USAGE)
            with refusals():
                return command(*args, rules=RelayControl(RelayFolder(relay_dir)), **options)
        settings = find_settings(config_file, data_dir)
        if directory:
            with opened(settings) as control, refusals():
                return command(*args, rules=control.relays, **options)
        folder = configured_folder(settings)
        with refusals():
            return command(*args, rules=RelayControl(RelayFolder(folder)), **options)

    return with_rules


def configured_folder(settings: Settings) -> Path:
    """The folder of the files; ends the command when there is none."""
    if not settings.relaying.dir:
        fail(
            "the server has no folder of relay hosts: set [relaying] dir, or give --relay-dir DIR,"
            " or --directory for directory data"
        )
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
def add_domain(rules: Rules, domain: str, host: str, port: str) -> None:
    """Have senders of DOMAIN, or one address, go by HOST."""
    key = settled(rules.add_domain(domain, host, port))
    click.echo(f"Senders of {key} go by {host}, port {port}.")


@relay.command("exclude-domain")
@relay_options
@click.argument("domain")
def exclude_domain(rules: Rules, domain: str) -> None:
    """Have senders of DOMAIN not go by RELAY_HOST."""
    key = settled(rules.exclude_domain(domain))
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
    rules: Rules,
    domain: str,
    username: str,
    password: str | None,
    password_file: Path | None,
) -> None:
    """Have senders of DOMAIN, or one address, log in."""
    given = _password(password, password_file)
    key = settled(rules.add_login(domain, username, given))
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
    rules: Rules,
    host: str,
    username: str,
    password: str | None,
    password_file: Path | None,
) -> None:
    """Have everybody log in at HOST, as [HOST]:PORT or by its name."""
    given = _password(password, password_file)
    key = settled(rules.add_host_login(host, username, given))
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
def remove(rules: Rules, key: str) -> None:
    """Take all that is said of a domain, address, host or account out."""
    if isinstance(rules, StoredRelayControl):
        kinds = settled(rules.remove(key))
        click.echo(f"{key} is gone from directory data: {', '.join(kinds)}.")
        return
    files = settled(rules.remove(key))
    click.echo(f"{key} is gone from {' and '.join(file.file_name for file in files)}.")


@relay.command("import")
@relay_options
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--replace", is_flag=True, help="Take what SOURCE says where both say something.")
@click.option(
    "--recipient-routes",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --directory: a file of recipient routes, too.",
)
def import_entries(
    rules: Rules, source: Path, replace: bool, recipient_routes: Path | None
) -> None:
    """Take over the files of docker-mailserver's folder SOURCE."""
    try:
        if isinstance(rules, StoredRelayControl):
            file = RelayFile.RECIPIENT_ROUTES
            routes = read_text(file, recipient_routes) if recipient_routes else None
            changed = settled(rules.import_from(RelayFolder(source), routes, replace=replace))
        elif recipient_routes is not None:
            fail("recipient routes can be taken over with --directory only", EX_USAGE)
        else:
            changed = settled(rules.import_from(RelayFolder(source), replace=replace))
    except RelayProblem as problem:
        fail(f"{source}: {problem}", EX_CONFIG)
    click.echo(f"{changed} entries are new or changed.")


@relay.command("add-route")
@target_options
@click.argument("pattern")
@click.argument("next_hop", default="")
def add_route(settings: Settings, pattern: str, next_hop: str) -> None:
    """Have mail for PATTERN (address, domain, .domain or *) go by NEXT_HOP, or else by MX.

    It is directory data.
    """
    with opened(settings) as control:
        key = settled(control.relays.add_route(pattern, next_hop))
    click.echo(f"Mail for {key} goes by {next_hop or 'MX'}.")


@relay.command("add-chain")
@target_options
@click.argument("whose")
@click.argument("hops", nargs=-1, required=True, metavar="HOP...")
@click.option(
    "--move-on",
    multiple=True,
    metavar="REPLY",
    help='Replies that have the next host asked, as "421" or "550 5.7.1" (repeatable).',
)
def add_chain(
    settings: Settings, whose: str, hops: tuple[str, ...], move_on: tuple[str, ...]
) -> None:
    """Have mail of WHOSE (a domain, an address, account:NAME) go by several relay hosts.

    A HOP is "[HOST]:PORT", and behind it weight=N, tls=LEVEL and credentials=KEY as needed.  It is
    directory data.
    """
    with opened(settings) as control:
        key = settled(control.relays.add_chain(whose, hops, move_on))
        rules = settled(control.relays.stored())
    click.echo(f"Senders of {key} go by a chain of {len(hops)}.")
    with refusals():
        try:
            sources = read_sources(relay_place(settings.relaying), (), rules)
        except RelayProblem as problem:
            raise Refusal(str(problem)) from None
    named = {hop.credentials for hop in sources.stored.chains[key].hops} - {None}
    for one in sorted(filter(None, named - set(sources.rules().credentials))):
        said = f"there are no credentials {one}: mail waits for them (relay add-host-auth)"
        click.echo(f"mailrelay: {said}", err=True)
