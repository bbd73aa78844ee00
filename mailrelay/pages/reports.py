"""Reports of others about our mail and our TLS, and those that we made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from mailrelay.control.reports import ReportControl, Summary
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


def _count(row: Row) -> int:
    return -row.count
