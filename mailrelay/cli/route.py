"""``mailrelay route``."""

from __future__ import annotations

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import print_json, print_properties
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.came_by import kind_of
from mailrelay.control.routes import Explanation, way_text
from mailrelay.routing.router import Because


@click.group()
def route() -> None:
    """See where mail goes."""


@route.command()
@target_options
@click.argument("recipient")
@click.option("--sender", default="", help="The reverse-path; the null one when left out.")
@click.option("--account", help="Name of the account that submits it.")
@click.option(
    "--attempts",
    type=click.IntRange(0),
    default=0,
    help="How often it has been attempted already; 0 when left out.",
)
@json_option
def explain(
    settings: Settings,
    recipient: str,
    sender: str,
    account: str | None,
    attempts: int,
    as_json: bool,
) -> None:
    """Say which route and transport decide for mail to RECIPIENT, and why."""
    with opened(settings) as control:
        found = settled(control.routes.explain(recipient, sender, account, attempts))
        members = settled(control.routes.passed_on(found))
        kind = kind_of(control.routes.router.directory(), found.entry.recipient)
    if as_json:
        told = {"alias_is": kind.value, "members": [route_object(one) for one in members]}
        print_json(route_object(found) | (told if members else {}))
    elif members:
        print_properties({"recipient": f"{found.entry.recipient.unicode}, {kind.words}"})
        for one in members:
            click.echo()
            print_properties({"member": one.entry.recipient.unicode} | _properties(one))
    else:
        print_properties(_properties(found))


def route_object(found: Explanation) -> dict[str, object]:
    """Where an entry goes, and why, for programs."""
    entry, decision = found.entry, found.decision
    route = decision.route
    return {
        "recipient": str(entry.recipient),
        "sender": str(entry.reverse_path or ""),
        "account": found.account,
        "attempts": entry.attempts,
        "because": decision.because.word,
        "reason": decision.because.value,
        "route": route.number if route is not None else None,
        "transport": transport_name(found),
        "destination": decision.destination.key,
        "way": way_text(decision.destination.way),
        "passed_over": [
            {"route": passed.number, "reason": why} for passed, why in found.passed_over
        ],
    }


def transport_name(found: Explanation) -> str | None:
    """Of the transport that decides: an operator's choice, or the route's."""
    if found.decision.because is Because.CHOSEN:
        return found.entry.transport
    route = found.decision.route
    return route.transport.name if route and route.transport else None


def _properties(found: Explanation) -> dict[str, object]:
    """What people want to know of it; routes are numbered as they stand in the file."""
    values = route_object(found)
    passed = [f"route {route.number}: {why}" for route, why in found.passed_over]
    return {
        "way": values["way"],
        "because": values["reason"],
        "route": values["route"],
        "transport": values["transport"],
        "destination": values["destination"],
        "passed over": "; ".join(passed) or None,
    }
