"""``mailrelay key``."""

from __future__ import annotations

import time

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import Duration
from mailrelay.cli.output import moment, print_json, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.keys import ListedKey, NewKey
from mailrelay.directory.keys import Scope


@click.group()
def key() -> None:
    """Keys that applications log in with."""


@key.command("add")
@target_options
@click.argument("account")
@click.option("--name", required=True, help="What it is for, as it is listed.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    default=[Scope.SEND.value],
    show_default=True,
    help="What it may do (repeatable).",
)
@click.option("--sender", "senders", multiple=True, help="Address or domain it may send from.")
@click.option("--network", "networks", multiple=True, help="Whence it is taken, as 192.0.2.0/24.")
@click.option("--expires-in", type=Duration(), help="How long it works, as 90d.")
@click.option("--requests-per-minute", type=int, help="Of the API.")
@json_option
def add_key(
    settings: Settings,
    account: str,
    name: str,
    scopes: tuple[str, ...],
    senders: tuple[str, ...],
    networks: tuple[str, ...],
    expires_in: float | None,
    requests_per_minute: int | None,
    as_json: bool,
) -> None:
    """Make a key of an account.  It is shown this once."""
    wanted = NewKey(
        name=name,
        scopes=frozenset(Scope(scope) for scope in scopes),
        senders=senders,
        networks=networks,
        expires_at=None if expires_in is None else time.time() + expires_in,
        requests_per_minute=requests_per_minute,
    )
    with opened(settings) as control:
        made, text = settled(control.keys.add(account, wanted))
    if as_json:
        print_json({**_row(ListedKey(made, account)), "key": text})
    else:
        click.echo(f"Key {made.id} of {account}; it is not shown again:\n{text}")


@key.command("list")
@target_options
@click.option("--account", help="Of this account alone.")
@json_option
def list_keys(settings: Settings, account: str | None, as_json: bool) -> None:
    """List the keys, without what they are."""
    with opened(settings) as control:
        found = settled(control.keys.listed(account))
    columns = ("id", "account", "name", "scopes", "senders", "networks", "expires", "last_used")
    print_rows([_row(one) for one in found], columns, "No keys.", as_json=as_json)


@key.command("remove")
@target_options
@click.argument("key_id", metavar="ID", type=int)
def remove_key(settings: Settings, key_id: int) -> None:
    """Revoke a key: from now on it is wrong."""
    with opened(settings) as control:
        settled(control.keys.remove(key_id))
    click.echo(f"Key {key_id} is revoked.")


def _row(one: ListedKey) -> dict[str, object]:
    made = one.key
    return {
        "id": made.id,
        "account": one.account,
        "name": made.name,
        "scopes": sorted(made.scopes),
        "senders": sorted(made.senders),
        "networks": list(made.networks),
        "requests_per_minute": made.requests_per_minute,
        "created": moment(made.created_at),
        "expires": moment(made.expires_at),
        "last_used": moment(made.last_used_at),
    }
