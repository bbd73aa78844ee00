"""``/statistics``: an account's numbers, and the rates that they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from attrs import frozen
from msgspec import Meta

from mailrelay.control.errors import Refusal
from mailrelay.control.statistics import (
    DAY,
    HOUR,
    MOST_GROUPS,
    By,
    Counts,
    Group,
    StatisticsControl,
    StatisticsQuery,
    rate,
)
from mailrelay.directory.keys import Scope
from mailrelay.observe.events import EventKind
from mailrelay.smtp.address import MalformedAddress, normal_domain
from mailrelay.webapi.v1.fields import LARGEST_ID, Tag
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem
from mailrelay.webapi.v1.times import Time, time_at

USUAL_DAYS = 7

Count = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
Rate = Annotated[float, Meta(ge=0, le=LARGEST_ID)]
Domain = Annotated[str, Meta(min_length=1, max_length=255)]


class StatisticsAsked(Strict, frozen=True):
    """Whole hours, the last week's if nothing is said.

    ``group_by`` tells the numbers apart; by ``tag`` only messages that have one are counted.
    ``cursor`` is of the page before.
    """

    since: Time | None = None
    until: Time | None = None
    tag: Tag | None = None
    domain: Domain | None = None
    group_by: Annotated[list[Literal["hour", "day", "tag", "domain"]], Meta(max_length=3)] = []
    cursor: Annotated[int, Meta(ge=0, le=MOST_GROUPS)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class CountsOut(Strict, frozen=True):
    """Recipients that were accepted, and events of each kind."""

    accepted: Count
    delivered: Count
    delayed: Count
    failed: Count
    suppressed: Count
    canceled: Count
    complained: Count
    unsubscribed: Count


class RatesOut(Strict, frozen=True):
    """Delivered and failed for each accepted, complained for each delivered; null of none."""

    delivered: Rate | None
    failed: Rate | None
    complained: Rate | None


class GroupOut(Strict, frozen=True):
    """Numbers of one group; what it is not told apart by is null.  ``at`` is its hour or day."""

    at: Time | None
    tag: Annotated[str, Meta(max_length=100)] | None
    domain: Annotated[str, Meta(max_length=255)] | None
    counts: CountsOut
    rates: RatesOut


class StatisticsPage(Strict, frozen=True):
    """By time, tag and domain.  What happened at ``counted_until`` or later may be missing."""

    since: Time
    until: Time
    counted_until: Time
    groups: Annotated[list[GroupOut], Meta(max_length=1000)]
    next_cursor: Annotated[int, Meta(ge=1, le=MOST_GROUPS)] | None


@frozen
class StatisticsOperations:
    """``/statistics``."""

    control: StatisticsControl
    now: Callable[[], float]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="statistics",
                method="GET",
                path="/statistics",
                about="How many were accepted, delivered, and so on, by hour, day, tag and domain.",
                work=self.statistics,
                answers={200: StatisticsPage},
                scope=Scope.READ,
                query=StatisticsAsked,
            ),
        ]

    async def statistics(self, call: Call) -> Answer:
        """A page of numbers."""
        asked: StatisticsAsked = call.query
        wanted = self._wanted(call.caller.account.id, asked)
        try:
            found = await self.control.find(wanted)
        except Refusal as error:
            raise Problem(INVALID_FIELD, str(error), "since") from None
        end = asked.cursor + asked.limit
        hours = wanted.hours
        page = StatisticsPage(
            since=time_at(hours.start * HOUR),
            until=time_at(hours.stop * HOUR),
            counted_until=time_at(found.counted_until),
            groups=[_group_out(one, wanted.by) for one in found.groups[asked.cursor : end]],
            next_cursor=end if end < len(found.groups) else None,
        )
        return Answer(200, page)

    def _wanted(self, account_id: int, asked: StatisticsAsked) -> StatisticsQuery:
        by = frozenset(By(word) for word in asked.group_by)
        if {By.HOUR, By.DAY} <= by:
            raise Problem(INVALID_FIELD, "is by hour or by day, not by both", "group_by")
        until = asked.until.timestamp() if asked.until else self.now()
        since = asked.since.timestamp() if asked.since else until - USUAL_DAYS * DAY
        wanted = StatisticsQuery(since, until, account_id, asked.tag, _domain(asked.domain), by)
        _check_hour("since", wanted.hours.start)
        _check_hour("until", wanted.hours.stop)
        return wanted


def _check_hour(place: str, hour: int) -> None:
    """Raises: Problem, when whole hours go beyond the years 1 to 9999."""
    try:
        time_at(hour * HOUR)
    except (OverflowError, ValueError):
        raise Problem(INVALID_FIELD, "is no time that can be told in hours", place) from None


def _domain(text: str | None) -> str | None:
    """As it is counted."""
    try:
        return None if text is None else normal_domain(text)
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, str(error), "domain") from None


def _group_out(one: tuple[Group, Counts], by: frozenset[By]) -> GroupOut:
    group, counts = one
    return GroupOut(
        at=time_at(group.at) if by & {By.HOUR, By.DAY} else None,
        tag=group.tag if By.TAG in by else None,
        domain=group.domain if By.DOMAIN in by else None,
        counts=CountsOut(**{name: counts.get(name, 0) for name in CountsOut.__struct_fields__}),
        rates=RatesOut(
            delivered=rate(counts, EventKind.DELIVERED, EventKind.ACCEPTED),
            failed=rate(counts, EventKind.FAILED, EventKind.ACCEPTED),
            complained=rate(counts, EventKind.COMPLAINED, EventKind.DELIVERED),
        ),
    )
