"""Reports as operators look at them: one by one, and summed up by who sends in a domain's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from attrs import define, evolve, field, frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.reporting.model import DMARCReport, Report, Row, TLSReport
from mailrelay.reporting.store import DAY, Listed, Made, ReportQuery, ReportRecords
from mailrelay.smtp.address import MalformedAddress, normal_domain

PAGE = 20
"""Reports that are in memory together."""

MOST_SOURCES = 10_000
MOST_DAYS = 366
OTHERS = "others"
"""The source of what came from addresses beyond them."""


@define
class Source:
    """Mail from one address in a domain's name, in messages, as others told of it."""

    ip: str
    messages: int = 0
    aligned: int = 0
    dkim: int = 0
    spf: int = 0
    dispositions: Counter[str] = field(factory=Counter)
    organizations: set[str] = field(factory=set)
    header_from: set[str] = field(factory=set)

    def add(self, row: Row, organization: str) -> None:
        """Count a row."""
        self.messages += row.count
        self.aligned += row.count if row.is_aligned else 0
        self.dkim += row.count if row.dkim == "pass" else 0
        self.spf += row.count if row.spf == "pass" else 0
        self.dispositions[row.disposition] += row.count
        self.organizations.add(organization)
        self.header_from.add(row.header_from)


@frozen
class TLSFailures:
    """Sessions that failed alike; the host is ours."""

    result_type: str
    host: str
    sessions: int


@define
class Day:
    """What reports say of a day in UTC, by its first second: messages, and sessions with TLS."""

    at: float
    aligned: int = 0
    failed: int = 0
    sessions: int = 0
    sessions_failed: int = 0

    def add(self, report: Report) -> None:
        """Count a report; a complaint counts nowhere."""
        if isinstance(report, DMARCReport):
            self.aligned += report.succeeded
            self.failed += report.failed
        elif isinstance(report, TLSReport):
            self.sessions += report.succeeded
            self.sessions_failed += report.failed


@frozen
class Summary:
    """What reports say of a domain.  ``sessions`` went well, those of ``failures`` did not.

    ``days`` are those of the last year that a report began on, the oldest first.
    """

    domain: str
    reports: int
    left_out: int
    sources: Sequence[Source]
    sessions: int
    failures: Sequence[TLSFailures]
    days: Sequence[Day] = ()

    @property
    def messages(self) -> int:
        """Of all sources."""
        return sum(source.messages for source in self.sources)

    @property
    def aligned(self) -> int:
        """Those that passed."""
        return sum(source.aligned for source in self.sources)


@frozen
class ReportControl:
    """What may be asked of reports."""

    records: ReportRecords
    now: Callable[[], float]

    async def find(self, query: ReportQuery) -> Sequence[Listed]:
        """The reports of others.  Raises: Refusal."""
        return await self.records.find(_checked(query))

    async def sent(self, query: ReportQuery) -> Sequence[Made]:
        """Those that we made.  Raises: Refusal."""
        return await self.records.sent(_checked(query))

    async def get(self, report_id: int) -> tuple[Listed, Report]:
        """One, whole.  Raises: NoSuch."""
        found = await self.records.get(report_id)
        if found is None:
            raise NoSuch(f"no report {report_id}: mailrelay report list")
        return found

    async def summary(self, query: ReportQuery) -> Summary:
        """Of ``query.domain``, of all that ``query`` finds.  Raises: Refusal."""
        query = _checked(query)
        sources: dict[str, Source] = {}
        failures: Counter[tuple[str, str]] = Counter()
        days: dict[int, Day] = {}
        today = int(self.now() // DAY)
        count = left_out = sessions = 0
        async for report in self._contents(query):
            count += 1
            day = int(report.began_at // DAY)
            if today - MOST_DAYS < day <= today:  # it is what somebody wrote
                days.setdefault(day, Day(float(day * DAY))).add(report)
            if isinstance(report, DMARCReport):
                left_out += report.left_out
                _add(sources, report)
            elif isinstance(report, TLSReport):
                sessions += report.succeeded
                failures.update(_failures(report))
        return Summary(
            query.domain or "",
            count,
            left_out,
            sorted(sources.values(), key=lambda source: (-source.messages, source.ip)),
            sessions,
            [TLSFailures(*key, number) for key, number in failures.most_common(MOST_SOURCES)],
            [days[day] for day in sorted(days)],
        )

    async def _contents(self, query: ReportQuery) -> AsyncIterator[Report]:
        query = evolve(query, limit=PAGE)
        while page := await self.records.contents(query):
            for _, report in page:
                yield report
            query = evolve(query, before=page[-1][0])


def _checked(query: ReportQuery) -> ReportQuery:
    """Raises: Refusal."""
    if query.domain is None:
        return query
    try:
        return evolve(query, domain=normal_domain(query.domain))
    except MalformedAddress as error:
        raise Refusal(f"{query.domain!r} cannot be a domain: {error}") from None


def _add(sources: dict[str, Source], report: DMARCReport) -> None:
    for row in report.rows:
        known = row.source_ip in sources or len(sources) < MOST_SOURCES
        ip = row.source_ip if known else OTHERS
        sources.setdefault(ip, Source(ip)).add(row, report.organization)


def _failures(report: TLSReport) -> dict[tuple[str, str], int]:
    told: Counter[tuple[str, str]] = Counter()
    for policy in report.policies:
        for one in policy.failures:
            told[(one.result_type, one.receiving_host)] += one.sessions
        rest = policy.failed - sum(one.sessions for one in policy.failures)
        if rest > 0:
            told[("", "")] += rest
    return told
