"""``mailrelay audit``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import DURATION
from mailrelay.cli.output import moment, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.audit import MOST_LISTED, Change, ChangeFilter

_COLUMNS = ("id", "at", "actor", "action", "subject")


@click.group()
def audit() -> None:
    """Who changed what, by page, API or command."""


@audit.command("list")
@target_options
@click.option("--actor", help="A part of who did it, such as cli:root.")
@click.option("--action", help='Its first words, such as "alias" or "alias set".')
@click.option("--subject", help="A part of what it was done to.")
@click.option("--since", type=DURATION, help="Not longer ago than this, such as 24h.")
@click.option("--before", type=click.IntRange(1), help="Changes before the one of this id.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True, help="How many."
)
@json_option
def list_changes(
    settings: Settings,
    actor: str | None,
    action: str | None,
    subject: str | None,
    since: float | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the changes, the newest first."""
    after = None if since is None else time.time() - since
    wanted = ChangeFilter(actor, action, subject, after, before, limit)
    with opened(settings) as control:
        found = settled(_found(control, wanted))
    rows = [
        {
            "id": one.id,
            "at": moment(one.at),
            "actor": one.actor,
            "action": one.action,
            "subject": one.subject,
        }
        for one in found
    ]
    print_rows(rows, _COLUMNS, "No changes.", as_json=as_json)


async def _found(control: Any, wanted: ChangeFilter) -> Sequence[Change]:
    found: Sequence[Change] = await control.audit.find(wanted)
    return found
