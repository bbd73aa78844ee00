"""A way out: what every transport is given and what it must answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, Message
from mailrelay.queue.outcome import Outcome
from mailrelay.smtp.address import Address


@frozen
class Job:
    """Entries of one message for one destination, attempted together."""

    destination: Destination
    message: Message
    entries: Sequence[Entry]

    @property
    def reverse_path(self) -> Address | None:
        """What MAIL FROM says: all entries of a job share it.  None when null."""
        return self.entries[0].reverse_path

    def aged(self, step: float) -> Job:
        """With its entries as old as they were before the wall clock was set by ``step``."""
        if not step:
            return self
        return evolve(self, entries=[evolve(e, queued_at=e.queued_at + step) for e in self.entries])


@frozen
class Attempt:
    """How an attempt went, for the history; ``transcript`` is at most 16 KiB.

    ``tls_policy`` and ``tls_because`` are what decided about TLS, and ``certificate`` what the
    server's says of itself.
    """

    started_at: float
    ended_at: float
    host: str | None = None
    ip: str | None = None
    tls: str | None = None
    transcript: Sequence[str] = ()
    tls_policy: str | None = None
    tls_because: str | None = None
    certificate: str | None = None


@frozen
class Result:
    """One outcome per entry of the job, in order.

    ``host_failed`` when the host could not be talked to at all: its other entries wait too.
    """

    outcomes: Sequence[Outcome]
    attempt: Attempt
    host_failed: bool = False
    notes: dict[str, object] = field(factory=dict)


def without_lost(job: Job, result: Result, ours: Sequence[bool]) -> tuple[Job, Result]:
    """``job`` and ``result`` with only those entries that are still ``ours``."""
    entries = [entry for entry, is_ours in zip(job.entries, ours, strict=True) if is_ours]
    outcomes = [one for one, is_ours in zip(result.outcomes, ours, strict=True) if is_ours]
    return evolve(job, entries=entries), evolve(result, outcomes=outcomes)


class Transport(Protocol):
    """Makes attempts.  Never fails: what goes wrong is an outcome."""

    def attempt(self, job: Job) -> Deferred[Result]:
        """Try ``job`` once."""
