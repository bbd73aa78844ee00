"""``mailrelay relay check``, ``list`` and ``status``: what holds, who says so, and who is out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from attrs import evolve, frozen

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, moment, print_json, print_properties, print_rows
from mailrelay.cli.relay import refusals, relay
from mailrelay.cli.target import (
    EX_CONFIG,
    config_option,
    directory_option,
    find_settings,
    opened,
    settled,
    target_options,
)
from mailrelay.config.convert import relay_place
from mailrelay.config.settings import Settings
from mailrelay.control.errors import Refusal
from mailrelay.control.relay_alarms import RelayAlarm
from mailrelay.control.relay_entries import RelayEntry, entries
from mailrelay.control.relays import RelayFolder, RelayPlace, read_sources
from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.routing.relay_chains import written_chain
from mailrelay.routing.relay_files import NULL_SENDER, RelayProblem
from mailrelay.routing.relay_rules import Hop, RelayDecision, RelayRules
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

MASK = "********"
RECIPIENT_MX = "<mx-of-recipient-domain>"


@frozen
class _Asked:
    """What is asked of: where rules are, whose domains are ours, and what the directory says."""

    place: RelayPlace
    managed_domains: Sequence[str]
    shows_passwords: bool
    stored: Sequence[RelayRule] = ()

    def sources(self) -> RelaySources:
        """Everything that is said.  Raises: RelayProblem."""
        return read_sources(self.place, self.managed_domains, self.stored)


@relay.command("list")
@click.option(
    "--relay-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of files alone; all that the server goes by when left out.",
)
@config_option
@directory_option
@json_option
def list_entries(
    relay_dir: Path | None, config_file: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """List relay hosts and logins with their sources, without passwords."""
    with refusals():
        if relay_dir is not None:
            asked = _Asked(RelayPlace(RelayFolder(relay_dir)), (), False)
        else:
            asked = _asked(None, config_file, data_dir, ())
        try:
            rows = list(map(_row, entries(asked.sources())))
        except RelayProblem as problem:
            raise Refusal(str(problem)) from None
    columns = ("key", "next_hop", "excluded", "username", "source")
    print_rows(rows, columns, "No relay hosts.", as_json=as_json)


def _row(entry: RelayEntry) -> dict[str, object]:
    row: dict[str, object] = {
        "key": entry.key,
        "next_hop": entry.next_hop,
        "excluded": entry.kind is RelayRuleKind.EXCLUDE,
        "username": entry.username,
        "source": entry.source,
        "kind": entry.kind.value,
    }
    if entry.chain is not None:
        row["chain"] = json.loads(written_chain(entry.chain))
    return row


@relay.command("check")
@click.argument("sender")
@click.argument("recipient", default="someone@recipient.invalid")
@click.option("--relay-dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--managed-domain", "managed", multiple=True, help="A domain of ours (repeatable).")
@click.option(
    "--recipient-routes",
    "routes_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PATTERN smtp:NEXTHOP a line, as Postfix's transport map.",
)
@click.option("--account", help="Name of the account that submits it.")
@config_option
@directory_option
@json_option
def check(
    sender: str,
    recipient: str,
    relay_dir: Path | None,
    managed: tuple[str, ...],
    routes_file: Path | None,
    account: str | None,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Say by which relay host mail of SENDER to RECIPIENT goes, and why."""
    from_, to = _sender(sender), _address(recipient, "recipient")
    with refusals():
        asked = _asked(relay_dir, config_file, data_dir, managed)
        place = asked.place
        if routes_file is not None:
            place = evolve(place, recipient_routes=routes_file)
        try:
            rules = evolve(asked, place=place).sources().rules()
        except RelayProblem as problem:
            _print_problem(problem, as_json=as_json)
    is_local = to.domain in asked.managed_domains
    decision = None if is_local else rules.decide(from_, to, account)
    found = _object(decision, rules, shows_passwords=asked.shows_passwords)
    if as_json:
        print_json(found)
    else:
        print_properties(_properties(found))


def _asked(
    relay_dir: Path | None, config_file: Path | None, data_dir: Path | None, managed: Sequence[str]
) -> _Asked:
    domains = [_domain(one) for one in managed]
    if relay_dir is not None:
        place = RelayPlace(RelayFolder(relay_dir), os.environ)
        return _Asked(place, domains, shows_passwords=True)
    settings = find_settings(config_file, data_dir)
    with opened(settings) as control:
        known = control.routes.router.directory()
    place = relay_place(settings.relaying)
    managed = [*domains, *known.domains]
    return _Asked(place, managed, shows_passwords=False, stored=known.relay_rules)


def _sender(text: str) -> Address | None:
    return None if text in ("", NULL_SENDER) else _address(text, "sender")


def _address(text: str, what: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        fail(f"the {what} {text!r} is no address: {error}")


def _domain(text: str) -> str:
    try:
        return normal_domain(text)
    except MalformedAddress as error:
        fail(f"--managed-domain {text!r} is no domain: {error}")


def _print_problem(problem: RelayProblem, *, as_json: bool) -> None:
    place = problem.warning
    if as_json:
        where: dict[str, object] = {"file": place.file.value, "line": place.line}
        print_json({"route": "config-error", **where, "detail": place.text, "hops": []})
    else:
        click.echo(f"mailrelay: {problem}", err=True)
    sys.exit(EX_CONFIG)


def _object(
    decision: RelayDecision | None, rules: RelayRules, *, shows_passwords: bool
) -> dict[str, Any]:
    hops: list[dict[str, Any]] = []
    if decision is not None and not decision.is_stuck:
        hops = [_hop(hop, shows_passwords=shows_passwords) for hop in decision.hops] or [_BY_MX]
    return {
        "route": _route(decision),
        "hops": hops,
        "move_on": list(map(str, decision.move_on)) if decision is not None else [],
        "warnings": [str(warning) for warning in rules.warnings],
        "considered": [
            {"rule": one.rule, "key": one.key, "said": one.said, "source": one.source}
            for one in (decision.considered if decision is not None else ())
        ],
    }


def _route(decision: RelayDecision | None) -> str:
    if decision is None:
        return "local"
    if decision.is_stuck:
        return "waits"
    return "relay" if decision.hops else "direct"


_BY_MX = {
    "host": RECIPIENT_MX,
    "port": 25,
    "mx_lookup": True,
    "auth": None,
    "tls": "default",
    "verify": False,
}


def _hop(hop: Hop, *, shows_passwords: bool) -> dict[str, Any]:
    login = hop.login
    return {
        "host": hop.next_hop.host,
        "port": hop.next_hop.port,
        "mx_lookup": hop.next_hop.mx_lookup,
        "auth": login
        and {
            "username": login.credentials.username,
            "password": login.credentials.password if shows_passwords else MASK,
            "matched_by": login.matched_by.value,
        },
        "tls": hop.tls.value,
        "verify": hop.verifies,
        "weight": hop.weight,
    }


def _properties(found: dict[str, Any]) -> dict[str, object]:
    rules = [f"{one['rule']} {one['key']}".rstrip() for one in found["considered"]]
    said = [_said(one["said"], one["source"]) for one in found["considered"]]
    lists = {
        "hop": [_hop_text(hop) for hop in found["hops"]],
        "rule": [f"{rule}: {text}" for rule, text in zip(rules, said, strict=True)],
        "warning": found["warnings"],
    }
    numbered = {
        f"{name} {number}": text
        for name, texts in lists.items()
        for number, text in enumerate(texts, 1)
    }
    return {"route": found["route"], **numbered}


def _said(text: str, source: str | None) -> str:
    return f"{text}, by {_WORDS[source]}" if source is not None else text


_WORDS = {
    "file": "file",
    "configuration": "configuration",
    "directory": "directory data",
    "environment": "environment",
}


def _hop_text(hop: dict[str, Any]) -> str:
    login = hop["auth"]
    who = f", as {login['username']} (by {login['matched_by']})" if login else ", without login"
    mx = ", by its MX records" if hop["mx_lookup"] else ""
    verified = ", certificate verified" if hop["verify"] else ""
    weight = f", weight {hop['weight']}" if hop.get("weight") else ""
    return f"{hop['host']} port {hop['port']}{mx}, TLS {hop['tls']}{verified}{who}{weight}"


@relay.command("status")
@target_options
@json_option
def status(settings: Settings, as_json: bool) -> None:
    """List relay hosts and chains that are out, as the servers on the store find."""
    with opened(settings) as control:
        alarms = settled(_loaded(control))
    rows = [
        {
            "subject": alarm.subject,
            "since": moment(alarm.since),
            "reason": alarm.reason,
            "node": alarm.node,
        }
        for alarm in alarms
    ]
    columns = ("subject", "since", "reason", "node")
    print_rows(rows, columns, "No relay host is out.", as_json=as_json)


async def _loaded(control: Any) -> Sequence[RelayAlarm]:
    alarms: Sequence[RelayAlarm] = await control.relay_alarms.load()
    return alarms
