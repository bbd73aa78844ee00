"""``mailrelay dns``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from twisted.internet.defer import succeed

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import moment, print_json, print_rows, print_table
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.dns_check import DNSControl
from mailrelay.control.dns_finding import CheckReport, Finding, Status
from mailrelay.control.dns_records import Record
from mailrelay.control.dns_zone import presented, zone_line, zone_text
from mailrelay.control.listings import Listing


@click.group()
def dns() -> None:
    """What DNS says of domains and of this server."""


@dns.command("records")
@target_options
@click.argument("domain")
@click.option("--zone", is_flag=True, help="As lines of a zone file, to be put into yours.")
@json_option
def show_records(settings: Settings, domain: str, zone: bool, as_json: bool) -> None:
    """Print the records to publish for DOMAIN."""
    with opened(settings) as control:
        records = settled(control.dns.records(domain))
    if zone and not as_json:
        click.echo(zone_text(domain, records), nl=False)
        return
    columns = ("topic", "name", "type", "value", "need", "why")
    print_rows([_record(one) for one in records], columns, "No records.", as_json=as_json)


@dns.command("check")
@target_options
@click.argument("domain")
@json_option
def check(settings: Settings, domain: str, as_json: bool) -> None:
    """Look up every record of DOMAIN, and say what is wrong with it.

    Ends with 0 when all is well, warnings aside, and else with 1.
    """
    with opened(settings) as control:
        directory = settled(_load(control))
        asked: DNSControl = control.dns.over(lambda: succeed(directory))
        report = _looked_up(settings, asked, domain)
    if as_json:
        print_json(_report(report))
    else:
        _print_report(report)
    sys.exit(0 if report.is_green else 1)


@dns.command("listed")
@target_options
@json_option
def show_listings(settings: Settings, as_json: bool) -> None:
    """Print what the lists of [dnsbl] watched said last of our addresses."""
    with opened(settings) as control:
        found = settled(_listings(control))
    rows = [
        {
            "zone": one.zone,
            "address": one.address,
            "listed": one.is_listed,
            "since": moment(one.listed_since),
            "checked": moment(one.checked_at),
            "text": one.text,
            "error": one.error,
        }
        for one in found
    ]
    columns = ("zone", "address", "listed", "since", "checked", "text", "error")
    print_rows(rows, columns, "Nothing was asked: set [dnsbl] watched.", as_json=as_json)


async def _listings(control: Any) -> Sequence[Listing]:
    found: Sequence[Listing] = await control.listings.load()
    return found


async def _load(control: Any) -> Any:
    return await control.dns.load()


def _looked_up(settings: Settings, asked: DNSControl, domain: str) -> CheckReport:
    """What is found, of many look-ups at once.  Raises: Refusal."""
    from mailrelay.cli.asking import with_reactor

    return with_reactor(settings, lambda *world: asked.check(domain, *world))


def _record(one: Record) -> dict[str, object]:
    return {
        "topic": one.topic.value,
        "name": one.name,
        "type": one.type,
        "value": presented(one),
        "need": one.need.value,
        "why": one.why,
    }


def _report(report: CheckReport) -> dict[str, object]:
    return {
        "domain": report.domain,
        "green": report.is_green,
        "addresses": list(report.addresses),
        "addresses_from": report.addresses_from,
        "findings": [_finding(one) for one in report.findings],
    }


def _finding(one: Finding) -> dict[str, object]:
    return {
        "status": one.status.value,
        "topic": one.topic.value,
        "name": one.name,
        "type": one.type,
        "text": one.text,
        "seen": list(one.seen),
        "publish": [_record(record) for record in one.publish],
    }


def _print_report(report: CheckReport) -> None:
    known = ", ".join(report.addresses) or "none known"
    click.echo(f"{report.domain}, with our addresses {known} (from {report.addresses_from})")
    rows = [(one.status.value, one.topic.value, one.name, one.text) for one in report.findings]
    print_table(("status", "topic", "name", "finding"), rows, "Nothing was found.")
    wrong = [one for one in report.findings if one.status is not Status.OK and one.publish]
    for one in wrong:
        _print_remedy(one)
    click.echo("All is well." if report.is_green else "Not all is well.")


def _print_remedy(one: Finding) -> None:
    click.echo(f"\n{one.topic} {one.name}")
    for seen in one.seen:
        click.echo(f"  is       {seen}")
    for record in _distinct(one.publish):
        click.echo(f"  publish  {zone_line(record)}")


def _distinct(records: Sequence[Record]) -> Sequence[Record]:
    return list(dict.fromkeys(records))
