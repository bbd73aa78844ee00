"""ReceivedStore and ReportRecords (reporting/store.py) over Core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import evolve, frozen
from sqlalchemy import Connection, Select, delete, func, insert, or_, select
from twisted.internet.defer import Deferred

from mailrelay.reporting.model import DMARCReport, Feedback, Kind, Report, TLSReport
from mailrelay.reporting.store import Listed, Made, Received, ReportQuery
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_report, _made = tables.report, tables.report_made

SWEPT_TOGETHER = 100
MOST_CONTENT_BYTES = 1024 * 1024
"""Of what is kept of a report: rows of the fewest messages are left out before it is longer."""

MOST_UNVERIFIED_BYTES = 64 * 1024
"""Likewise, of what anybody may have made up."""

_TYPES: dict[Kind, Any] = {Kind.DMARC: DMARCReport, Kind.TLS: TLSReport, Kind.FEEDBACK: Feedback}
_SHOWN = [column for column in _report.columns if column.name != "content"]


@frozen
class DatabaseReports:
    """Reports of others, and what operators ask of them and of ours, over one database."""

    database: Database

    def add(self, received: Received) -> Deferred[bool]:
        """See ReceivedStore.  What is kept is made on a reader's thread: it may be long."""
        return self.database.readers.run(_row, received).addCallback(self._add)

    def _add(self, row: dict[str, Any]) -> Deferred[bool]:
        same = [_report.c[name] == row[name] for name in _KEY]

        def work(connection: Connection) -> bool:
            there = connection.execute(select(_report.c.is_verified).where(*same)).first()
            if there is not None and (there.is_verified or not row["is_verified"]):
                return False
            connection.execute(delete(_report).where(*same))
            connection.execute(insert(_report).values(**row))
            return True

        return self.database.write(work)

    def brought(self, domain: str, began_at: float, ended_at: float) -> Deferred[int]:
        """See OnlyReports."""
        below = _report.c.source.endswith(f".{domain}", autoescape=True)
        counted = (
            select(func.count())
            .select_from(_report)
            .where(_report.c.received_at >= began_at, _report.c.received_at < ended_at)
            .where(_report.c.message_id.is_not(None), or_(_report.c.source == domain, below))
        )
        return self.database.read(lambda c: int(c.execute(counted).scalar_one()))

    def sweep(self, before: float, most: int) -> Deferred[bool]:
        """See ReceivedStore."""
        worth = (_report.c.is_verified.desc(), _report.c.id.desc())
        beyond = select(_report.c.id).order_by(*worth).offset(most)
        some = [
            select(_report.c.id).where(_report.c.received_at < before).limit(SWEPT_TOGETHER),
            beyond.limit(SWEPT_TOGETHER),
        ]

        def work(connection: Connection) -> bool:
            removed = 0
            for ids in some:
                gone = delete(_report).where(_report.c.id.in_(ids))
                removed += connection.execute(gone).rowcount
            return removed > 0

        return self.database.write(work)

    def find(self, query: ReportQuery) -> Deferred[Sequence[Listed]]:
        """See ReportRecords."""
        wanted = _wanted(select(*_SHOWN), query)

        def work(connection: Connection) -> Sequence[Listed]:
            return [_listed(row) for row in connection.execute(wanted)]

        return self.database.read(work)

    def get(self, report_id: int) -> Deferred[tuple[Listed, Report] | None]:
        """See ReportRecords."""
        wanted = select(_report).where(_report.c.id == report_id)

        def work(connection: Connection) -> tuple[Listed, Report] | None:
            row = connection.execute(wanted).one_or_none()
            return (_listed(row), _content(row)) if row is not None else None

        return self.database.read(work)

    def contents(self, query: ReportQuery) -> Deferred[Sequence[tuple[int, Report]]]:
        """See ReportRecords."""
        wanted = _wanted(select(_report.c.id, _report.c.kind, _report.c.content), query)

        def work(connection: Connection) -> Sequence[tuple[int, Report]]:
            return [(row.id, _content(row)) for row in connection.execute(wanted)]

        return self.database.read(work)

    def sent(self, query: ReportQuery) -> Deferred[Sequence[Made]]:
        """See ReportRecords.  There are no ids: ``before`` is not looked at."""
        wanted = select(_made).order_by(_made.c.made_at.desc(), _made.c.domain)
        wanted = wanted.limit(query.limit)
        if query.kind is not None:
            wanted = wanted.where(_made.c.kind == query.kind.value)
        if query.domain is not None:
            wanted = wanted.where(_made.c.domain == query.domain)
        if query.since is not None:
            wanted = wanted.where(_made.c.made_at >= query.since)

        def work(connection: Connection) -> Sequence[Made]:
            return [
                Made(
                    Kind(row.kind),
                    row.domain,
                    row.began_at,
                    row.ended_at,
                    row.made_at,
                    row.message_id,
                    row.outcome,
                )
                for row in connection.execute(wanted)
            ]

        return self.database.read(work)


_KEY = ("kind", "source", "report_id", "domain")


def _wanted(wanted: Select[Any], query: ReportQuery) -> Select[Any]:
    wanted = wanted.order_by(_report.c.id.desc()).limit(query.limit)
    if query.kind is not None:
        wanted = wanted.where(_report.c.kind == query.kind.value)
    if query.domain is not None:
        wanted = wanted.where(_report.c.domain == query.domain)
    if query.since is not None:
        wanted = wanted.where(_report.c.received_at >= query.since)
    if query.is_verified is not None:
        wanted = wanted.where(_report.c.is_verified == query.is_verified)
    if query.before is not None:
        wanted = wanted.where(_report.c.id < query.before)
    return wanted


def _row(received: Received) -> dict[str, Any]:
    report = received.report
    return {
        "kind": received.kind.value,
        "domain": report.domain,
        "organization": report.organization or received.source,
        "report_id": report.report_id,
        "began_at": report.began_at,
        "ended_at": report.ended_at,
        "received_at": received.received_at,
        "message_id": received.message_id,
        "source": received.source[:255],
        "is_verified": received.is_verified,
        "succeeded": report.succeeded,
        "failed": report.failed,
        "content": _text(report, is_verified=received.is_verified),
    }


def _text(report: Report, *, is_verified: bool) -> str:
    """As JSON; of what is too long the smallest rows, or details, are left out."""
    most = MOST_CONTENT_BYTES if is_verified else MOST_UNVERIFIED_BYTES
    encoded = msgspec.json.encode(report)
    while len(encoded) > most and (shorter := _shorter(report)) != report:
        report = shorter
        encoded = msgspec.json.encode(report)
    return encoded.decode()


def _shorter(report: Report) -> Report:
    if isinstance(report, DMARCReport):
        rows = sorted(report.rows, key=lambda row: -row.count)
        kept, gone = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        left_out = report.left_out + sum(row.count for row in gone)
        return evolve(report, rows=tuple(kept), left_out=left_out)
    if isinstance(report, Feedback):
        return evolve(report, recipients=report.recipients[: len(report.recipients) // 2])
    policies = []
    for policy in report.policies:
        failures = sorted(policy.failures, key=lambda one: -one.sessions)
        policies.append(evolve(policy, failures=tuple(failures[: len(failures) // 2])))
    if any(policy.failures for policy in policies):
        return evolve(report, policies=tuple(policies))
    if len(policies) > 1:
        return evolve(report, policies=tuple(policies[: len(policies) // 2]))
    return evolve(report, policies=tuple(evolve(one, strings=(), mx_hosts=()) for one in policies))


def _listed(row: Any) -> Listed:
    return Listed(
        row.id,
        Kind(row.kind),
        row.domain,
        row.organization,
        row.report_id,
        row.began_at,
        row.ended_at,
        row.received_at,
        row.message_id,
        row.source,
        row.is_verified,
        row.succeeded,
        row.failed,
    )


def _content(row: Any) -> Report:
    report: Report = msgspec.json.decode(row.content, type=_TYPES[Kind(row.kind)])
    return report
