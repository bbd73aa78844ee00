"""``mailrelay holdrule``."""

from __future__ import annotations

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, print_json, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.holds import NULL_SENDER, ListedRule


@click.group()
def holdrule() -> None:
    """Rules that keep mail from being attempted."""


@holdrule.command("list")
@target_options
@json_option
def list_rules(settings: Settings, as_json: bool) -> None:
    """List the hold rules."""
    with opened(settings) as control:
        found = settled(control.holds.rules())
    rows = [_row(one) for one in found]
    if not as_json:
        rows = [{name: _for_people(value) for name, value in row.items()} for row in rows]
    columns = ("id", "account", "sender", "recipient")
    print_rows(rows, columns, "Nothing is held by rule.", as_json=as_json)


def _row(one: ListedRule) -> dict[str, object]:
    """A rule for programs: null is any, an empty sender the null one."""
    rule = one.rule
    return {
        "id": rule.id,
        "account": one.account,
        "sender": rule.sender,
        "recipient": rule.recipient,
    }


def _for_people(value: object) -> object:
    return "any" if value is None else "<>" if value == NULL_SENDER else value


@holdrule.command("add")
@target_options
@click.option("--account", help="Name of the account that submits it.")
@click.option("--sender", help="Domain or address of the reverse-path.")
@click.option("--null-sender", is_flag=True, help="The null reverse-path, which DSNs have.")
@click.option("--recipient", help="Domain or address of the recipient.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@json_option
def add_rule(
    settings: Settings,
    account: str | None,
    sender: str | None,
    null_sender: bool,
    recipient: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Hold mail that fits all of the options, what is ready in the queue too."""
    if null_sender and sender is not None:
        fail("choose one of --sender and --null-sender")
    if sender == "" or recipient == "":
        fail("an empty sender is --null-sender; for any, leave the option out")
    sender = NULL_SENDER if null_sender else sender
    if not everything and (account, sender, recipient) == (None, None, None):
        fail("which mail? Give --account, --sender, --null-sender or --recipient, or --all")
    with opened(settings) as control:
        rule, held = settled(control.holds.add(account, sender, recipient))
    if as_json:
        print_json({"id": rule.id, "held": list(held)})
    else:
        entries = f"{len(held)} {'entry is' if len(held) == 1 else 'entries are'}"
        click.echo(f"Hold rule {rule.id} is added; {entries} held by it now.")


@holdrule.command("remove")
@target_options
@click.argument("rule_id", metavar="ID", type=int)
def remove_rule(settings: Settings, rule_id: int) -> None:
    """Hold no more by a rule; what is held waits for mailrelay queue release."""
    with opened(settings) as control:
        settled(control.holds.remove(rule_id))
    click.echo(f"Hold rule {rule_id} is removed. What is held: mailrelay queue list --held")
