"""``mailrelay suppression``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import (
    fail,
    moment,
    print_json,
    print_properties,
    print_rows,
    printable,
)
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import (
    MAX_REASON_CHARACTERS,
    ListedSuppression,
    NewSuppression,
    SuppressionFilter,
    checked_reason,
)
from mailrelay.policy.suppression import Suppression
from mailrelay.smtp.address import Address, MalformedAddress

CSV_COLUMNS = ("base_address", "original_address", "reason", "manual", "date")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": True}

account_option = click.option("--account", required=True, help="Whose list.")


@click.group()
def suppression() -> None:
    """Addresses that accounts no longer send to."""


@suppression.command("list")
@target_options
@click.option("--account", help="Only this account's.")
@click.option("--limit", default=1000, show_default=True)
@click.option("--after", "after_id", default=0, help="Only ids above this one: the next page.")
@json_option
def list_suppressions(
    settings: Settings, account: str | None, limit: int, after_id: int, as_json: bool
) -> None:
    """List suppressed addresses."""
    with opened(settings) as control:
        found = settled(control.suppression.find(SuppressionFilter(account, limit, after_id)))
    columns = ("id", "account", "base_address", "original_address", "added", "manual", "reason")
    print_rows([_row(one) for one in found], columns, "Nothing is suppressed.", as_json=as_json)


def _row(one: ListedSuppression) -> dict[str, object]:
    return {"account": one.account, **_object(one.suppression)}


def _object(one: Suppression) -> dict[str, object]:
    return {
        "id": one.id,
        "base_address": one.base_address,
        "original_address": one.original_address,
        "added": moment(one.added_at),
        "manual": one.manual,
        "reason": one.reason,
    }


@suppression.command("add")
@target_options
@click.argument("address")
@account_option
@click.option("--reason", default="", help="Why, for those who ask later.")
@json_option
def add_suppression(
    settings: Settings, address: str, account: str, reason: str, as_json: bool
) -> None:
    """Send no more to an address, in any of its spellings."""
    with opened(settings) as control:
        base = settled(control.suppression.add(account, address, reason))
    _said(as_json, base, f"{account} sends no more to {base}.")


@suppression.command("remove")
@target_options
@click.argument("address")
@account_option
@json_option
def remove_suppression(settings: Settings, address: str, account: str, as_json: bool) -> None:
    """Send to an address again."""
    with opened(settings) as control:
        base = settled(control.suppression.remove(account, address))
    _said(as_json, base, f"{account} sends to {base} again.")


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
    """Tell whether an address is suppressed, and why."""
    with opened(settings) as control:
        found = settled(control.suppression.why(account, address))
    known: dict[str, object] = {
        "account": account,
        "base_address": found.base_address,
        "suppressed": found.suppression is not None,
        "failures_in_a_row": found.failures_in_a_row,
    }
    if found.suppression is not None:
        known |= _object(found.suppression)
    if as_json:
        print_json(known)
        return
    print_properties(known)
    click.echo(f"Its last mail: mailrelay retired list --account {account} --recipient {address}")


@suppression.command("export")
@target_options
@click.argument("file", required=False, type=click.File("w", encoding="utf-8"), default="-")
@account_option
def export_suppressions(settings: Settings, file: IO[str], account: str) -> None:
    """Write an account's list as CSV to FILE, or to standard output."""
    with opened(settings) as control:
        found = settled(control.suppression.everything(account))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in sorted(found, key=lambda one: one.suppression.base_address):
        row = _object(one.suppression)
        # An application may have given one that is longer, or has lines.
        reason = printable(one.suppression.reason)[:MAX_REASON_CHARACTERS]
        manual = "true" if row["manual"] else "false"
        writer.writerow(
            (row["base_address"], row["original_address"], reason, manual, row["added"])
        )


@suppression.command("import")
@target_options
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@account_option
@json_option
def import_suppressions(settings: Settings, file: Path, account: str, as_json: bool) -> None:
    """Add the addresses of a CSV file to an account's list.

    Its first line names the columns, of which original_address or base_address must be there.
    When any line is wrong, nothing is added.
    """
    new = list(_read(file))
    with opened(settings) as control:
        added = settled(control.suppression.import_all(account, new))
    if as_json:
        print_json({"added": added, "present": len(new) - added})
    else:
        click.echo(f"{added} added, {len(new) - added} were there already.")


def _read(file: Path) -> Iterator[NewSuppression]:
    now = datetime.now(UTC).timestamp()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            _check_columns(file, rows.fieldnames or ())
            for row in rows:
                yield _suppression_of(f"{file} line {rows.line_num}", row, now)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(f"{file} cannot be read as CSV: {error}")


def _check_columns(file: Path, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in CSV_COLUMNS]
    if unknown or not {"base_address", "original_address"} & set(names):
        fail(
            f"{file}: its first line must name columns of {', '.join(CSV_COLUMNS)},"
            " original_address or base_address among them"
        )


def _suppression_of(place: str, row: dict[str, str], now: float) -> NewSuppression:
    if None in row or None in row.values():
        fail(f"{place}: it has not as many fields as the first line")
    text = row.get("original_address") or row.get("base_address") or ""
    manual = _TRUTH.get(row.get("manual", "").strip().lower())
    if manual is None:
        fail(f"{place}: manual must be true or false")
    try:
        date = row.get("date", "")
        added_at = _seconds(date) if date else now
        return NewSuppression(
            Address.parse(text.strip()), added_at, manual, checked_reason(row.get("reason", ""))
        )
    except MalformedAddress as error:
        fail(f"{place}: {text!r} is no address: {error}")
    except Refusal as error:
        fail(f"{place}: {error}")
    except ValueError:
        fail(f"{place}: the date must be as in 2026-11-21T09:06:34Z")


def _seconds(text: str) -> float:
    """Raises: ValueError."""
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
