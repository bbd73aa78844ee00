"""What reports ask of their store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.mailauth.dmarc_result import DMARCResult
from mailrelay.queue.entry import NewMessage
from mailrelay.reporting.model import Kind, PolicyResult, Report

DAY = 86400
"""Seconds; reports are of days in UTC."""


@frozen
class Due:
    """A domain that may be told of a day, which is counted since the epoch."""

    kind: Kind
    domain: str
    day: int

    @property
    def began_at(self) -> float:
        """Its first second."""
        return float(self.day * DAY)

    @property
    def ended_at(self) -> float:
        """Its last second."""
        return float(self.day * DAY + DAY - 1)


@frozen
class Made:
    """A report of ours, and what became of it in words.  Times are seconds since the epoch."""

    kind: Kind
    domain: str
    began_at: float
    ended_at: float
    made_at: float
    message_id: int | None
    outcome: str


@frozen
class Received:
    """A report of others.  ``source`` is the domain in From, or the address that posted it.

    ``is_verified`` says that DMARC found it to be from there.
    """

    kind: Kind
    source: str
    is_verified: bool
    received_at: float
    message_id: int | None
    report: Report


@frozen
class Listed:
    """A report as it is listed: ``succeeded`` and ``failed`` are messages, or sessions."""

    id: int
    kind: Kind
    domain: str
    organization: str
    report_id: str
    began_at: float
    ended_at: float
    received_at: float
    message_id: int | None
    source: str
    is_verified: bool
    succeeded: int
    failed: int


@frozen
class ReportQuery:
    """Which reports; None is any.  The newest come first, those before the id ``before``."""

    kind: Kind | None = None
    domain: str | None = None
    since: float | None = None
    before: int | None = None
    is_verified: bool | None = None
    limit: int = 100


class ResultStore(Protocol):
    """What was recorded of mail and sessions, and which reports were made of it.

    Every method may fail with StoreUnavailable.
    """

    def due(
        self, kind: Kind, before_day: int, after: Due | None, limit: int
    ) -> Deferred[Sequence[Due]]:
        """Domains that have something of days before ``before_day``, those behind ``after``."""

    def dmarc_results(
        self, due: Due, after: tuple[float, int] | None, limit: int
    ) -> Deferred[Sequence[tuple[tuple[float, int], DMARCResult]]]:
        """What was judged that day, behind a place, with each one's place."""

    def tls_results(self, due: Due) -> Deferred[Sequence[PolicyResult]]:
        """How TLS went that day."""

    def make(self, made: Made, letters: Sequence[NewMessage]) -> Deferred[bool]:
        """Note that a report is made, and queue ``letters``, in one transaction.

        False when it was made before, here or elsewhere: nothing is changed then.
        """

    def tell(self, made: Made) -> Deferred[None]:
        """Note what became of a report that was made."""

    def forget(self, due: Due) -> Deferred[bool]:
        """Remove some of what is recorded of that day.  False when nothing is left."""

    def sweep(self, results_before: float, made_before: float) -> Deferred[bool]:
        """Remove some of what is old.  False when nothing is left."""


class ReceivedStore(Protocol):
    """Reports of others.  Every method may fail with StoreUnavailable."""

    def add(self, received: Received) -> Deferred[bool]:
        """Keep a report; False when it is there already.

        One that is verified takes the place of one that is not.
        """

    def sweep(self, before: float, most: int) -> Deferred[bool]:
        """Remove some that came before ``before``, or are beyond the newest ``most``.

        Those that are not verified go before those that are.  False when nothing is
        left to remove.
        """


class ReportRecords(Protocol):
    """What is shown to operators.  Methods may fail with StoreUnavailable."""

    def find(self, query: ReportQuery) -> Deferred[Sequence[Listed]]:
        """The reports of others."""

    def get(self, report_id: int) -> Deferred[tuple[Listed, Report] | None]:
        """One with all it says; None for an unknown id."""

    def contents(self, query: ReportQuery) -> Deferred[Sequence[tuple[int, Report]]]:
        """What the reports say, with their ids."""

    def sent(self, query: ReportQuery) -> Deferred[Sequence[Made]]:
        """Those that we made."""
