"""``mailrelay dkim``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import moment, print_json, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.directory.dkim import StoredKey
from mailrelay.mailauth.dkim import Algorithm

_KINDS = {"rsa": Algorithm.RSA, "ed25519": Algorithm.ED25519}
_COLUMNS = ("domain", "selector", "algorithm", "state", "created", "removed")


@click.group()
def dkim() -> None:
    """Keys that mail is signed with."""


@dkim.command("add")
@target_options
@click.argument("domain")
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(list(_KINDS)),
    default=list(_KINDS),
    show_default=True,
    help="What the keys are (repeatable).",
)
@click.option("--selector", help="The name that the record is published under; of one key.")
@json_option
def add_keys(
    settings: Settings,
    domain: str,
    algorithms: tuple[str, ...],
    selector: str | None,
    as_json: bool,
) -> None:
    """Make keys of a domain, and show the records to publish.

    The server signs with them once it has seen the records.
    """
    with opened(settings) as control:
        chosen = [_KINDS[name] for name in algorithms]
        made = settled(control.dkim.add(domain, chosen, selector))
    _show(made, as_json)


@dkim.command("rotate")
@target_options
@click.argument("domain")
@json_option
def rotate(settings: Settings, domain: str, as_json: bool) -> None:
    """Make the next keys of a domain, and show the records to publish.

    Once the server has seen the records it signs with them; the keys before them stay for a week.
    """
    with opened(settings) as control:
        made = settled(control.dkim.rotate(domain))
    _show(made, as_json)


@dkim.command("activate")
@target_options
@click.argument("domain")
@json_option
def activate(settings: Settings, domain: str, as_json: bool) -> None:
    """Sign with the next keys of a domain now, whether their records are seen or not."""
    with opened(settings) as control:
        changed = settled(control.dkim.activate_next(domain))
    print_rows([_row(key) for key in changed], _COLUMNS, "No keys.", as_json=as_json)


@dkim.command("list")
@target_options
@click.argument("domain", required=False)
@click.option("--records", is_flag=True, help="Show the records to publish.")
@json_option
def list_keys(settings: Settings, domain: str | None, records: bool, as_json: bool) -> None:
    """List the keys, of one domain or of all."""
    with opened(settings) as control:
        found = settled(control.dkim.keys(domain))
    if records and not as_json:
        _show(found, as_json=False)
        return
    print_rows([_row(key) for key in found], _COLUMNS, "No keys.", as_json=as_json)


@dkim.command("remove")
@target_options
@click.argument("domain")
@click.argument("selector")
def remove_key(settings: Settings, domain: str, selector: str) -> None:
    """Forget a key: nothing is signed with it from now on."""
    with opened(settings) as control:
        settled(control.dkim.remove(domain, selector))
    click.echo(f"The key {selector} of {domain} is removed.")


def _show(keys: Sequence[StoredKey], as_json: bool) -> None:
    if as_json:
        print_json([_row(key) for key in keys])
        return
    click.echo("Publish in DNS:")
    for key in keys:
        click.echo(f"{key.name}. TXT {_quoted(key.record)}")


def _quoted(record: str) -> str:
    """As a zone file has it: in strings of at most 255 characters."""
    return " ".join(f'"{record[at : at + 250]}"' for at in range(0, len(record), 250))


def _row(key: StoredKey) -> dict[str, object]:
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "state": key.state.value,
        "created": moment(key.created_at),
        "removed": moment(key.removed_at),
        "name": key.name,
        "record": key.record,
    }
