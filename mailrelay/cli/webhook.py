"""``mailrelay webhook``."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import DURATION, parse_duration
from mailrelay.cli.options import with_options
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
from mailrelay.control.calls import CallFilter, CallHistory, CallView, Relative, call_word
from mailrelay.webhooks.call import CallAttempt, EndpointKind

COLUMNS = ("id", "state", "account", "event", "url", "attempts", "next_attempt", "submitted")
RETIRED_COLUMNS = ("id", "state", "account", "event", "url", "attempts", "submitted", "kept_until")


class RelativeTime(click.ParamType[Relative]):
    """A click type: ``<1h`` is before an hour from now, ``>-1h`` after an hour ago."""

    name = "<duration|>duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        if isinstance(value, Relative):
            return value
        side, text = value[:1], value[1:].strip()
        if side not in ("<", ">"):
            self.fail(f"{value!r} must begin with < or >, as <1h, >-30m or <now", param, ctx)
        try:
            return Relative(side == "<", _offset(text))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _offset(text: str) -> float:
    """Seconds from now.  Raises: ValueError."""
    if text == "now":
        return 0.0
    sign = -1.0 if text.startswith("-") else 1.0
    return sign * parse_duration(text.removeprefix("-"))


filter_options = with_options(
    click.argument("ids", nargs=-1, type=int),
    click.option("--account", help="Name of the account that is told."),
    click.option("--event", help="Such as delivered, failed or incoming."),
    click.option("--submitted", type=RelativeTime(), help='Queued then: ">-1h", "<-2d".'),
    click.option("--next-attempt", type=RelativeTime(), help='Due then: "<5m", ">now".'),
)
"""The filters that all webhook commands share."""


def make_filter(ids: Sequence[int], **given: Any) -> CallFilter:
    """The filter that the options name."""
    return CallFilter(ids=list(ids) or None, **given)


@click.group()
def webhook() -> None:
    """See and change calls to applications."""


@webhook.command("list")
@target_options
@filter_options
@click.option("--retired/--living", default=False, help="Those that are over, or not.")
@click.option("--limit", default=1000, show_default=True)
@click.option("--after", "after_id", default=0, help="Only ids above this one: the next page.")
@json_option
def list_calls(settings: Settings, as_json: bool, **given: Any) -> None:
    """List calls that are still to be made, or retired ones."""
    with opened(settings) as control:
        found = settled(control.calls.find(make_filter(**given)))
    columns = RETIRED_COLUMNS if given["retired"] else COLUMNS
    print_rows([_row(view) for view in found], columns, "No calls.", as_json=as_json)


def _row(view: CallView) -> dict[str, object]:
    """A call as listed; times are UTC."""
    return {
        "id": view.id,
        "state": call_word(view),
        "account": view.account,
        "event": view.event,
        "url": view.url,
        "authorization": view.has_authorization,
        "attempts": view.attempts,
        "submitted": moment(view.queued_at),
        "next_attempt": None if view.is_retired else moment(view.next_attempt_at),
        "kept_until": moment(view.keep_until),
        "entry": view.entry_id,
        "message": view.message_id,
        "superseded_by": view.superseded_by,
    }


@webhook.command()
@target_options
@click.argument("call_id", metavar="ID", type=int)
@json_option
def show(settings: Settings, call_id: int, as_json: bool) -> None:
    """Show a call: what it says, and how each attempt went."""
    with opened(settings) as control:
        history: CallHistory = settled(control.calls.history(call_id))
    row, payload = _row(history.view), _payload(history.payload)
    if as_json:
        attempts = [_attempt(one) for one in history.attempts]
        print_json({**row, "payload": payload, "tries": attempts})
        return
    print_properties(row)
    click.echo()
    print_json(payload)
    for one in history.attempts:
        click.echo(f"\n{_attempt_line(one)}")
        for line in one.response.splitlines():
            click.echo(f"    {printable(line)}")


def _payload(payload: bytes) -> object:
    return json.loads(payload)


def _attempt(one: CallAttempt) -> dict[str, object]:
    return {
        "at": moment(one.at),
        "seconds": round(one.seconds, 3),
        "success": one.is_success,
        "code": one.code,
        "error": one.error,
        "response": one.response,
    }


def _attempt_line(one: CallAttempt) -> str:
    answer = f"answered {one.code}" if one.code else "no answer"
    error = f": {printable(one.error)}" if one.error else ""
    return f"{moment(one.at)} {answer} after {one.seconds:.3f} s{error}"


Work = Callable[[Any, CallFilter, float], Coroutine[Any, Any, Sequence[int]]]


def _change(
    group: click.Group, name: str, text: str, done: str, work: Work, *, takes_duration: bool = False
) -> None:
    """A command that changes what its filters fit."""

    @target_options
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="All calls that are still to be made.")
    @json_option
    def change(
        settings: Settings, everything: bool, as_json: bool, duration: float = 0.0, **given: Any
    ) -> None:
        wanted = make_filter(**given)
        if not everything and not wanted.names_something:
            fail("which calls? Give ids or filters, or --all")
        with opened(settings) as control:
            ids = settled(work(control.calls, wanted, duration))
        if as_json:
            print_json({"ids": list(ids)})
        else:
            click.echo(f"{len(ids)} {'call' if len(ids) == 1 else 'calls'} {done}.")

    change.__doc__ = text
    if takes_duration:
        change = click.argument("duration", type=DURATION)(change)
    group.command(name)(change)


_change(
    webhook,
    "retry",
    "Make calls now that wait for their next attempt.",
    "scheduled for now",
    lambda calls, wanted, _: calls.retry(wanted),
)
_change(
    webhook,
    "cancel",
    "Never make calls that are still to be made.",
    "canceled",
    lambda calls, wanted, _: calls.cancel(wanted),
)


@webhook.group()
def schedule() -> None:
    """Choose when calls are made next."""


_change(
    schedule,
    "set",
    "Make calls DURATION from now.",
    "scheduled",
    lambda calls, wanted, after: calls.schedule(wanted, after),
    takes_duration=True,
)
_change(
    schedule,
    "add",
    "Make calls DURATION later than they would be.",
    "put off",
    lambda calls, wanted, by: calls.postpone(wanted, by),
    takes_duration=True,
)


@webhook.command()
@target_options
@click.argument("account")
@click.argument("kind", type=click.Choice([kind.value for kind in EndpointKind]))
@click.option("--event", default="delivered", show_default=True, help="Of an outgoing message.")
@json_option
def test(settings: Settings, account: str, kind: str, event: str, as_json: bool) -> None:
    """Queue a call with an example payload; a running server makes it."""
    with opened(settings) as control:
        id_, payload = settled(control.calls.test(account, EndpointKind(kind), event))
    if as_json:
        print_json({"id": id_, "payload": _payload(payload)})
        return
    click.echo(payload.decode())
    click.echo(f"\nCall {id_} is queued. How it goes: mailrelay webhook show {id_}")
