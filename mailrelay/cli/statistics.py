"""``mailrelay statistics``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from mailrelay.cli.directory import json_option
from mailrelay.cli.durations import parse_duration
from mailrelay.cli.output import fail, moment, print_json, print_table
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.statistics import (
    HOUR,
    KINDS,
    By,
    Counts,
    Group,
    Statistics,
    StatisticsQuery,
    rate,
)
from mailrelay.observe.events import EventKind
from mailrelay.smtp.address import MalformedAddress, normal_domain

BATCHES = 40
"""Of events that a command counts before it answers, where no server has."""


class Moment(click.ParamType[float]):
    """A click type for times: a date, or a duration before now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        if isinstance(value, float):
            return value
        try:
            return time.time() - parse_duration(value)
        except ValueError:
            pass
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a date, as 2026-11-21, nor a duration, as 7d")
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


MOMENT = Moment()


@click.command()
@target_options
@click.option("--account", help="Only this account's; all accounts' otherwise.")
@click.option(
    "--by",
    multiple=True,
    type=click.Choice([one.value for one in By]),
    help="What to tell the numbers apart by, several times if need be; by day otherwise.",
)
@click.option("--since", type=MOMENT, default="7d", show_default=True, help="A date, or how long.")
@click.option("--until", type=MOMENT, help="A date, or how long ago; until now otherwise.")
@click.option("--tag", help="Only messages with this tag.")
@click.option("--domain", help="Only recipients of this domain.")
@json_option
def statistics(
    settings: Settings,
    account: str | None,
    by: Sequence[str],
    since: float,
    until: float | None,
    tag: str | None,
    domain: str | None,
    as_json: bool,
) -> None:
    """Count what was accepted, delivered and so on."""
    chosen = frozenset(By(one) for one in by) or frozenset({By.DAY})
    if {By.HOUR, By.DAY} <= chosen:
        fail("--by hour or --by day, not both")
    with opened(settings) as control:
        names = settled(_accounts(control))
        id_ = None if account is None else _account_id(names, account)
        until = time.time() if until is None else until
        wanted = StatisticsQuery(since, until, id_, tag, _domain(domain), chosen)
        found = settled(control.statistics.find(wanted, BATCHES))
    if as_json:
        print_json(_object(found, wanted, names))
        return
    shown = [one for one in _COLUMNS if one in chosen]
    print_table(
        [*(one.value for one in shown), *(kind.value for kind in KINDS), "rate"],
        [_row(one, shown, names) for one in found.groups],
        "Nothing was counted.",
    )
    if found.counted_until < until - HOUR:
        click.echo(f"Counted until {moment(found.counted_until)}; the rest follows.")


_COLUMNS = (By.HOUR, By.DAY, By.ACCOUNT, By.TAG, By.DOMAIN)


async def _accounts(control: Any) -> dict[int, str]:
    accounts = (await control.directory.records.load()).accounts.values()
    return {account.id: account.name for account in accounts}


def _account_id(names: dict[int, str], name: str) -> int:
    for id_, known in names.items():
        if known == name:
            return id_
    fail(f"no account {name}: mailrelay account list")


def _domain(text: str | None) -> str | None:
    try:
        return None if text is None else normal_domain(text)
    except MalformedAddress as error:
        fail(f"--domain {text}: {error}")


def _of_group(group: Group, by: By, names: dict[int, str]) -> object:
    if by in (By.HOUR, By.DAY):
        return moment(group.at)
    if by is By.ACCOUNT:
        return names.get(group.account_id, f"(removed: {group.account_id})")
    return group.tag if by is By.TAG else group.domain


def _row(one: tuple[Group, Counts], by: Sequence[By], names: dict[int, str]) -> list[object]:
    group, counts = one
    delivered = rate(counts, EventKind.DELIVERED, EventKind.ACCEPTED)
    return [
        *(_of_group(group, column, names) for column in by),
        *(counts.get(kind.value, 0) for kind in KINDS),
        "" if delivered is None else f"{delivered:.1%}",
    ]


def _object(found: Statistics, wanted: StatisticsQuery, names: dict[int, str]) -> object:
    groups = [
        {
            **{by.value: _of_group(group, by, names) for by in _COLUMNS if by in wanted.by},
            **{kind.value: counts.get(kind.value, 0) for kind in KINDS},
            "delivered_rate": rate(counts, EventKind.DELIVERED, EventKind.ACCEPTED),
            "failed_rate": rate(counts, EventKind.FAILED, EventKind.ACCEPTED),
            "complained_rate": rate(counts, EventKind.COMPLAINED, EventKind.DELIVERED),
        }
        for group, counts in found.groups
    ]
    hours = wanted.hours
    return {
        "since": moment(hours.start * HOUR),
        "until": moment(hours.stop * HOUR),
        "counted_until": moment(found.counted_until),
        "groups": groups,
    }
