"""Reports about TLS written (RFC 8460 section 4.4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mailrelay.reporting.model import FailureDetails, PolicyResult, TLSReport


def written_tls(report: TLSReport) -> bytes:
    """``report`` as JSON."""
    told = {
        "organization-name": report.organization,
        "date-range": {
            "start-datetime": _time(report.began_at),
            "end-datetime": _time(report.ended_at),
        },
        "contact-info": report.contact,
        "report-id": report.report_id,
        "policies": [_policy(one) for one in report.policies],
    }
    return msgspec.json.encode(told)


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _policy(told: PolicyResult) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": told.policy_type, "policy-domain": told.domain}
    if told.strings:
        policy["policy-string"] = told.strings
    if told.mx_hosts:
        policy["mx-host"] = told.mx_hosts
    found: dict[str, Any] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": told.succeeded,
            "total-failure-session-count": told.failed,
        },
    }
    if told.failures:
        found["failure-details"] = [_failure(one) for one in told.failures]
    return found


def _failure(told: FailureDetails) -> dict[str, Any]:
    texts = {
        "sending-mta-ip": told.sending_ip,
        "receiving-mx-hostname": told.receiving_host,
        "receiving-mx-helo": told.receiving_helo,
        "receiving-ip": told.receiving_ip,
        "additional-information": told.additional,
        "failure-reason-code": told.reason,
    }
    return {
        "result-type": told.result_type,
        **{name: text for name, text in texts.items() if text},
        "failed-session-count": told.sessions,
    }
