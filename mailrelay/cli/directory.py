"""``mailrelay domain`` and ``address``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mailrelay.cli.options import One
from mailrelay.cli.output import print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.directory import DomainUse
from mailrelay.directory.model import Directory, DMARCPolicy, MTASTSMode
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
@click.option(
    "--dmarc",
    type=One(DMARCPolicy),
    help="The policy to publish: mailrelay dns records.",
)
@click.option(
    "--mta-sts",
    type=One(MTASTSMode),
    help="What senders are told of TLS, at https://mta-sts.NAME/.",
)
def set_domain(
    settings: Settings,
    name: str,
    separator: str | None,
    disabled: bool | None,
    dmarc: DMARCPolicy | None,
    mta_sts: MTASTSMode | None,
) -> None:
    """Change a domain."""
    with opened(settings) as control:
        changing = control.directory.set_domain(
            name, separator, disabled=disabled, dmarc=dmarc, mta_sts=mta_sts
        )
        settled(changing)
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
    with opened(settings) as control:
        found: Sequence[DomainUse] = settled(control.directory.domains())
    rows = [
        {
            "name": use.domain.name,
            "shown": unicode_domain(use.domain.name),
            "separator": use.domain.separator,
            "case_sensitive": use.domain.case_sensitive,
            "disabled": use.domain.disabled,
            "dmarc": use.domain.dmarc.value,
            "mta_sts": use.domain.mta_sts.value,
            "addresses": use.addresses,
            "aliases": use.aliases,
            "dkim_keys": len(use.keys),
        }
        for use in found
    ]
    print_rows(rows, ("name", "separator", "disabled", "addresses"), "No domains.", as_json=as_json)


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
    directory = stored_directory(settings)
    rows = [
        {"address": f"{localpart}@{name}", "account": directory.accounts[owner].name}
        for (localpart, name), owner in sorted(directory.addresses.items())
        if of is None or directory.accounts[owner].name == of
    ]
    print_rows(rows, ("address", "account"), "No addresses.", as_json=as_json)


def stored_directory(settings: Settings) -> Directory:
    """Everything in the store of ``settings``."""
    with opened(settings) as control:
        directory: Directory = settled(_load(control))
    return directory


async def _load(control: object) -> Directory:
    loaded: Directory = await control.directory.records.load()  # type: ignore[attr-defined]
    return loaded
