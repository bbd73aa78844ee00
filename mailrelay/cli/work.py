"""``mailrelay work``."""

from __future__ import annotations

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import moment, print_json, print_properties, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.queue_works import what_of
from mailrelay.control.works import Work

COLUMNS = ("id", "what", "state", "done", "total", "changed", "by", "began", "ended")


@click.group()
def work() -> None:
    """What is done to many entries, bit by bit."""


@work.command("list")
@target_options
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--before", type=int, help="Only ids below this one: the next page.")
@json_option
def list_works(settings: Settings, limit: int, before: int | None, as_json: bool) -> None:
    """List works, newest first."""
    with opened(settings) as control:
        found = settled(control.works.find(limit, before))
    rows = [work_object(one) for one in found]
    print_rows(rows, COLUMNS, "There is no work.", as_json=as_json)


@work.command()
@target_options
@click.argument("work_id", metavar="ID", type=int)
@click.option("--outcome", help="Only entries that came to this.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--after", default=0, help="Only entries above this id: the next page.")
@json_option
def show(
    settings: Settings, work_id: int, outcome: str | None, limit: int, after: int, as_json: bool
) -> None:
    """Show a work, and what became of each entry."""
    with opened(settings) as control:
        found = settled(control.works.get(work_id))
        results = settled(control.works.results(work_id, limit, after, outcome))
    rows = [{"entry": one.subject_id, "outcome": one.outcome} for one in results]
    if as_json:
        print_json({**work_object(found), "results": rows})
        return
    print_properties(work_object(found))
    click.echo()
    print_rows(rows, ("entry", "outcome"), "Nothing was done yet.", as_json=False)


@work.command()
@target_options
@click.argument("work_id", metavar="ID", type=int)
@json_option
def stop(settings: Settings, work_id: int, as_json: bool) -> None:
    """End a work before its time; what it did stays."""
    with opened(settings) as control:
        was_running = settled(control.works.stop(work_id))
        found = settled(control.works.get(work_id))
    if as_json:
        print_json(work_object(found))
    else:
        click.echo("Stopped." if was_running else f"It had ended: {found.state.value}.")


def work_object(one: Work) -> dict[str, object]:
    """A work, for programs; times are UTC."""
    return {
        "id": one.id,
        "what": what_of(one),
        "state": one.state.value,
        "done": one.done,
        "total": one.total,
        "changed": one.changed,
        "by": one.actor,
        "began": moment(one.began_at),
        "ended": moment(one.ended_at),
        "error": one.error or None,
    }
