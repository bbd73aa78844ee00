"""``mailrelay suppression``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import IO, Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import DURATION
from mailrelay.cli.output import moment, print_json, print_properties, print_rows
from mailrelay.cli.suppression_csv import read_csv, write_csv
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.suppression import ListedSuppression, SuppressionFilter
from mailrelay.policy.suppression import Cause

account_option = click.option("--account", required=True, help="Whose list.")


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--account`` and ``--server``, one of which names the list.

    It is called with ``account``, None for the server's.
    """

    @click.option("--account", help="Whose list.")
    @click.option("--server", is_flag=True, help="The server's list: it holds for every account.")
    @wraps(command)
    def with_list(*args: Any, account: str | None, server: bool, **options: Any) -> Any:
        if server is (account is not None):
            raise click.UsageError("which list? Give --account NAME, or --server.")
        return command(*args, account=account, **options)

    return with_list


@click.group()
def suppression() -> None:
    """Addresses and domains that are no longer sent to."""


@suppression.command("list")
@target_options
@click.option("--account", help="Only this account's.")
@click.option("--server", is_flag=True, help="Only the server's own, for every account.")
@click.option("--cause", type=click.Choice([cause.value for cause in Cause]), help="Only with it.")
@click.option("--address", "text", help="Only addresses that contain this.")
@click.option(
    "--domains/--addresses", "is_domain", default=None, help="Only whole domains, or none."
)
@click.option("--expired/--lasting", "has_ended", default=None, help="Only what has ended, or not.")
@click.option("--limit", default=1000, show_default=True)
@click.option("--after", "after_id", default=0, help="Only ids above this one: the next page.")
@json_option
def list_suppressions(
    settings: Settings, server: bool, cause: str | None, as_json: bool, **wanted: Any
) -> None:
    """List suppressed addresses."""
    query = SuppressionFilter(
        is_servers=server, cause=Cause(cause) if cause is not None else None, **wanted
    )
    with opened(settings) as control:
        found = settled(control.suppression.find(query))
    columns = (
        *("id", "account", "base_address", "original_address", "added"),
        *("cause", "expires", "reason"),
    )
    print_rows([_row(one) for one in found], columns, "Nothing is suppressed.", as_json=as_json)


def _row(one: ListedSuppression) -> dict[str, object]:
    known = one.suppression
    return {
        "id": known.id,
        "account": one.account,
        "scope": "server" if one.account is None else "account",
        "base_address": known.base_address,
        "original_address": known.original_address,
        "added": moment(known.added_at),
        "manual": known.manual,
        "reason": known.reason,
        "cause": known.cause,
        "evidence": known.evidence,
        "entry": known.entry_id,
        "expires": moment(known.expires_at),
        "expired": one.has_ended,
    }


@suppression.command("add")
@target_options
@click.argument("address")
@list_options
@click.option("--reason", default="", help="Why, for those who ask later.")
@click.option("--for", "lasts", type=DURATION, help="How long, as in 30d; for good without.")
@json_option
def add_suppression(
    settings: Settings,
    address: str,
    account: str | None,
    reason: str,
    lasts: float | None,
    as_json: bool,
) -> None:
    """Send no more to ADDRESS, in any of its spellings, or to all of *@example.org."""
    expires_at = time.time() + lasts if lasts is not None else None
    with opened(settings) as control:
        added = control.suppression.add(account, address, reason, expires_at=expires_at)
        base = settled(added)
    _said(as_json, base, f"{account or 'This server'} sends no more to {base}.")


@suppression.command("remove")
@target_options
@click.argument("address")
@list_options
@json_option
def remove_suppression(
    settings: Settings, address: str, account: str | None, as_json: bool
) -> None:
    """Send to an address again."""
    with opened(settings) as control:
        base = settled(control.suppression.remove(account, address))
    _said(as_json, base, f"{account or 'This server'} sends to {base} again.")


def _said(as_json: bool, base: str, text: str) -> None:
    if as_json:
        print_json({"base_address": base})
    else:
        click.echo(text)


@suppression.command()
@target_options
@click.argument("address")
@account_option
@json_option
def why(settings: Settings, address: str, account: str, as_json: bool) -> None:
    """Tell whether an address is suppressed, and by everything that does it."""
    with opened(settings) as control:
        found = settled(control.suppression.why(account, address))
    known: dict[str, object] = {
        "account": account,
        "base_address": found.base_address,
        "suppressed": found.is_suppressed,
        "failures_in_a_row": found.failures_in_a_row,
    }
    suppressions = [_row(one) for one in found.suppressions]
    if as_json:
        print_json({**known, "suppressions": suppressions})
        return
    print_properties(known)
    for one in suppressions:
        click.echo()
        print_properties({name: value or None for name, value in one.items()})
    click.echo(f"Its last mail: mailrelay retired list --account {account} --recipient {address}")


@suppression.command("export")
@target_options
@click.argument("file", required=False, type=click.File("w", encoding="utf-8"), default="-")
@list_options
def export_suppressions(settings: Settings, file: IO[str], account: str | None) -> None:
    """Write a list as CSV to FILE, or to standard output."""
    with opened(settings) as control:
        found = settled(control.suppression.everything(account))
    write_csv(file, found)


@suppression.command("import")
@target_options
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@list_options
@json_option
def import_suppressions(settings: Settings, file: Path, account: str | None, as_json: bool) -> None:
    """Add the addresses of a CSV file to a list.

    Its first line names the columns, of which original_address or base_address must be there.
    When any line is wrong, nothing is added.
    """
    new = list(read_csv(file))
    with opened(settings) as control:
        added = sum(settled(control.suppression.import_all(account, new)))
    if as_json:
        print_json({"added": added, "present": len(new) - added})
    else:
        click.echo(f"{added} added, {len(new) - added} were there already.")
