"""``mailrelay webhook endpoint``: signed endpoints, beside the two that ``account set`` knows."""

from __future__ import annotations

import json
from typing import Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import DURATION
from mailrelay.cli.options import with_options
from mailrelay.cli.output import moment, print_json, print_properties, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.cli.webhook import webhook
from mailrelay.config.settings import Settings
from mailrelay.control.endpoints import SECRET_KEPT_FOR, EndpointFields, ListedEndpoint
from mailrelay.webhooks.endpoint import ENTRY_EVENTS, EVENTS, StandardEndpoint

COLUMNS = ("id", "account", "name", "url", "events", "tags", "disabled")


@webhook.group()
def endpoint() -> None:
    """See and change signed endpoints."""


field_options = with_options(
    click.option("--url", help="Where to call."),
    click.option(
        "--event",
        "events",
        multiple=True,
        type=click.Choice(EVENTS),
        help="Only of this (repeatable).",
    ),
    click.option("--tag", "tags", multiple=True, help="Only of messages with this."),
    click.option("--most-at-once", type=int, help="Calls under way."),
    click.option("--most-together", type=int, help="Events in one call."),
)
"""What an endpoint may be given."""


@endpoint.command()
@target_options
@click.argument("account")
@click.option("--name", required=True, help="What it is for, as it is listed.")
@field_options
@json_option
def add(settings: Settings, account: str, as_json: bool, **given: Any) -> None:
    """Have a URL called of an account's events.  Its secret is shown."""
    with opened(settings) as control:
        made = settled(control.endpoints.add(account, EndpointFields(**given)))
    _print_made(ListedEndpoint(made, account), as_json=as_json)


@endpoint.command("list")
@target_options
@click.option("--account", help="Of this account alone.")
@json_option
def list_endpoints(settings: Settings, account: str | None, as_json: bool) -> None:
    """List endpoints, without their secrets."""
    with opened(settings) as control:
        found = settled(control.endpoints.listed(account))
    print_rows([_row(one) for one in found], COLUMNS, "No endpoints.", as_json=as_json)


@endpoint.command()
@target_options
@click.argument("endpoint_id", metavar="ID", type=int)
@json_option
def show(settings: Settings, endpoint_id: int, as_json: bool) -> None:
    """Show an endpoint with its secrets."""
    with opened(settings) as control:
        found = settled(control.endpoints.find(endpoint_id))
    secrets = [
        {"secret": one.text, "signs_until": moment(one.signs_until)}
        for one in found.endpoint.secrets
    ]
    if as_json:
        print_json({**_row(found), "secrets": secrets})
        return
    print_properties(_row(found))
    for one in secrets:
        until = f" until {one['signs_until']}" if one["signs_until"] else ""
        click.echo(f"{one['secret']}{until}")


@endpoint.command("set")
@target_options
@click.argument("endpoint_id", metavar="ID", type=int)
@click.option("--name", help="What it is for, as it is listed.")
@field_options
@click.option("--all-events", is_flag=True, help="Of every event again.")
@click.option("--all-tags", is_flag=True, help="Of messages with whatever tags again.")
@json_option
def set_endpoint(
    settings: Settings,
    endpoint_id: int,
    all_events: bool,
    all_tags: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Change what is given of an endpoint; calls that wait go to it as it is then."""
    given["events"] = () if all_events else given["events"] or None
    given["tags"] = () if all_tags else given["tags"] or None
    with opened(settings) as control:
        settled(control.endpoints.change(endpoint_id, EndpointFields(**given)))
        found = settled(control.endpoints.find(endpoint_id))
    _print_changed(found, "changed", as_json=as_json)


@endpoint.command()
@target_options
@click.argument("endpoint_id", metavar="ID", type=int)
def remove(settings: Settings, endpoint_id: int) -> None:
    """Remove an endpoint; what waits for it is never called."""
    with opened(settings) as control:
        settled(control.endpoints.remove(endpoint_id))
    click.echo(f"Endpoint {endpoint_id} is removed.")


@endpoint.command()
@target_options
@click.argument("endpoint_id", metavar="ID", type=int)
@click.option("--keep", type=DURATION, default=SECRET_KEPT_FOR, help="For which the old one signs.")
@json_option
def rotate(settings: Settings, endpoint_id: int, keep: float, as_json: bool) -> None:
    """Make a new secret; the old one signs as well for a day, or as long as is said."""
    with opened(settings) as control:
        settled(control.endpoints.rotate(endpoint_id, keep))
        found = settled(control.endpoints.find(endpoint_id))
    _print_made(found, as_json=as_json)


@endpoint.command()
@target_options
@click.argument("endpoint_id", metavar="ID", type=int)
@json_option
def enable(settings: Settings, endpoint_id: int, as_json: bool) -> None:
    """Call an endpoint again that answered 410."""
    with opened(settings) as control:
        settled(control.endpoints.enable(endpoint_id))
        found = settled(control.endpoints.find(endpoint_id))
    _print_changed(found, "enabled", as_json=as_json)


@endpoint.command()
@target_options
@click.argument("endpoint_id", metavar="ID", type=int)
@click.option("--event", default="delivered", type=click.Choice(ENTRY_EVENTS), show_default=True)
@json_option
def test(settings: Settings, endpoint_id: int, event: str, as_json: bool) -> None:
    """Queue a call with an example; a running server makes it."""
    with opened(settings) as control:
        owner = settled(control.endpoints.find(endpoint_id)).endpoint.account_id
        made = settled(control.replays.test(owner, endpoint_id, event))
    if as_json:
        print_json({"id": made.call.id, "payload": json.loads(made.payload)})
        return
    click.echo(made.payload.decode())
    click.echo(
        f"\nCall {made.call.id} is queued. How it goes: mailrelay webhook show {made.call.id}"
    )


def _print_made(one: ListedEndpoint, *, as_json: bool) -> None:
    secret = one.endpoint.secrets[0].text
    if as_json:
        print_json({**_row(one), "secret": secret})
    else:
        click.echo(f"Endpoint {one.endpoint.id} of {one.account} is called with this secret:")
        click.echo(secret)


def _print_changed(one: ListedEndpoint, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_row(one))
    else:
        click.echo(f"Endpoint {one.endpoint.id} is {done}.")


def _row(one: ListedEndpoint) -> dict[str, object]:
    """An endpoint as listed; times are UTC."""
    made: StandardEndpoint = one.endpoint
    return {
        "id": made.id,
        "account": one.account,
        "name": made.name,
        "url": made.url,
        "events": list(made.events),
        "tags": list(made.tags),
        "most_at_once": made.most_at_once,
        "most_together": made.most_together,
        "created": moment(made.created_at),
        "disabled": moment(made.disabled_at),
        "disabled_because": made.disabled_because or None,
    }
