"""What one run of one scenario on one server yields, and the medians of several."""

from collections.abc import Iterable
from statistics import median

import attrs

Metrics = dict[str, float]
"""Values by metric: see UNITS."""

UNITS = {
    "per_second": "messages/s",
    "mb_per_second": "MB/s",
    "p50_ms": "ms of a call, median",
    "p99_ms": "ms of a call, p99",
    "seconds": "s",
    "cpu_per_1000": "CPU s per 1,000",
    "peak_mib": "peak memory MiB",
    "kb_per_connection": "kB per connection",
    "connects_per_second": "connects/s",
    "accept_empty": "messages/s, queue empty",
    "accept_full": "messages/s, queue full",
    "accept_ratio": "accept rate full / empty",
    "queued_mib": "memory MiB, queue full",
    "banner_seconds": "s from start to greeting",
    "first_delivery_seconds": "s from start to a delivery",
    "sign_ms": "CPU ms to sign, RSA 2048",
    "verify_ms": "CPU ms to verify it",
    "seal_ms": "CPU ms to seal (ARC)",
    "validate_ms": "CPU ms to validate the seal",
    "ed25519_sign_ms": "CPU ms to sign, Ed25519",
    "ed25519_verify_ms": "CPU ms to verify it, Ed25519",
    "first_load_kb": "kB of /login and /, with what they load",
    "mail_ms": "ms of the list of mail",
    "sent_ms": "ms of the list of what was sent",
    "sent_domain_ms": "ms of that, to one domain",
    "overview_ms": "ms of the overview",
    "queue_ms": "ms of the queue",
    "queue_domain_ms": "ms of the queue for a domain",
    "queue_recipient_ms": "ms of the queue for a recipient",
    "queue_account_ms": "ms of the queue of an account, newest first",
    "retired_ms": "ms of what is retired",
    "health_ms": "ms of the server's health",
}


@attrs.frozen
class Run:
    """One run. `lost` is negative when messages arrived more than once."""

    scenario: str
    server: str
    metrics: Metrics = attrs.field(factory=dict)
    sent: int = 0
    lost: int = 0
    error: str = ""


def medians(runs: Iterable[Run]) -> dict[tuple[str, str], Metrics]:
    """The median of each metric over the rounds, by scenario and server."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in runs:
        of_server = values.setdefault((run.scenario, run.server), {})
        for metric, value in run.metrics.items():
            of_server.setdefault(metric, []).append(value)
    return {
        key: {metric: median(series) for metric, series in of_server.items()}
        for key, of_server in values.items()
    }
