"""``mailrelay export`` and ``apply``: the directory as a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, print_json, print_table, shown
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.directory_file import directory_text, read_directory
from mailrelay.config.load import BadConfiguration
from mailrelay.config.settings import Settings
from mailrelay.control.changes import Change, Plan

EX_DATAERR = 65  # sysexits.h


@click.command()
@target_options
@click.option("--secrets", is_flag=True, help="Password hashes, authorizations, keys' hashes, too.")
@click.option("--output", type=click.Path(path_type=Path), help="To this file, mode 0600.")
@click.option("--suppressions", is_flag=True, help="Suppression lists, too.")
def export(settings: Settings, secrets: bool, output: Path | None, suppressions: bool) -> None:
    """Write the directory as TOML.

    It is what `mailrelay apply` reads, the same bytes for the same directory.
    """
    # Before the command acts as the owner of the store, who may not write there.
    descriptor = None if output is None else _opened(output)
    with opened(settings) as control:
        asked = control.apply.export(secrets=secrets, suppressions=suppressions)
        text = directory_text(settled(asked), secrets=secrets)
    if descriptor is None:
        click.echo(text, nl=False)
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.truncate()
        file.write(text)


def _opened(output: Path) -> int:
    """A descriptor of ``output``, which nobody else may read from now on."""
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    return descriptor


@click.command()
@target_options
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--prune", is_flag=True, help="Remove what the file does not have.")
@click.option("--yes", is_flag=True, help="Do not ask before accounts are removed.")
@json_option
def apply(
    settings: Settings, file: Path, dry_run: bool, prune: bool, yes: bool, as_json: bool
) -> None:
    """Make the directory as a file says.

    What the file does not have stays, unless --prune removes it.  A file that cannot be applied
    changes nothing.
    """
    try:
        read = read_directory(file)
        with opened(settings) as control:
            plan = settled(control.apply.plan(read.declaration, read.problem, prune=prune))
            if plan is None:
                raise read.bad()
            if not as_json:
                _show(plan)
            if not dry_run:
                _confirm(plan, yes=yes)
                settled(control.apply.apply(plan))
    except BadConfiguration as error:
        click.echo(str(error), err=True)
        sys.exit(EX_DATAERR)
    if as_json:
        print_json({**_plan_object(plan), "applied": not dry_run})
    elif plan.changes:
        click.echo("Nothing is changed: --dry-run." if dry_run else f"{file} is applied.")


def _confirm(plan: Plan, *, yes: bool) -> None:
    accounts = plan.removed("account")
    if not accounts or yes:
        return
    if not sys.stdin.isatty():
        fail(f"accounts would be removed: {', '.join(accounts)}: say --yes if they are to be")
    click.confirm(f"Remove {', '.join(accounts)}?", abort=True, err=True)


def _show(plan: Plan) -> None:
    rows = [_row(one.action, one) for one in plan.changes]
    print_table(("", "what", "which", "setting"), rows, "There is nothing to do.")
    if plan.kept:
        click.echo("\nNot in the file; --prune removes:")
        print_table(("what", "which"), [(one.kind, one.name) for one in plan.kept], "")
    for note in plan.notes:
        click.echo(f"\n{note}")


def _row(action: str, one: Change) -> Sequence[object]:
    lines = [
        f"{setting.name}: {_cell(setting.after)}"
        if action == "add"
        else f"{setting.name}: {_cell(setting.before)} -> {_cell(setting.after)}"
        for setting in one.settings
    ]
    return action, one.kind, one.name, "\n".join(lines)


def _cell(value: object) -> str:
    return shown(value) or "none"


def _plan_object(plan: Plan) -> dict[str, object]:
    """A plan for programs."""
    return {
        "changes": [_object(one) for one in plan.changes],
        "not_removed": [_object(one) for one in plan.kept],
        "notes": list(plan.notes),
    }


def _object(one: Change) -> Mapping[str, Any]:
    return {
        "action": one.action,
        "kind": one.kind,
        "name": one.name,
        "settings": [
            {"name": each.name, "before": _json(each.before), "after": _json(each.after)}
            for each in one.settings
        ],
    }


def _json(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return [str(one) for one in value] if isinstance(value, Sequence) else str(value)
