"""Reports of others about our mail and our TLS, and those that we made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from mailrelay.control.reports import Day, ReportControl, Summary
from mailrelay.pages.chart import Category, Chart, Series, Tone, make_chart
from mailrelay.pages.door import Asked, Doors, link
from mailrelay.reporting.model import DMARCReport, Kind, Row, TLSReport
from mailrelay.reporting.store import ReportQuery
from mailrelay.web.request import Response, Route

PATH = "/admin/reports"
PAGE = 50
DAY = 86400.0
SPANS = (7, 30, 90, 365)
"""Days that one may choose of."""

MOST_ROWS = 1000
"""Of one report, or sources of a summary, on one page; the largest come first."""


@frozen
class ReportPages:
    """``/admin/reports``."""

    doors: Doors
    reports: ReportControl
    domains: Callable[[], Sequence[str]]
    now: Callable[[], float]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(PATH, self.list),
            self.doors.admin(f"{PATH}/summary", self.summary),
            self.doors.admin(f"{PATH}/sent", self.sent),
            self.doors.admin(f"{PATH}/{{id}}", self.one),
        ]

    async def list(self, asked: Asked) -> Response:
        """Those that came in, the newest first."""
        query, fields = self._query(asked)
        found = await self.reports.find(query)
        more = ""
        if len(found) == PAGE:
            more = link(PATH, **fields, before=found[-1].id)
        return self._page(asked, "admin_reports.html", fields, reports=found, more=more)

    async def one(self, asked: Asked) -> Response:
        """A report, whole."""
        listed, told = await self.reports.get(asked.id)
        rows = sorted(told.rows, key=_count) if isinstance(told, DMARCReport) else []
        return await self.doors.large_page(
            asked,
            "admin_report.html",
            listed=listed,
            told=told,
            is_dmarc=isinstance(told, DMARCReport),
            is_tls=isinstance(told, TLSReport),
            rows=rows[:MOST_ROWS],
            left_out=max(0, len(rows) - MOST_ROWS),
        )

    async def summary(self, asked: Asked) -> Response:
        """Who sends in a domain's name, and how TLS to its hosts goes, as others tell."""
        query, fields = self._query(asked)
        found: Summary | None = None
        if query.domain is not None:
            found = await self.reports.summary(query)
        return self._page(
            asked,
            "admin_report_summary.html",
            fields,
            summary=found,
            pictures=() if found is None else pictures(found.days),
            sources=() if found is None else found.sources[:MOST_ROWS],
        )

    async def sent(self, asked: Asked) -> Response:
        """Those that we made of the mail and the sessions of others."""
        query, fields = self._query(asked)
        found = await self.reports.sent(query)
        return self._page(asked, "admin_reports_sent.html", fields, reports=found)

    def _query(self, asked: Asked) -> tuple[ReportQuery, dict[str, str]]:
        """What is asked for, and it as a query."""
        days = asked.number("days")
        days = days if days in SPANS else 30
        kind = asked.value("kind")
        fields = {
            "kind": kind if kind in set(Kind) else "",
            "domain": asked.value("domain")[:255],
            "days": str(days),
            "verified": "1" if asked.value("verified") == "1" else "",
        }
        query = ReportQuery(
            Kind(kind) if fields["kind"] else None,
            fields["domain"] or None,
            self.now() - days * DAY,
            asked.number("before"),
            True if fields["verified"] else None,
            PAGE,
        )
        return query, fields

    def _page(self, asked: Asked, name: str, fields: dict[str, str], **values: Any) -> Response:
        return self.doors.page(
            asked,
            name,
            fields=fields,
            kinds=[kind.value for kind in Kind],
            spans=SPANS,
            domains=self.domains(),
            **values,
        )


def pictures(days: Sequence[Day]) -> Sequence[Chart]:
    """Messages by DMARC, and sessions by TLS, of each day from the first to the last."""
    if not days:
        return ()
    by = {int(day.at // DAY): day for day in days}
    span = [by.get(number, Day(number * DAY)) for number in range(min(by), max(by) + 1)]
    dates = [datetime.fromtimestamp(day.at, UTC) for day in span]
    names = [Category(f"{date:%d %b}", f"{date:%Y-%m-%d}") for date in dates]

    def of(id_: str, title: str, well: str, bad: str) -> Chart:
        series = [
            Series("passed", Tone.GOOD, [getattr(day, well) for day in span]),
            Series("failed", Tone.BAD, [getattr(day, bad) for day in span]),
        ]
        return make_chart(id_, title, names, series, category_heading="Day")

    found = []
    if any(day.aligned or day.failed for day in span):
        found.append(of("dmarc", "Messages in its name, by DMARC", "aligned", "failed"))
    if any(day.sessions or day.sessions_failed for day in span):
        found.append(of("tls", "Sessions with its hosts, by TLS", "sessions", "sessions_failed"))
    return found


def _count(row: Row) -> int:
    return -row.count
