"""What commands print: tables for people, JSON for programs, errors that say what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def fail(text: str, code: int = 1) -> NoReturn:
    """End with ``text`` on standard error."""
    click.echo(f"mailrelay: {text}", err=True)
    sys.exit(code)


def print_json(value: object) -> None:
    """``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """A table; ``empty`` is said instead when there are no rows."""
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    console = Console(soft_wrap=False)
    if sys.stdout.isatty():
        console.print(table)
        return
    console = Console(width=max(200, console.width))  # a pipe has no width to fold to
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        click.echo(line.rstrip())


def _cell(value: object) -> str:
    return "\n".join(printable(line) for line in shown(value).split("\n"))


def printable(line: str) -> str:
    """``line`` without what a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in line)


def shown(value: object) -> str:
    """A value as people read it: nothing for None, yes and no, lists without brackets."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(one) for one in value)
    return str(value)


def print_rows(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], empty: str, *, as_json: bool
) -> None:
    """Rows of named values, as JSON whole or as a table of ``columns``."""
    if as_json:
        print_json(list(rows))
        return
    print_table(columns, [[row.get(name) for name in columns] for row in rows], empty)


def print_properties(values: Mapping[str, object]) -> None:
    """Named values for people, one a line; those that are None are left out."""
    width = max(len(name) for name in values) + 2
    for name, value in values.items():
        if value is not None:
            click.echo(f"{name + ':':<{width}}{_cell(value)}".rstrip())


def moment(at: float | None) -> str | None:
    """Seconds since the epoch as UTC text."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
