"""``mailrelay report``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from attrs import asdict, evolve

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import moment, print_json, print_properties, print_rows, print_table
from mailrelay.cli.statistics import MOMENT
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.reports import Source, Summary
from mailrelay.reporting.model import DMARCReport, Feedback, Kind, Report, Row, TLSReport
from mailrelay.reporting.store import Listed, Made, ReportQuery

MOST = 1000

_LISTED = (
    *("id", "kind", "domain", "organization", "source", "verified"),
    *("began", "passed", "failed"),
)
_ROWS = ("source", "messages", "dkim", "spf", "disposition", "from", "envelope_from", "why")
_SOURCES = ("source", "messages", "aligned", "dkim", "spf", "dispositions", "from", "told_by")
_FAILURES = ("why", "host", "sessions")

kind_option = click.option(
    "--kind", type=click.Choice([kind.value for kind in Kind]), help="Only of this kind."
)
since_option = click.option("--since", type=MOMENT, help="A date, or how long.")
limit_option = click.option(
    "--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="At the most."
)
verified_option = click.option(
    "--verified", is_flag=True, help="Only those whose sender DMARC found to be right."
)


@click.group()
def report() -> None:
    """Reports of mail and of TLS, theirs and ours."""


@report.command("list")
@target_options
@kind_option
@click.option("--domain", help="Only of this domain.")
@since_option
@verified_option
@limit_option
@json_option
def list_reports(
    settings: Settings,
    kind: str | None,
    domain: str | None,
    since: float | None,
    verified: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List the reports of others, the newest first."""
    query = ReportQuery(Kind(kind) if kind else None, domain, since, limit=limit)
    with opened(settings) as control:
        found = settled(control.reports.find(_only(query, verified)))
    print_rows([_listed(one) for one in found], _LISTED, "No reports.", as_json=as_json)


@report.command("show")
@target_options
@click.argument("report_id", type=click.IntRange(1))
@json_option
def show_report(settings: Settings, report_id: int, as_json: bool) -> None:
    """Show one report."""
    with opened(settings) as control:
        listed, told = settled(control.reports.get(report_id))
    if as_json:
        print_json({**_listed(listed), "report": msgspec.to_builtins(told)})
        return
    print_properties(_listed(listed))
    click.echo()
    _show(told)


@report.command("summary")
@target_options
@click.argument("domain")
@click.option("--since", type=MOMENT, default="30d", show_default=True, help="A date, or how long.")
@verified_option
@limit_option
@json_option
def summary(
    settings: Settings, domain: str, since: float, verified: bool, limit: int, as_json: bool
) -> None:
    """Who sends mail in a domain's name, and how TLS to its hosts goes, as others tell."""
    with opened(settings) as control:
        query = _only(ReportQuery(domain=domain, since=since), verified)
        found = settled(control.reports.summary(query))
    sources = [_source(one) for one in found.sources[:limit]]
    failures = [
        {"why": one.result_type, "host": one.host, "sessions": one.sessions}
        for one in found.failures[:limit]
    ]
    if as_json:
        days = [{**asdict(day), "at": (moment(day.at) or "")[:10]} for day in found.days]
        told = {"sources": sources, "tls_failures": failures, "days": days}
        print_json({**_counts(found), **told})
        return
    print_properties(_counts(found))
    click.echo()
    print_rows(sources, _SOURCES, "No mail in its name was reported.", as_json=False)
    if failures:
        click.echo()
        print_rows(failures, _FAILURES, "", as_json=False)


@report.command("sent")
@target_options
@kind_option
@click.option("--domain", help="Only those to this domain.")
@since_option
@limit_option
@json_option
def sent(
    settings: Settings,
    kind: str | None,
    domain: str | None,
    since: float | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the reports that this server made, the newest first."""
    with opened(settings) as control:
        query = ReportQuery(Kind(kind) if kind else None, domain, since, limit=limit)
        found = settled(control.reports.sent(query))
    columns = ("kind", "domain", "day", "made", "message_id", "outcome")
    print_rows([_made(one) for one in found], columns, "No reports.", as_json=as_json)


def _only(query: ReportQuery, verified: bool) -> ReportQuery:
    return evolve(query, is_verified=True) if verified else query


def _listed(one: Listed) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind.value,
        "domain": one.domain,
        "organization": one.organization,
        "source": one.source,
        "verified": one.is_verified,
        "report_id": one.report_id,
        "began": moment(one.began_at),
        "ended": moment(one.ended_at),
        "received": moment(one.received_at),
        "message_id": one.message_id,
        "passed": one.succeeded,
        "failed": one.failed,
    }


def _made(one: Made) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "domain": one.domain,
        "day": (moment(one.began_at) or "")[:10],
        "made": moment(one.made_at),
        "message_id": one.message_id,
        "outcome": one.outcome,
    }


def _counts(found: Summary) -> dict[str, Any]:
    return {
        "domain": found.domain,
        "reports": found.reports,
        "messages": found.messages,
        "aligned": found.aligned,
        "left_out": found.left_out,
        "tls_sessions": found.sessions + sum(one.sessions for one in found.failures),
        "tls_failed": sum(one.sessions for one in found.failures),
    }


def _source(one: Source) -> dict[str, Any]:
    return {
        "source": one.ip,
        "messages": one.messages,
        "aligned": one.aligned,
        "dkim": one.dkim,
        "spf": one.spf,
        "dispositions": [f"{name} {count}" for name, count in sorted(one.dispositions.items())],
        "from": sorted(one.header_from),
        "told_by": sorted(one.organizations),
    }


def _show(told: Report) -> None:
    if isinstance(told, DMARCReport):
        policy = told.policy
        print_properties(
            {
                "policy": f"p={policy.p} sp={policy.sp or policy.p} pct={policy.pct}"
                f" adkim={policy.adkim} aspf={policy.aspf}",
                "contact": told.contact or told.email or None,
                "errors": list(told.errors) or None,
                "left_out": told.left_out or None,
            }
        )
        click.echo()
        rows = sorted(told.rows, key=lambda row: -row.count)
        print_table(_ROWS, [_row(row) for row in rows], "No mail.")
    elif isinstance(told, TLSReport):
        _show_policies(told)
    else:
        _show_feedback(told)


def _row(row: Row) -> Sequence[object]:
    reasons = [f"{one.type} {one.comment}".strip() for one in row.reasons]
    checked = [f"dkim={one.result} {one.domain} {one.name}".strip() for one in row.dkim_results]
    checked += [f"spf={one.result} {one.domain}" for one in row.spf_results]
    return (
        *(row.source_ip, row.count, row.dkim, row.spf, row.disposition),
        *(row.header_from, row.envelope_from, [*reasons, *checked]),
    )


def _show_policies(told: TLSReport) -> None:
    for policy in told.policies:
        print_properties(
            {
                "policy": policy.policy_type,
                "domain": policy.domain,
                "hosts": list(policy.mx_hosts) or None,
                "succeeded": policy.succeeded,
                "failed": policy.failed,
            }
        )
        rows = [
            (one.result_type, one.sessions, one.sending_ip, one.receiving_host, one.reason)
            for one in policy.failures
        ]
        if rows:
            print_table(("why", "sessions", "from", "host", "reason"), rows, "")


def _show_feedback(told: Feedback) -> None:
    print_properties(
        {
            "type": told.feedback_type,
            "by": told.user_agent or None,
            "mail_from": told.mail_from or None,
            "original_message_id": told.original_message_id or None,
            "recipients": list(told.recipients) or None,
        }
    )
