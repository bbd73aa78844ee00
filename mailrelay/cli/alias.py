"""``mailrelay alias``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.options import One, take_lists, with_options
from mailrelay.cli.output import moment, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.aliases import AliasDetails, Member
from mailrelay.directory.aliases import Alias, OnDisabled, Rewrite

_ADDRESS = ("address",)


@click.group()
def alias() -> None:
    """Addresses whose mail goes to several others."""


_details = with_options(
    click.option(
        "--post-public/--post-members", default=None, help="Everybody may post, or members."
    ),
    click.option(
        "--list-members/--hide-members", default=None, help="Members see who the others are."
    ),
    click.option("--allow-from/--no-from", default=None, help="Members may send as the alias."),
    click.option("--disabled/--enabled", default=None, help="Take no mail for now."),
    click.option(
        "--on-disabled",
        type=One(OnDisabled),
        help="What a disabled alias does: 550, 450, or 250 and nothing.",
    ),
    click.option("--owner", help='Who gets failures of members elsewhere; "" for nobody.'),
    click.option("--poster", "posters", multiple=True, help="Who may post, too; repeatable."),
    click.option("--no-posters", is_flag=True, help="Nobody but whom the rest allows."),
    click.option("--list/--no-list", "is_list", default=None, help="Copies say how to leave."),
    click.option(
        "--removes-after",
        type=click.IntRange(0),
        metavar="N",
        help="Failures in a row that take a member off; 0 for never.",
    ),
    click.option(
        "--rewrite",
        type=One(Rewrite),
        help="Whose address mail to members elsewhere is from.",
    ),
    click.option(
        "--dmarc-fallback/--no-dmarc-fallback",
        default=None,
        help="As --rewrite alias for what would fail its author's DMARC.",
    ),
    click.option(
        "--require-dkim/--no-require-dkim",
        "requires_dkim",
        default=None,
        help="Pass on what the author's domain has signed, and nothing else.",
    ),
)
"""What an alias may be set to."""


def _given(values: dict[str, Any]) -> AliasDetails:
    take_lists(values, {"posters": "no_posters"})
    return AliasDetails(**values)


@alias.command("add")
@target_options
@click.argument("address")
@click.argument("members", metavar="MEMBER...", nargs=-1, required=True)
@_details
def add_alias(settings: Settings, address: str, members: tuple[str, ...], **values: Any) -> None:
    """Have mail for ADDRESS go to accounts' addresses, other aliases, and addresses elsewhere."""
    with opened(settings) as control:
        settled(control.aliases.add(address, members, _given(values)))
    count = "1 member" if len(members) == 1 else f"{len(members)} members"
    click.echo(f"Mail for {address} goes to {count}.")


@alias.command("set")
@target_options
@click.argument("address")
@_details
def set_alias(settings: Settings, address: str, **values: Any) -> None:
    """Change an alias."""
    with opened(settings) as control:
        settled(control.aliases.set(address, _given(values)))
    click.echo(f"Alias {address} is changed.")


@alias.command("remove")
@target_options
@click.argument("address")
def remove_alias(settings: Settings, address: str) -> None:
    """Take no more mail for an alias."""
    with opened(settings) as control:
        settled(control.aliases.remove(address))
    click.echo(f"Alias {address} is removed.")


@alias.command("members")
@target_options
@click.argument("address")
@click.option("--add", "added", multiple=True, metavar="MEMBER", help="Repeatable.")
@click.option("--remove", "removed", multiple=True, metavar="MEMBER", help="Repeatable.")
@json_option
def members(
    settings: Settings,
    address: str,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the members of an alias, after adding or removing some."""
    with opened(settings) as control:
        if added:
            settled(control.aliases.add_members(address, added))
        if removed:
            settled(control.aliases.remove_members(address, removed))
        found: Sequence[Member] = settled(control.aliases.members(address))
    rows = [
        {
            "address": str(one.address),
            "failures": one.failures,
            "failed": moment(one.failed_at) if one.failures else None,
        }
        for one in found
    ]
    columns = ("address", "failures", "failed") if any(one.failures for one in found) else _ADDRESS
    print_rows(rows, columns, "No members.", as_json=as_json)


@alias.command("list")
@target_options
@json_option
def list_aliases(settings: Settings, as_json: bool) -> None:
    """List the aliases."""
    with opened(settings) as control:
        found = settled(control.aliases.aliases())
    columns = ("address", "members", "post_public", "allow_from", "disabled", "owner")
    print_rows([_row(one) for one in found], columns, "No aliases.", as_json=as_json)


def _row(one: Alias) -> dict[str, object]:
    return {
        "address": str(one),
        "members": [str(member) for member in one.members],
        "post_public": one.post_public,
        "list_members": one.list_members,
        "allow_from": one.allow_from,
        "disabled": one.disabled,
        "on_disabled": one.on_disabled.value,
        "owner": str(one.owner) if one.owner else None,
        "posters": sorted(map(str, one.posters)),
        "is_list": one.is_list,
        "removes_after": one.removes_after,
        "rewrite": one.rewrite.value,
        "dmarc_fallback": one.dmarc_fallback,
        "requires_dkim": one.requires_dkim,
    }
