"""``mailrelay account``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mailrelay.cli.directory import json_option, stored_directory
from mailrelay.cli.durations import DURATION, duration_text
from mailrelay.cli.options import with_options
from mailrelay.cli.output import fail, print_json, print_properties, print_rows
from mailrelay.cli.passwords import read_password, read_secret
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.account import AccountView, EndpointChange, Unset
from mailrelay.control.accounts import MOST_LISTED, AccountQuery, AccountUse
from mailrelay.control.directory import AccountDetails
from mailrelay.directory.model import Account
from mailrelay.webhooks.call import Endpoint, EndpointKind


@click.group()
def account() -> None:
    """Accounts, which have mailboxes and may log in."""


password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Read the password from the first line of this file; - is standard input.",
)
quota_option = click.option("--quota", type=int, help="Bytes in its mailboxes; 0 for no limit.")
daily_option = click.option(
    "--messages-per-day", type=int, help="Recipients in 24 hours; 0 for no limit."
)
new_recipients_option = click.option(
    "--new-recipients-per-day",
    type=int,
    help="Recipients in 24 hours that it never sent to before; 0 for no limit.",
)
scram_option = click.option(
    "--scram/--no-scram", default=True, help="Keep a SCRAM verifier beside the password's hash."
)


@account.command("add")
@target_options
@click.argument("name")
@click.option("--full-name", default="", help="Shown as the sender's name.")
@password_option
@quota_option
@daily_option
@new_recipients_option
@scram_option
def add_account(
    settings: Settings,
    name: str,
    full_name: str,
    password_file: Path | None,
    quota: int | None,
    messages_per_day: int | None,
    new_recipients_per_day: int | None,
    scram: bool,
) -> None:
    """Make an account; the password is asked for."""
    password = read_password(password_file, f"Password for {name}")
    details = AccountDetails(
        full_name,
        password,
        scram,
        quota,
        messages_per_day,
        new_recipients_per_day=new_recipients_per_day,
    )
    with opened(settings) as control:
        settled(control.directory.add_account(name, details))
    click.echo(f"Account {name} is made. Give it an address: mailrelay address add A@D {name}.")


class Retention(click.ParamType[Any]):
    """A click type: a duration, or the server's own."""

    name = "duration|default"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        if value == Unset.SERVERS.value:
            return Unset.SERVERS
        return DURATION.convert(value, param, ctx)


_secret_file = click.Path(path_type=Path, allow_dash=True)
_FIRST_LINE = "Its Authorization field, in the first line of this file; - is standard input."

settings_options = with_options(
    click.option("--outgoing-webhook", metavar="URL", help="Is told what becomes of mail."),
    click.option("--outgoing-authorization-file", type=_secret_file, help=_FIRST_LINE),
    click.option("--outgoing-events", metavar="EVENT,...", help='Only these; "" for all.'),
    click.option(
        "--outgoing-every-event/--outgoing-latest-event",
        default=None,
        help="Call for each, or only for the latest that was not taken yet.",
    ),
    click.option("--no-outgoing-webhook", is_flag=True, help="Call no longer."),
    click.option("--incoming-webhook", metavar="URL", help="Is told of incoming mail."),
    click.option("--incoming-authorization-file", type=_secret_file, help=_FIRST_LINE),
    click.option("--no-incoming-webhook", is_flag=True, help="Call no longer."),
    click.option(
        "--from-id-login",
        "from_id_logins",
        metavar="ADDRESS",
        multiple=True,
        help="Mail that is submitted by this login gets FromIDs; all of them at once.",
    ),
    click.option("--no-from-id-logins", is_flag=True, help="No mail gets FromIDs."),
    click.option("--retired-kept-for", type=Retention(), help="How long retired messages"),
    click.option("--calls-kept-for", type=Retention(), help="... and webhook calls are."),
)
"""What an account may be set to beside its login and limits."""


@account.command("set")
@target_options
@click.argument("name")
@click.option("--full-name", help="Shown as the sender's name.")
@click.option("--password", "change_password", is_flag=True, help="Change the password.")
@password_option
@quota_option
@daily_option
@new_recipients_option
@scram_option
@click.option("--login-disabled/--login-enabled", default=None, help="Whether it may log in.")
@settings_options
@click.option("--forward", metavar="ADDRESS", help="Where its mail goes, once confirmed there.")
@click.option("--keep-copy", is_flag=True, help="... and it stays here, too.")
@click.option("--no-forward", is_flag=True, help="Its mail goes nowhere else.")
@click.option("--no-totp", is_flag=True, help="Its pages ask for no code any more: it was lost.")
def set_account(
    settings: Settings,
    name: str,
    full_name: str | None,
    change_password: bool,
    password_file: Path | None,
    quota: int | None,
    messages_per_day: int | None,
    new_recipients_per_day: int | None,
    scram: bool,
    login_disabled: bool | None,
    from_id_logins: Sequence[str],
    no_from_id_logins: bool,
    retired_kept_for: float | Unset | None,
    calls_kept_for: float | Unset | None,
    forward: str | None,
    keep_copy: bool,
    no_forward: bool,
    no_totp: bool,
    **webhooks: Any,
) -> None:
    """Change an account.

    A webhook's URL begins it anew, with the authorization and the events that are given; these
    alone change the webhook that there is.  Retention is a duration, such as 72h, or "default".
    """
    if from_id_logins and no_from_id_logins:
        fail("choose one of --from-id-login and --no-from-id-logins")
    if (forward is not None and no_forward) or (keep_copy and forward is None):
        fail("choose one of --forward ADDRESS, with --keep-copy or not, and --no-forward")
    password = None
    if change_password or password_file is not None:
        password = read_password(password_file, f"New password for {name}")
    details = AccountDetails(
        full_name,
        password,
        scram,
        quota,
        messages_per_day,
        login_disabled,
        from_id_logins if from_id_logins or no_from_id_logins else None,
        retired_kept_for,
        calls_kept_for,
        tuple(change for kind in EndpointKind for change in _changes(kind, **webhooks)),
        new_recipients_per_day,
    )
    with opened(settings) as control:
        if details != AccountDetails() or not (forward or no_forward or no_totp):
            settled(control.directory.set_account(name, details))
        if forward is not None:
            settled(control.forwarding.ask(name, forward, keeps_copy=keep_copy))
        if no_forward:
            settled(control.forwarding.end(name))
        if no_totp:
            view = settled(control.directory.account(name))
            settled(control.second_factors.remove(view.account.id))
    click.echo(f"Account {name} is changed.")
    if forward is not None:
        click.echo(f"{forward} is asked to confirm: mail goes there once the link is followed.")


def _changes(kind: EndpointKind, **given: Any) -> Sequence[EndpointChange]:
    """What the options say of the webhook of this kind."""
    name = kind.value
    url, file = given[f"{name}_webhook"], given[f"{name}_authorization_file"]
    listed, every = given.get(f"{name}_events"), given.get(f"{name}_every_event")
    if given[f"no_{name}_webhook"]:
        if (url, file, listed, every) != (None,) * 4:
            fail(f"--no-{name}-webhook goes with no other option of that webhook")
        return [EndpointChange(kind, is_removed=True)]
    if (url, file, listed, every) == (None,) * 4:
        return []
    authorization = read_secret(file, "authorization") if file is not None else None
    events = None
    if kind is EndpointKind.OUTGOING and listed is not None:
        events = [word.strip() for word in listed.split(",") if word.strip()]
    return [EndpointChange(kind, url, authorization, events, every)]


@account.command("show")
@target_options
@click.argument("name")
@json_option
def show_account(settings: Settings, name: str, as_json: bool) -> None:
    """Show everything that an account is set to, but no secrets."""
    with opened(settings) as control:
        shown = account_object(settled(control.directory.account(name)))
        use: AccountUse = settled(control.accounts.use(name))
    shown |= {"used": use.used_bytes, "sent_today": use.sent_today}
    if as_json:
        print_json(shown)
    else:
        print_properties(_for_people(shown))


def account_object(view: AccountView) -> dict[str, object]:
    """An account for programs; durations are seconds."""
    account = view.account
    return {
        "name": account.name,
        "full_name": account.full_name,
        "addresses": list(view.addresses),
        "login": "disabled" if account.login_disabled else "enabled",
        "scram": account.scram_verifier is not None,
        "totp": account.has_second_factor,
        "quota": account.quota_bytes,
        "messages_per_day": account.messages_per_day,
        "new_recipients_per_day": account.new_recipients_per_day,
        "from_id_logins": sorted(account.from_id_logins),
        "retired_kept_for": account.retired_kept_for,
        "calls_kept_for": account.calls_kept_for,
        "forward": forward_object(account),
        "outgoing_webhook": _endpoint_object(view.endpoint(EndpointKind.OUTGOING)),
        "incoming_webhook": _endpoint_object(view.endpoint(EndpointKind.INCOMING)),
    }


def forward_object(account: Account) -> dict[str, object] | None:
    """Where an account's mail goes, or would."""
    address = account.forward_to or account.forward_asked
    if address is None:
        return None
    return {
        "address": str(address),
        "confirmed": account.forward_to is not None,
        "keeps_copy": account.forward_keeps_copy,
    }


def _forwarded_to(account: Account) -> str | None:
    forward = forward_object(account)
    return _forward_text(forward) if forward else None


def _forward_text(forward: object) -> str:
    if not isinstance(forward, dict):
        return "nowhere"
    copy = ", and a copy stays" if forward["keeps_copy"] else ""
    return f"{forward['address']}{copy}" + ("" if forward["confirmed"] else " (not confirmed)")


def _endpoint_object(endpoint: Endpoint | None) -> dict[str, object] | None:
    """A webhook; of its authorization only whether there is one."""
    if endpoint is None:
        return None
    shown: dict[str, object] = {"url": endpoint.url, "authorization": bool(endpoint.authorization)}
    if endpoint.kind is EndpointKind.OUTGOING:
        shown["events"] = list(endpoint.events)
        shown["every_event"] = endpoint.has_every_event
    return shown


def _for_people(account: dict[str, object]) -> dict[str, object]:
    lines = dict(account)
    for name in ("retired_kept_for", "calls_kept_for"):
        kept = account[name]
        lines[name] = duration_text(kept) if isinstance(kept, float) else "as the server's"
    lines["forward"] = _forward_text(account["forward"])
    for name in ("outgoing_webhook", "incoming_webhook"):
        webhook = lines.pop(name)
        if isinstance(webhook, dict):
            lines[name] = webhook["url"]
            lines[f"{name}_authorization"] = (
                "set, not shown" if webhook["authorization"] else "none"
            )
            if "events" in webhook:
                lines[f"{name}_events"] = webhook["events"] or "all"
            if webhook.get("every_event"):
                lines[f"{name}_told"] = "every event"
    return lines


@account.command("remove")
@target_options
@click.argument("name")
def remove_account(settings: Settings, name: str) -> None:
    """Remove an account that has neither addresses nor messages."""
    with opened(settings) as control:
        settled(control.directory.remove_account(name))
    click.echo(f"Account {name} is removed.")


@account.command("logout")
@target_options
@click.argument("name")
def log_out(settings: Settings, name: str) -> None:
    """End an account's sessions on the pages."""
    with opened(settings) as control:
        ended = settled(control.accounts.end_sessions(name))
    click.echo(f"{ended} sessions of {name} are ended.")


@account.command("list")
@target_options
@click.option("--search", default="", help="Only with this in a name or an address.")
@click.option("--after", default="", metavar="NAME", help="Those behind this one.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=MOST_LISTED, show_default=True
)
@json_option
def list_accounts(settings: Settings, search: str, after: str, limit: int, as_json: bool) -> None:
    """List the accounts."""
    with opened(settings) as control:
        uses = settled(_listed(control, AccountQuery(search, after, limit)))
    directory = stored_directory(settings)
    rows = [
        {
            "name": a.name,
            "full_name": a.full_name,
            "addresses": directory.addresses_of(a),
            "login": "disabled" if a.login_disabled else "enabled",
            "scram": a.scram_verifier is not None,
            "used": use.used_bytes,
            "quota": a.quota_bytes,
            "messages_per_day": a.messages_per_day,
            "forward": forward_object(a) if as_json else _forwarded_to(a),
        }
        for use in uses
        if (a := directory.accounts.get(use.id)) is not None
    ]
    columns: tuple[str, ...] = (
        *("name", "addresses", "login", "scram", "used", "quota", "messages_per_day"),
    )
    if any(row["forward"] for row in rows):
        columns += ("forward",)
    print_rows(rows, columns, "No accounts.", as_json=as_json)


async def _listed(control: Any, wanted: AccountQuery) -> Sequence[AccountUse]:
    found: Sequence[AccountUse] = await control.accounts.records.listed(wanted)
    return found
