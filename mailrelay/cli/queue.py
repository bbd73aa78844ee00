"""``mailrelay queue`` and ``mailrelay retired``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mailrelay.cli.came_by import alias_object, alias_properties, directory_for
from mailrelay.cli.durations import DURATION
from mailrelay.cli.options import with_options
from mailrelay.cli.output import fail, moment, print_json, print_rows, shown
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.queue import EntryFilter, EntryView, History, state_word
from mailrelay.directory.model import Directory

COLUMNS = ("id", "state", "sender", "recipient", "attempts", "next_attempt", "queued", "size")
DEFAULT = "default"
OUTCOMES = ("delivered", "handed_over", "unknown", "failed", "suppressed", "canceled")
RETIRED_COLUMNS = ("id", "state", "sender", "recipient", "attempts", "queued", "kept_until")


filter_options = with_options(
    click.argument("ids", nargs=-1, type=int),
    click.option("--account", help="Name of the account that submitted it."),
    click.option("--sender", help='Part of the reverse-path; "" is the null one.'),
    click.option("--recipient", help="Part of the recipient's address."),
    click.option("--domain", help="The recipient's domain."),
    click.option("--older-than", type=DURATION, help="In the queue for longer than this."),
    click.option("--newer-than", type=DURATION, help="In the queue for less than this."),
    click.option("--held/--not-held", default=None, help="Held, or not."),
)
"""The filters that all queue commands share."""


def make_filter(ids: Sequence[int], **given: Any) -> EntryFilter:
    """The filter that the options name."""
    return EntryFilter(ids=list(ids) or None, **given)


@click.group()
def queue() -> None:
    """See and change what is in the queue."""


@queue.command("list")
@target_options
@filter_options
@click.option("--limit", default=1000, show_default=True)
@click.option("--after", "after_id", default=0, help="Only ids above this one: the next page.")
@click.option("--json", "as_json", is_flag=True)
def list_entries(settings: Settings, as_json: bool, **given: Any) -> None:
    """List entries that are not retired."""
    with opened(settings) as control:
        found = settled(control.queue.find(make_filter(**given)))
        directory = directory_for(control, [view.entry for view in found])
    _print_entries(found, directory, COLUMNS, "The queue is empty.", as_json=as_json)


@queue.command()
@target_options
@click.argument("entry_id", metavar="ID", type=int)
@click.option("--json", "as_json", is_flag=True)
def show(settings: Settings, entry_id: int, as_json: bool) -> None:
    """Show everything that happened to an entry, with each attempt's transcript."""
    with opened(settings) as control:
        history = settled(control.queue.history(entry_id))
        directory = directory_for(control, [history.view.entry])
        is_missing = control.transports.is_missing(history.view.entry)
    if as_json:
        print_json(history_object(history, directory))
        return
    click.echo(history_text(history, directory))
    if is_missing:
        click.echo("\nIts transport is not in the configuration any more: routes decide.")


def _change(name: str, text: str, done: str) -> click.Command:
    """A command that changes what its filters fit."""

    @target_options
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="Everything in the queue.")
    @click.option("--json", "as_json", is_flag=True)
    def change(settings: Settings, everything: bool, as_json: bool, **given: Any) -> None:
        wanted = make_filter(**given)
        if not everything and not wanted.names_something:
            fail("which entries? Give ids or filters, or --all")
        with opened(settings) as control:
            ids = settled(getattr(control.queue, name)(wanted))
        if as_json:
            print_json({"ids": list(ids)})
        else:
            click.echo(f"{len(ids)} {'entry' if len(ids) == 1 else 'entries'} {done}.")
            if not ids:
                click.echo(
                    "None fits and can be changed so: mailrelay queue list shows what is there."
                )

    change.__doc__ = text
    return queue.command(name)(change)


_change("hold", "Keep entries from being attempted.", "held")
_change("release", "Let held entries be attempted, now.", "released")
_change("retry", "Attempt waiting entries now.", "scheduled for now")
_change("fail", "End entries as failed; their senders get a DSN.", "failed")
_change("drop", "Throw entries away; nobody is told.", "dropped")


@queue.command("set")
@target_options
@filter_options
@click.option(
    "--transport",
    required=True,
    help='Name of a [[transport]]; "default" is what routes say.',
)
@click.option("--all", "everything", is_flag=True, help="Everything in the queue.")
@click.option("--json", "as_json", is_flag=True)
def set_transport(
    settings: Settings, transport: str, everything: bool, as_json: bool, **given: Any
) -> None:
    """Choose the transport by which waiting entries go."""
    wanted = make_filter(**given)
    if not everything and not wanted.names_something:
        fail("which entries? Give ids or filters, or --all")
    chosen = None if transport == DEFAULT else transport
    with opened(settings) as control:
        ids = settled(control.transports.send_by(wanted, chosen))
    if as_json:
        print_json({"ids": list(ids)})
    else:
        by = "as routes say" if chosen is None else f"by {chosen}"
        click.echo(f"{len(ids)} {'entry goes' if len(ids) == 1 else 'entries go'} {by}.")


DOMAIN_COLUMNS = ("domain", "waiting", "held", "oldest", "next_attempt", "said")


@queue.command()
@target_options
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--json", "as_json", is_flag=True)
def destinations(settings: Settings, limit: int, as_json: bool) -> None:
    """Count what waits, by the recipients' domain."""
    with opened(settings) as control:
        found = settled(control.destinations.domains(shown=limit))
    rows = [
        {
            "domain": one.domain,
            "waiting": one.waiting,
            "held": one.held,
            "oldest": moment(one.oldest_at),
            "next_attempt": moment(one.next_at),
            "said": one.said or None,
        }
        for one in found.domains
    ]
    print_rows(rows, DOMAIN_COLUMNS, "The queue is empty.", as_json=as_json)


@click.group()
def retired() -> None:
    """See what was delivered, failed or dropped."""


@retired.command("list")
@target_options
@filter_options
@click.option("--outcome", type=click.Choice(OUTCOMES), help="What became of it.")
@click.option("--limit", default=1000, show_default=True)
@click.option("--after", "after_id", default=0, help="Only ids above this one: the next page.")
@click.option("--json", "as_json", is_flag=True)
def list_retired(settings: Settings, as_json: bool, **given: Any) -> None:
    """List retired entries that are still kept."""
    with opened(settings) as control:
        found = settled(control.queue.find(make_filter(retired=True, **given)))
        directory = directory_for(control, [view.entry for view in found])
    empty = "Nothing is retired yet."
    _print_entries(found, directory, RETIRED_COLUMNS, empty, as_json=as_json)


def _print_entries(
    found: Sequence[EntryView],
    directory: Directory,
    columns: Sequence[str],
    empty: str,
    *,
    as_json: bool,
) -> None:
    """The alias that something came by has a column where anything did."""
    rows = [entry_row(view, directory) for view in found]
    if any(row["alias"] is not None for row in rows):
        columns = [*columns, "alias", "alias_is"]
    print_rows(rows, columns, empty, as_json=as_json)


def entry_row(view: EntryView, directory: Directory) -> dict[str, object]:
    """An entry as listed; times are UTC."""
    entry, message = view.entry, view.entry.message
    return {
        "id": entry.id,
        "message": message.id,
        "state": state_word(view),
        "account": view.account,
        "sender": str(message.reverse_path) if message.reverse_path else "<>",
        "recipient": entry.recipient.unicode,
        **alias_object(directory, entry),
        "attempts": entry.attempts,
        "last_attempt": moment(entry.last_attempt_at),
        "next_attempt": moment(entry.next_attempt_at),
        "queued": moment(entry.queued_at),
        "kept_until": moment(view.keep_until),
        "size": message.size_bytes,
        "subject": message.subject,
        "message_id": message.message_id,
        "transport": entry.transport,
    }


def history_object(history: History, directory: Directory) -> dict[str, object]:
    """An entry with its events, for programs."""
    events = [
        {
            "position": event.position,
            "at": moment(event.at),
            "event": event.kind.value,
            "entry": event.entry_id,
            **{name: _value(name, value) for name, value in event.data.items()},
        }
        for event in history.events
    ]
    return {**entry_row(history.view, directory), "events": events}


def history_text(history: History, directory: Directory) -> str:
    """An entry with its events, for people."""
    row = entry_row(history.view, directory) | alias_properties(directory, history.view.entry)
    told = ((name, value) for name, value in row.items() if name != "alias_is")
    lines = [f"{name + ':':<14}{value}" for name, value in told if value is not None]
    for event in history.events:
        lines.append("")
        data = dict(event.data)
        transcript = data.pop("transcript", [])
        lines.append(f"{moment(event.at)} {event.kind.value}")
        lines += [f"  {name}: {shown(_value(name, value))}" for name, value in data.items()]
        if isinstance(transcript, list):
            lines += [f"    {line}" for line in transcript]
    return "\n".join(_printable(line) for line in lines)


def _value(name: str, value: object) -> object:
    return moment(value) if name.endswith("_at") and isinstance(value, int | float) else value


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in line)
