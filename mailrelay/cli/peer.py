"""``mailrelay peer``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import DURATION
from mailrelay.cli.options import One, take_lists, with_options
from mailrelay.cli.output import fail, moment, print_json, print_rows
from mailrelay.cli.passwords import read_secret
from mailrelay.cli.target import EX_USAGE, opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.peers import KEY_KEPT_FOR, ListedPeer, NewPeerKey, PeerDetails
from mailrelay.directory.peers import FromPolicy, PeerKey, PeerProtocol
from mailrelay.peering.ping import PingFailed, ping

_LISTS = {"from_domains": "no_from_domains", "allowed_networks": "no_allowed_networks"}
ZOTONIC_WARNING = (
    "A Zotonic relay rewrites what it is handed: From becomes the site's own address, Message-ID,"
    " In-Reply-To, References and DKIM signatures are lost, and so is the envelope sender. When it"
    " does not send to a recipient that is blocked there, it does not say so: the message stays"
    " handed_over. See docs/zotonic.md."
)
_key_file = click.Path(path_type=Path)


@click.group()
def peer() -> None:
    """Servers that hand mail to us, or take ours, over HTTPS."""


_details = with_options(
    click.option("--url", help="Where it takes mail, as https://relay.example.net."),
    click.option("--callback-url", help="Where it is told what became of its mail."),
    click.option("--account", help='Whose mail it hands to us is; "" for none: it may not.'),
    click.option("--disabled/--enabled", default=None, help="Have nothing to do with it now."),
    click.option(
        "--from-policy",
        type=One(FromPolicy),
        help="What becomes of From in its mail.",
    ),
    click.option("--from-address", help="From, for --from-policy rewrite."),
    click.option(
        "--from-domain", "from_domains", multiple=True, help="Its mail is from; repeatable."
    ),
    click.option("--no-from-domains", is_flag=True, help="Its mail is from anywhere."),
    click.option("--fallback", help='smtp or peer:NAME while it is away; "" waits for it.'),
    click.option("--fallback-after", type=DURATION, help="How long it is away by then."),
    click.option("--trusted-ca", help="PEM file to verify it against, as the server sees it."),
    click.option("--client-certificate", help="PEM file that it is shown, key included."),
    click.option(
        "--allowed-network",
        "allowed_networks",
        multiple=True,
        help="It may be in, though it is private; repeatable.",
    ),
    click.option("--no-allowed-networks", is_flag=True, help="It is on the internet."),
    click.option(
        "--share-suppression/--own-suppression",
        "shares_suppression",
        default=None,
        help="Suppression lists go to and fro.",
    ),
    click.option("--concurrency", type=int, help="Requests to it at once."),
    click.option("--timeout", type=DURATION, help="For one request to it."),
)
"""What a peer may be set to."""


def _given(values: dict[str, Any]) -> PeerDetails:
    take_lists(values, _LISTS)
    own = {name: values.pop(name) for name in ("url", "callback_url", "account", "disabled")}
    options = {name: value for name, value in values.items() if value is not None}
    return PeerDetails(**own, options=options)


@peer.command("add")
@target_options
@click.argument("name")
@click.option(
    "--protocol",
    type=One(PeerProtocol),
    default=PeerProtocol.MAILRELAY.value,
    show_default=True,
)
@click.option("--our-key-file", type=_key_file, help="The key that it made for us; - is stdin.")
@click.option("--their-key-file", type=_key_file, help="The key that it signs with; - is stdin.")
@_details
@json_option
def add_peer(
    settings: Settings,
    name: str,
    protocol: PeerProtocol,
    our_key_file: Path | None,
    their_key_file: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Know a server, and make the keys that are not given.  They are shown this once."""
    keys = [read_secret(file, "key") if file else None for file in (our_key_file, their_key_file)]
    details = _given(values)
    with opened(settings) as control:
        made: Sequence[NewPeerKey] = settled(control.peers.add(name, protocol, details, *keys))
    if as_json:
        print_json({"name": name, "keys": [_made_row(one) for one in made]})
        return
    click.echo(f"Peer {name} is added.")
    _show(made)
    if protocol is PeerProtocol.ZOTONIC and details.url:
        click.echo(ZOTONIC_WARNING, err=True)


@peer.command("set")
@target_options
@click.argument("name")
@_details
def set_peer(settings: Settings, name: str, **values: Any) -> None:
    """Change a peer."""
    with opened(settings) as control:
        settled(control.peers.set(name, _given(values)))
    click.echo(f"Peer {name} is changed.")


@peer.command("rotate")
@target_options
@click.argument("name")
@click.option("--ours/--theirs", "is_ours", default=None, help="Who signs with it: give one.")
@click.option("--key-file", type=_key_file, help="The new key; else one is made.  - is stdin.")
@click.option(
    "--overlap",
    type=DURATION,
    default=KEY_KEPT_FOR,
    show_default="7d",
    help="How long the old one works.",
)
@json_option
def rotate(
    settings: Settings,
    name: str,
    is_ours: bool | None,
    key_file: Path | None,
    overlap: float,
    as_json: bool,
) -> None:
    """Give a peer a new key beside the old one.  What is made is shown this once."""
    if is_ours is None:
        fail("whose key? Give --ours for what we sign with, --theirs for what it does", EX_USAGE)
    text = read_secret(key_file, "key") if key_file else None
    with opened(settings) as control:
        one: NewPeerKey | None = settled(
            control.peers.rotate(name, text, is_ours=is_ours, kept_for=overlap)
        )
    made = [one] if one is not None else []
    if as_json:
        print_json({"name": name, "keys": [_made_row(one) for one in made]})
        return
    click.echo(f"Peer {name} has a new key.")
    _show(made)


@peer.command("remove")
@target_options
@click.argument("name")
def remove_peer(settings: Settings, name: str) -> None:
    """Know a peer no longer, nor its keys."""
    with opened(settings) as control:
        settled(control.peers.remove(name))
    click.echo(f"Peer {name} is removed.")


@peer.command("list")
@target_options
@json_option
def list_peers(settings: Settings, as_json: bool) -> None:
    """List the peers, without their secrets."""
    with opened(settings) as control:
        found: Sequence[ListedPeer] = settled(control.peers.peers())
    columns = ("name", "protocol", "url", "callback_url", "account", "disabled", "alarm", "key_ids")
    rows = [_row(one) for one in found]
    if not as_json:
        rows = [{**row, "key_ids": [key["id"] for key in row["keys"]]} for row in rows]
    print_rows(rows, columns, "No peers.", as_json=as_json)


@peer.command("ping")
@target_options
@click.argument("name")
@json_option
def ping_peer(settings: Settings, name: str, as_json: bool) -> None:
    """Ask a peer whether it knows our key, what it takes, and what time it has."""
    with opened(settings) as control:
        found = settled(control.peers.peer(name))
    try:
        pong = ping(found, time.time)
    except PingFailed as error:
        raise click.ClickException(f"{name}: {error}") from None
    said = {
        "name": name,
        "server_id": pong.server_id,
        "takes_mail": pong.takes_mail,
        "seconds": round(pong.seconds, 3),
        "clock_difference": pong.clock_difference and round(pong.clock_difference, 1),
        "limits": dict(pong.limits),
        "features": list(pong.features),
    }
    if as_json:
        print_json(said)
        return
    click.echo(f"{name} knows our key, and answers in {pong.seconds:.2f} seconds.")
    if not pong.takes_mail:
        click.echo("It takes no mail of ours: there, mailrelay peer set NAME --account.")
    difference = pong.clock_difference
    if difference is not None and abs(difference) > 5:
        click.echo(f"Its clock is {abs(difference):.0f} seconds off ours.")
    for limit, value in pong.limits.items():
        click.echo(f"{limit.replace('_', ' ')}: {value}")


def _show(made: Sequence[NewPeerKey]) -> None:
    for one in made:
        who, option = ("we", "--their-key-file") if one.key.is_ours else ("it", "--our-key-file")
        click.echo(f"What {who} will sign with ({option} there); it is not shown again:")
        click.echo(one.text)


def _made_row(one: NewPeerKey) -> dict[str, object]:
    return {**_key_row(one.key), "key": one.text}


def _key_row(key: PeerKey) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "direction": "ours" if key.is_ours else "theirs",
        "created": moment(key.created_at),
        "expires": moment(key.expires_at),
    }


def _row(one: ListedPeer) -> dict[str, Any]:
    found = one.peer
    return {
        "name": found.name,
        "protocol": found.protocol.value,
        "url": found.url or None,
        "callback_url": found.callback_url or None,
        "account": one.account,
        "disabled": found.disabled,
        "alarm": one.state.alarm or None,
        "alarm_since": moment(one.state.alarm_since),
        "last_contact": moment(one.state.last_contact_at),
        "created": moment(found.created_at),
        "options": msgspec.to_builtins(found.options),
        "keys": [_key_row(key) for key in found.keys],
    }
