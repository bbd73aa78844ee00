"""An account's mail in numbers: what was sent, what became of it, what waits, what is used up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from attrs import frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.statistics import (
    DAY,
    HOUR,
    By,
    Counts,
    Group,
    StatisticsControl,
    StatisticsQuery,
    rate,
)
from mailrelay.control.usage import UsageControl
from mailrelay.observe.events import EventKind
from mailrelay.pages.chart import Category, Chart, Series, Tone, make_chart
from mailrelay.pages.door import Asked, Doors, link
from mailrelay.pages.times import field_text
from mailrelay.web.request import Response, Route

MOST_DOMAINS = 10
LONGEST_TAG = 100

BARS = (
    (EventKind.DELIVERED, "Delivered", Tone.GOOD),
    (EventKind.FAILED, "Failed", Tone.BAD),
    (EventKind.SUPPRESSED, "Suppressed", Tone.SOFT),
)

LINES = (
    (EventKind.ACCEPTED, "Sent", Tone.ACCENT),
    (EventKind.DELAYED, "Put off", Tone.WARN),
)
"""What is sent is in none of the bars yet; a recipient may be put off many times."""

WITHOUT_PART = (EventKind.ACCEPTED, EventKind.DELAYED)

TOLD = (
    (EventKind.ACCEPTED, "Sent", ""),
    (EventKind.DELIVERED, "Delivered", "delivered"),
    (EventKind.DELAYED, "Put off by an attempt", ""),
    (EventKind.FAILED, "Failed", "failed"),
    (EventKind.SUPPRESSED, "Suppressed", "suppressed"),
    (EventKind.CANCELED, "Canceled", "canceled"),
    (EventKind.COMPLAINED, "Complaints", ""),
    (EventKind.UNSUBSCRIBED, "Unsubscribed", ""),
)
"""Each kind, what it is called, and the state that its messages are found by."""


@frozen
class Span:
    """A stretch of time up to now; ``step`` is what is one bar, in seconds."""

    key: str
    text: str
    count: int
    step: float

    def since(self, now: float) -> float:
        """When its first bar begins."""
        return (now // self.step - self.count + 1) * self.step

    def category(self, at: float, tag: str) -> Category:
        """The bar that begins at ``at``."""
        day = datetime.fromtimestamp(at, UTC)
        path = link("/sent", tag=tag, since=field_text(at), until=field_text(at + self.step))
        if self.step == HOUR:
            return Category(day.strftime("%H:00"), day.strftime("%Y-%m-%d %H:00 UTC"), path)
        return Category(f"{day.day} {day:%b}", day.strftime("%Y-%m-%d"), path)


SPANS = (
    Span("48h", "48 hours", 48, HOUR),
    Span("30d", "30 days", 30, DAY),
    Span("90d", "90 days", 90, DAY),
)


@frozen
class Told:
    """A number, how much of what was sent it is, and where its messages are listed."""

    name: str
    count: int
    part: str
    path: str


@frozen
class OverviewPages:
    """``/overview``."""

    doors: Doors
    statistics: StatisticsControl
    usage: UsageControl

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.account("/overview", self.overview)]

    async def overview(self, asked: Asked) -> Response:
        """The numbers of a span, by hour or day, of all mail or that of a tag."""
        span = next((one for one in SPANS if one.key == asked.value("span")), SPANS[0])
        tag = asked.value("tag")[:LONGEST_TAG]
        now = self.statistics.now()
        since = span.since(now)
        wanted = StatisticsQuery(since, now + 1, account_id=asked.account_id, tag=tag or None)
        by = By.HOUR if span.step == HOUR else By.DAY
        found = await self.statistics.find(_by(wanted, by))
        totals = total(counts for _, counts in found.groups)
        problems, is_cut = await self._domains(wanted)
        return self.doors.page(
            asked,
            "overview.html",
            span=span,
            spans=SPANS,
            tag=tag,
            is_empty=not any(totals.values()),
            chart=picture(span, since, tag, found.groups),
            told=told(totals, tag, since),
            domains=[(name, counts, _part(counts)) for name, counts in problems],
            domains_cut=is_cut,
            since=field_text(since),
            link=link,
            usage=await self.usage.usage(asked.account),
        )

    async def _domains(self, wanted: StatisticsQuery) -> tuple[Sequence[tuple[str, Counts]], bool]:
        """The domains with most failures; and whether they were too many to be looked through."""
        try:
            found = await self.statistics.find(_by(wanted, By.DOMAIN))
        except Refusal:
            return [], True
        failing = [(group.domain, counts) for group, counts in found.groups if _failed(counts)]
        failing.sort(key=lambda one: (-_failed(one[1]), one[0]))
        return failing[:MOST_DOMAINS], False


def _by(wanted: StatisticsQuery, by: By) -> StatisticsQuery:
    return StatisticsQuery(
        wanted.since, wanted.until, wanted.account_id, wanted.tag, by=frozenset({by})
    )


def total(all_counts: Iterable[Counts]) -> Counts:
    """Sums by kind."""
    sums: Counter[str] = Counter()
    for counts in all_counts:
        sums.update(counts)
    return sums


def _failed(counts: Counts) -> int:
    return counts.get(EventKind.FAILED.value, 0)


def _part(counts: Counts, kind: EventKind = EventKind.FAILED) -> str:
    of = rate(counts, kind, EventKind.ACCEPTED)
    return "" if of is None else f"{of:.1%}"


def told(totals: Counts, tag: str, since: float) -> Sequence[Told]:
    """The numbers as a table has them."""
    return [
        Told(
            name,
            totals.get(kind.value, 0),
            "" if kind in WITHOUT_PART else _part(totals, kind),
            link("/sent", state=state, tag=tag, since=field_text(since))
            if state or kind is EventKind.ACCEPTED
            else "",
        )
        for kind, name, state in TOLD
    ]


def picture(span: Span, since: float, tag: str, groups: Sequence[tuple[Group, Counts]]) -> Chart:
    """Bars of what became of mail, and a line of what was sent."""
    by_time = {group.at: counts for group, counts in groups}
    times = [since + span.step * i for i in range(span.count)]

    def series(kind: EventKind, name: str, tone: Tone) -> Series:
        return Series(name, tone, [by_time.get(at, {}).get(kind.value, 0) for at in times])

    return make_chart(
        "mail",
        "Mail by hour, in UTC" if span.step == HOUR else "Mail by day, in UTC",
        [span.category(at, tag) for at in times],
        bars=[series(*one) for one in BARS],
        lines=[series(*one) for one in LINES],
        category_heading="Hour" if span.step == HOUR else "Day",
    )
