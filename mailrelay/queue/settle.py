"""From an attempt's result to what is recorded of it.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen

from mailrelay.message.dsn import Action, RecipientReport
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import LARGE_BYTES, Entry, Finished
from mailrelay.queue.outcome import (
    Deferral,
    Delivered,
    HandedOver,
    Outcome,
    PermanentFailure,
    Reach,
    Refrained,
)
from mailrelay.queue.schedule import RetryProfile, gives_up_at, is_delay_due, next_attempt_at
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from mailrelay.smtp.reply import Reply

NOT_PASSED_ON = "it was forwarded to another server, which did not take it"

AWAITED_FOR = 14 * 86400.0
"""Seconds that an entry which a peer has is kept beyond others, for what the peer has to tell."""


@frozen
class Settlement:
    """What to record, and what the sender is to be told in one DSN per action."""

    finished: Sequence[Finished]
    reports: Sequence[RecipientReport]
    next_attempt_at: float | None  # the earliest of those that were put off
    list_reports: Sequence[tuple[Address, RecipientReport]] = ()  # each with its reverse-path


@frozen
class Rules:
    """How long entries live and how long they are kept after; seconds.

    ``account_kept_for`` is what an account itself wants, None when it says nothing.
    What failed for a recipient has its content kept for ``content_kept_for``.
    """

    profile: RetryProfile
    retired_kept_for: float
    account_kept_for: Callable[[int | None], float | None] = field(default=lambda account_id: None)
    content_kept_for: float = 0.0

    def kept_for(self, account_id: int | None) -> float:
        """How long an account's retired entries are kept."""
        own = self.account_kept_for(account_id)
        return self.retired_kept_for if own is None else own


def settle(
    job: Job, result: Result, rules: Rules, now: float, jitter: float, *, unbegun: bool = False
) -> Settlement:
    """What the outcomes of ``result`` change.  ``unbegun`` when no attempt was recorded."""
    finished, reports = [], []
    shared = {"destination": job.destination.key, **_shared_data(result.attempt), **result.notes}
    trial = _Trial(rules, result.attempt, shared, now, jitter, unbegun)
    for entry, outcome in zip(job.entries, result.outcomes, strict=True):
        one, report = _settle_entry(entry, outcome, trial)
        finished.append(one)
        if report is not None:
            reports.append((entry, report))
    due = [f.next_attempt_at for f in finished if f.retired_until is None]
    own = [r for entry, r in reports if not entry.is_of_list or entry.returns_to_author]
    of_lists = [
        (entry.reverse_path, report)
        for entry, report in reports
        if entry.is_of_list and entry.reverse_path is not None and not entry.returns_to_author
    ]
    return Settlement(finished, own, min(due) if due else None, of_lists)


@frozen
class _Trial:
    """What the entries of one attempt share."""

    rules: Rules
    attempt: Attempt
    data: dict[str, object]
    now: float
    jitter: float
    unbegun: bool


def _settle_entry(
    entry: Entry, outcome: Outcome, trial: _Trial
) -> tuple[Finished, RecipientReport | None]:
    rules, attempt, now, jitter = trial.rules, trial.attempt, trial.now, trial.jitter
    attempts = entry.attempts + 1
    expired = False
    due: float | None = None
    if isinstance(outcome, Deferral):
        due = next_attempt_at(rules.profile, entry.queued_at, now, attempts, jitter)
        if due is None:
            expired, outcome = True, PermanentFailure(outcome.reply, outcome.is_answer)
    kind = _KINDS[type(outcome)]
    tell_delay = (
        due is not None
        and is_delay_due(rules.profile, entry.queued_at, now, reported=entry.delay_reported)
        and entry.wants(Notify.DELAY)
    )
    kept_for = rules.kept_for(entry.account_id)
    if isinstance(outcome, HandedOver):
        kept_for += AWAITED_FOR
    event = NewEvent(
        kind,
        now,
        entry.message.id,
        entry.id,
        entry.account_id,
        trial.data | _own_data(entry, outcome, attempts, expired=expired, due=due),
    )
    finished = Finished(
        entry.id,
        entry.epoch,
        next_attempt_at=now if due is None else due,
        event=event,
        retired_until=now + kept_for if due is None else None,
        delay_reported=entry.delay_reported or tell_delay,
        unbegun=trial.unbegun,
        content_is_large=entry.message.size_bytes > LARGE_BYTES,
        member=None if entry.member_of is None else (entry.member_of, str(entry.recipient)),
        content_kept_until=_content_kept_until(entry, outcome, rules, now),
    )
    action = _action(entry, outcome, tell_delay=tell_delay)
    if action is None:
        return finished, None
    if entry.returns_to_author:
        report = RecipientReport(entry.told_as, action, untold(outcome.reply))
        return finished, report
    until = gives_up_at(rules.profile, entry.queued_at, due, attempts + 1) if due else None
    report = RecipientReport(
        _recipient(entry),
        action,
        outcome.reply,
        orcpt=entry.orcpt,
        remote_host=attempt.host,
        last_attempt_at=attempt.ended_at,
        will_retry_until=until,
    )
    return finished, report


def _content_kept_until(entry: Entry, outcome: Outcome, rules: Rules, now: float) -> float | None:
    """When what failed cannot be sent again any more; None when that is at once."""
    is_wanted = isinstance(outcome, PermanentFailure | Refrained) and entry.account_id is not None
    return now + rules.content_kept_for if is_wanted and rules.content_kept_for > 0 else None


def untold(answer: Reply) -> Reply:
    """``answer`` without what another server said, which often names whom it refuses."""
    return Reply(answer.code, NOT_PASSED_ON, answer.status)


def _recipient(entry: Entry) -> Address:
    """As whoever is told may know it (RFC 3461 section 5.2.7.3)."""
    return entry.recipient if entry.is_of_list else entry.told_as


def _action(entry: Entry, outcome: Outcome, *, tell_delay: bool) -> Action | None:
    """What the sender is told of this, if anything (RFC 3461 sections 4.1 and 5.2)."""
    if isinstance(outcome, PermanentFailure | Refrained):
        return Action.FAILED if entry.wants(Notify.FAILURE) else None
    if isinstance(outcome, Deferral):
        return Action.DELAYED if tell_delay else None
    if isinstance(outcome, HandedOver):
        return None
    if not entry.wants(Notify.SUCCESS) or outcome.reach is Reach.PASSED_ON:
        return None
    return Action.DELIVERED if outcome.reach is Reach.MAILBOX else Action.RELAYED


def _shared_data(attempt: Attempt) -> dict[str, object]:
    """What an event tells of the attempt itself."""
    data: dict[str, object] = {"started_at": attempt.started_at, "ended_at": attempt.ended_at}
    if attempt.host is not None:
        data |= {"host": attempt.host, "ip": attempt.ip}
    if attempt.tls is not None:
        data["tls"] = attempt.tls
    if attempt.tls_policy is not None:
        data |= {"tls_policy": attempt.tls_policy, "tls_because": attempt.tls_because}
        if attempt.certificate is not None:
            data["certificate"] = attempt.certificate
    if attempt.transcript:
        data["transcript"] = list(attempt.transcript)
    return data


def _own_data(
    entry: Entry, outcome: Outcome, number: int, *, expired: bool, due: float | None
) -> dict[str, object]:
    """What an event tells of one entry."""
    answer = outcome.reply
    data: dict[str, object] = {
        "recipient": str(_recipient(entry)),
        "attempt": number,
        "code": answer.code,
        "status": str(answer.status) if answer.status else "",
        "reply": answer.text,
    }
    to = entry.destination
    if isinstance(to, Destination) and to.because:
        data["because"] = to.because
        if to.route is not None:
            data["route"] = to.route
    if due is not None:
        data["next_attempt_at"] = due
    if expired:
        data["expired"] = True
    if isinstance(outcome, Deferral | PermanentFailure) and outcome.is_answer:
        data["answered"] = True
    return data


_KINDS: dict[type[object], EventKind] = {
    Delivered: EventKind.DELIVERED,
    HandedOver: EventKind.HANDED_OVER,
    Deferral: EventKind.DELAYED,
    PermanentFailure: EventKind.FAILED,
    Refrained: EventKind.SUPPRESSED,
}
