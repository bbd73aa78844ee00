"""``mailrelay domain``, ``account`` and ``address``."""

from __future__ import annotations

from pathlib import Path

import click

from mailrelay.cli.output import print_rows
from mailrelay.cli.passwords import read_password
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.directory import AccountDetails
from mailrelay.directory.model import Directory
from mailrelay.smtp.address import unicode_domain

json_option = click.option("--json", "as_json", is_flag=True)


@click.group()
def domain() -> None:
    """Domains whose mail is taken."""


@domain.command("add")
@target_options
@click.argument("name")
@click.option("--separator", default="+", show_default=True, help='Before a suffix; "" for none.')
@click.option("--case-sensitive", is_flag=True, help="Localparts differ by case.")
def add_domain(settings: Settings, name: str, separator: str, case_sensitive: bool) -> None:
    """Take mail for a domain."""
    with opened(settings) as control:
        settled(control.directory.add_domain(name, separator, case_sensitive=case_sensitive))
    click.echo(f"Domain {name} is added. Give accounts addresses in it: mailrelay address add.")


@domain.command("set")
@target_options
@click.argument("name")
@click.option("--separator", help='Before a suffix; "" for none.')
@click.option("--disabled/--enabled", default=None, help="Take no mail for now (450).")
def set_domain(settings: Settings, name: str, separator: str | None, disabled: bool | None) -> None:
    """Change a domain."""
    with opened(settings) as control:
        settled(control.directory.set_domain(name, separator, disabled=disabled))
    click.echo(f"Domain {name} is changed.")


@domain.command("remove")
@target_options
@click.argument("name")
def remove_domain(settings: Settings, name: str) -> None:
    """Take no more mail for a domain that has no addresses left."""
    with opened(settings) as control:
        settled(control.directory.remove_domain(name))
    click.echo(f"Domain {name} is removed.")


@domain.command("list")
@target_options
@json_option
def list_domains(settings: Settings, as_json: bool) -> None:
    """List the domains."""
    directory = _directory(settings)
    rows = [
        {
            "name": d.name,
            "shown": unicode_domain(d.name),
            "separator": d.separator,
            "case_sensitive": d.case_sensitive,
            "disabled": d.disabled,
            "addresses": sum(of == d.name for _, of in directory.addresses),
        }
        for d in sorted(directory.domains.values(), key=lambda d: d.name)
    ]
    print_rows(rows, ("name", "separator", "disabled", "addresses"), "No domains.", as_json=as_json)


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
@scram_option
def add_account(
    settings: Settings,
    name: str,
    full_name: str,
    password_file: Path | None,
    quota: int | None,
    messages_per_day: int | None,
    scram: bool,
) -> None:
    """Make an account; the password is asked for."""
    password = read_password(password_file, f"Password for {name}")
    details = AccountDetails(full_name, password, scram, quota, messages_per_day)
    with opened(settings) as control:
        settled(control.directory.add_account(name, details))
    click.echo(f"Account {name} is made. Give it an address: mailrelay address add A@D {name}.")


@account.command("set")
@target_options
@click.argument("name")
@click.option("--full-name", help="Shown as the sender's name.")
@click.option("--password", "change_password", is_flag=True, help="Change the password.")
@password_option
@quota_option
@daily_option
@scram_option
@click.option("--login-disabled/--login-enabled", default=None, help="Whether it may log in.")
def set_account(
    settings: Settings,
    name: str,
    full_name: str | None,
    change_password: bool,
    password_file: Path | None,
    quota: int | None,
    messages_per_day: int | None,
    scram: bool,
    login_disabled: bool | None,
) -> None:
    """Change an account."""
    password = None
    if change_password or password_file is not None:
        password = read_password(password_file, f"New password for {name}")
    details = AccountDetails(full_name, password, scram, quota, messages_per_day, login_disabled)
    with opened(settings) as control:
        settled(control.directory.set_account(name, details))
    click.echo(f"Account {name} is changed.")


@account.command("remove")
@target_options
@click.argument("name")
def remove_account(settings: Settings, name: str) -> None:
    """Remove an account that has neither addresses nor messages."""
    with opened(settings) as control:
        settled(control.directory.remove_account(name))
    click.echo(f"Account {name} is removed.")


@account.command("list")
@target_options
@json_option
def list_accounts(settings: Settings, as_json: bool) -> None:
    """List the accounts."""
    directory = _directory(settings)
    rows = [
        {
            "name": a.name,
            "full_name": a.full_name,
            "addresses": directory.addresses_of(a),
            "login": "disabled" if a.login_disabled else "enabled",
            "scram": a.scram_verifier is not None,
            "quota": a.quota_bytes,
            "messages_per_day": a.messages_per_day,
        }
        for a in sorted(directory.accounts.values(), key=lambda a: a.name)
    ]
    columns = ("name", "addresses", "login", "scram", "quota", "messages_per_day")
    print_rows(rows, columns, "No accounts.", as_json=as_json)


@click.group()
def address() -> None:
    """Addresses of accounts."""


@address.command("add")
@target_options
@click.argument("address_", metavar="ADDRESS")
@click.argument("account_", metavar="ACCOUNT")
def add_address(settings: Settings, address_: str, account_: str) -> None:
    """Give an account an address, or @domain for everything else in a domain."""
    with opened(settings) as control:
        settled(control.directory.add_address(address_, account_))
    click.echo(f"Mail for {address_} goes to {account_}.")


@address.command("remove")
@target_options
@click.argument("address_", metavar="ADDRESS")
def remove_address(settings: Settings, address_: str) -> None:
    """Take an address away."""
    with opened(settings) as control:
        settled(control.directory.remove_address(address_))
    click.echo(f"{address_} is removed.")


@address.command("list")
@target_options
@click.option("--account", "of", help="Only this account's.")
@json_option
def list_addresses(settings: Settings, of: str | None, as_json: bool) -> None:
    """List the addresses."""
    directory = _directory(settings)
    rows = [
        {"address": f"{localpart}@{name}", "account": directory.accounts[owner].name}
        for (localpart, name), owner in sorted(directory.addresses.items())
        if of is None or directory.accounts[owner].name == of
    ]
    print_rows(rows, ("address", "account"), "No addresses.", as_json=as_json)


def _directory(settings: Settings) -> Directory:
    with opened(settings) as control:
        directory: Directory = settled(_load(control))
    return directory


async def _load(control: object) -> Directory:
    loaded: Directory = await control.directory.records.load()  # type: ignore[attr-defined]
    return loaded
