"""Accepting for applications that answer at once, composed."""

from __future__ import annotations

from collections.abc import Callable

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.synchronous import Synchronous
from mailrelay.config.convert import queue_settings
from mailrelay.config.settings import Settings
from mailrelay.handoff.answering import Answering
from mailrelay.observe.metrics import Metrics
from mailrelay.queue.outcome import Delivered, PermanentFailure
from mailrelay.queue.report import Reporter
from mailrelay.queue.settle import Rules
from mailrelay.queue.transport import Result
from mailrelay.storage.stores import Stores


def make_synchronous(
    settings: Settings,
    stores: Stores,
    acceptance: Acceptance,
    reporter: Reporter,
    answering: Answering,
    account_kept_for: Callable[[int | None], float | None],
    metrics: Metrics,
) -> Synchronous | None:
    """What the listeners ask for such recipients, None where there can be none."""
    if not any(endpoint.synchronous for endpoint in settings.handoff):
        return None
    queue = queue_settings(settings.queue)
    rules = Rules(queue.profile, queue.retired_kept_for, account_kept_for, queue.content_kept_for)

    def answered(result: Result) -> None:
        [outcome] = result.outcomes
        final = "refused" if isinstance(outcome, PermanentFailure) else "deferred"
        metrics.application_answered("taken" if isinstance(outcome, Delivered) else final)

    return Synchronous(acceptance, stores.queue, reporter, answering.ask, lambda: rules, answered)
