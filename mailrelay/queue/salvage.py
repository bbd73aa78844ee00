"""Outcomes whose data cannot be stored: one by one, and without what others said.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.smtp.reply import Reply


def one_by_one(job: Job, result: Result) -> Iterator[tuple[Job, Result]]:
    """Each entry with its outcome."""
    for entry, outcome in zip(job.entries, result.outcomes, strict=True):
        yield evolve(job, entries=[entry]), evolve(result, outcomes=[outcome])


def in_our_words(result: Result) -> Result:
    """``result`` with nothing in it that came from outside, but for the codes."""
    outcomes = [
        evolve(
            outcome,
            reply=Reply(outcome.reply.code, "(its text cannot be stored)", outcome.reply.status),
        )
        for outcome in result.outcomes
    ]
    attempt = Attempt(result.attempt.started_at, result.attempt.ended_at)
    return evolve(result, outcomes=outcomes, attempt=attempt, notes={})
