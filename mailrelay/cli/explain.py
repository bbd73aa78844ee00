"""``mailrelay explain``."""

from __future__ import annotations

from pathlib import Path

import click

from mailrelay.cli.came_by import alias_object, alias_properties, directory_for
from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, moment, print_json, print_properties
from mailrelay.cli.route import route_object
from mailrelay.cli.target import EX_USAGE, opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.explain import (
    DestinationState,
    Explained,
    WasDecided,
    WouldBe,
    attempt_of,
    decided,
)
from mailrelay.directory.model import Directory
from mailrelay.observe.events import Event

UNKNOWN = "how the destination is doing, which only the running server knows: /api/v1/explain"


@click.command()
@target_options
@click.option("--from", "sender", default="", help="The reverse-path; the null one if left out.")
@click.option("--to", "recipient", help="The recipient.")
@click.option("--account", help="Name of the account that submits it; from outside if left out.")
@click.option("--client", "client_ip", help="The address of whoever brings it.")
@click.option(
    "--message",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The message itself; one that is like others if left out.",
)
@click.option("--id", "entry_id", type=int, help="An entry: what was decided of it.")
@json_option
def explain(
    settings: Settings,
    sender: str,
    recipient: str | None,
    account: str | None,
    client_ip: str | None,
    file: Path | None,
    entry_id: int | None,
    as_json: bool,
) -> None:
    """Say what would become of a message, and why, or did."""
    if (entry_id is None) == (recipient is None):
        fail("what is to be explained? Give --to ADDRESS, or --id of an entry", EX_USAGE)
    message = _content(file) if file is not None else None
    with opened(settings) as control:
        if entry_id is not None:
            history = settled(control.queue.history(entry_id))
            directory = directory_for(control, [history.view.entry])
            _print_decided(decided(history.view, history.events), directory, as_json=as_json)
            return
        question = control.explain.question(sender, recipient, account, client_ip, message)
        found = settled(control.explain.explain(question))
        directory = directory_for(control, [copy.routed.entry for copy in found.copies])
    if as_json:
        print_json(would_be_object(found, directory))
    else:
        _print(found, directory)


def _content(file: Path) -> bytes:
    """What a file has, its lines ended as in mail."""
    try:
        return b"\r\n".join(file.read_bytes().replace(b"\r\n", b"\n").split(b"\n"))
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")


def would_be_object(found: WouldBe, directory: Directory) -> dict[str, object]:
    """What would happen, for programs."""
    question, reply = found.question, found.reply
    account = question.submitter.account
    return {
        "sender": str(question.sender or ""),
        "recipient": str(question.recipient),
        "account": account.name if account is not None else None,
        "door": question.door,
        "trusted": question.submitter.trusted,
        "accepted": found.accepted,
        "refused_at": found.refused_at or None,
        "reply": str(reply) if reply is not None else None,
        "alias": str(found.alias) if found.alias is not None else None,
        "limits": [
            {"name": one.name, "most": one.most, "used": one.used, "left": one.left}
            for one in found.limits
        ],
        "copies": [_copy_object(copy, directory) for copy in found.copies],
        "not_known": [UNKNOWN] if any(copy.state is None for copy in found.copies) else [],
    }


def _copy_object(copy: Explained, directory: Directory) -> dict[str, object]:
    entry = copy.routed.entry
    return {
        **route_object(copy.routed),
        **alias_object(directory, entry),
        "reverse_path": str(entry.reverse_path or ""),
        "held_by": [rule.id for rule in copy.held_by],
        "tls": copy.tls or None,
        "answers_at_once": copy.answers_at_once,
        "state": _state_object(copy.state),
    }


def _state_object(state: DestinationState | None) -> dict[str, object] | None:
    if state is None:
        return None
    return {
        "waiting": state.waiting,
        "active": state.active,
        "failures": state.failures,
        "rests_for": state.rests_for,
        "said": state.said or None,
        "resting_hosts": list(state.resting_hosts),
    }


def _print(found: WouldBe, directory: Directory) -> None:
    account = found.question.submitter.account
    verdict = "accepted" if found.accepted else f"{found.refused_at} is answered {found.reply}"
    print_properties(
        {
            "door": found.question.door,
            "account": account.name if account is not None else None,
            "verdict": verdict,
            "alias": found.alias,
            **{one.name: f"{one.left} of {one.most} left" for one in found.limits if one.counts},
        }
    )
    for copy in found.copies:
        click.echo()
        print_properties(_copy_properties(copy, directory))
    if any(copy.state is None for copy in found.copies):
        click.echo(f"\nNot known: {UNKNOWN}.")


def _copy_properties(copy: Explained, directory: Directory) -> dict[str, object]:
    routed = copy.routed
    values = route_object(routed)
    passed = [f"route {route.number}: {why}" for route, why in routed.passed_over]
    held = ", ".join(f"rule {rule.id}" for rule in copy.held_by)
    return {
        "recipient": values["recipient"],
        **alias_properties(directory, routed.entry),
        "reverse-path": str(routed.entry.reverse_path or "<>"),
        "held": f"by {held}: mailrelay holdrule list" if held else None,
        "way": values["way"],
        "because": values["reason"],
        "route": values["route"],
        "transport": values["transport"],
        "destination": values["destination"],
        "TLS": copy.tls or None,
        "answers": "while the sender waits" if copy.answers_at_once else None,
        "passed over": "; ".join(passed) or None,
    }


def decided_object(was: WasDecided, directory: Directory) -> dict[str, object]:
    """What was decided, for programs."""
    entry = was.view.entry
    return {
        "id": entry.id,
        "message": entry.message.id,
        "recipient": str(entry.recipient),
        "reverse_path": str(entry.reverse_path or ""),
        "account": was.view.account,
        **alias_object(directory, entry),
        "state": was.state,
        "transport": entry.transport,
        "accepted": _event_object(was.accepted) if was.accepted is not None else None,
        "kept": [_event_object(event) for event in was.kept],
        "attempts": [_attempt_object(event) for event in was.attempts],
    }


def _event_object(event: Event) -> dict[str, object]:
    names = ("door", "protocol", "peer_ip", "helo", "tls", "by", *_JUDGED)
    data = {name: event.data[name] for name in names if name in event.data}
    return {"at": moment(event.at), "event": event.kind.value, **data}


_JUDGED = ("spf", "dmarc", "junk", "judged")


def _attempt_object(event: Event) -> dict[str, object]:
    return {"at": moment(event.at), "event": event.kind.value, **attempt_of(event)}


def _print_decided(was: WasDecided, directory: Directory, *, as_json: bool) -> None:
    if as_json:
        print_json(decided_object(was, directory))
        return
    entry, accepted = was.view.entry, was.accepted
    print_properties(
        {
            "recipient": entry.recipient,
            "reverse-path": str(entry.reverse_path or "<>"),
            "account": was.view.account,
            **alias_properties(directory, entry),
            "state": was.state,
            "chosen transport": entry.transport,
            "door": accepted.data.get("door") if accepted is not None else None,
            "accepted": moment(accepted.at) if accepted is not None else None,
        }
    )
    if accepted is not None and "judged" in accepted.data:
        click.echo()
        print_properties({name: accepted.data.get(name) for name in _JUDGED})
    for event in (*was.kept, *was.attempts):
        click.echo()
        print_properties(_attempt_object(event) | _event_object(event))
