"""Reports about TLS read (RFC 8460 section 4.4), from JSON that anybody wrote.

What is missing or of another type is empty, or none; lists, texts and numbers are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from mailrelay.reporting.bounded import MOST_COUNT, bounded, domain_of, ip_of
from mailrelay.reporting.model import FailureDetails, MalformedReport, PolicyResult, TLSReport

MOST_POLICIES = 100
MOST_FAILURES = 1000
"""Of one policy."""

MOST_STRINGS = 100
MOST_VALUES = 200_000
"""In the whole of it, which is in memory."""

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def read_tls(pieces: Iterable[bytes]) -> TLSReport:
    """The report that ``pieces`` are, one after the other.  Raises: MalformedReport."""
    data = b"".join(pieces).removeprefix(b"\xef\xbb\xbf")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MOST_VALUES:
        raise MalformedReport("the JSON has too many values")
    try:
        told = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedReport(f"not JSON: {error}") from None
    if not isinstance(told, dict):
        raise MalformedReport("not a report: its JSON is no object")
    dates = _object(told.get("date-range"))
    began, ended = _time(dates.get("start-datetime")), _time(dates.get("end-datetime"))
    report_id = _text(told.get("report-id"))
    policies = [_policy(_object(one)) for one in _list(told.get("policies"), MOST_POLICIES)]
    policies = [one for one in policies if one.domain]
    if began is None or ended is None or not report_id or not policies:
        raise MalformedReport("the report lacks its date-range, report-id or policies")
    organization, contact = _text(told.get("organization-name")), _text(told.get("contact-info"))
    return TLSReport(organization, contact, report_id, began, max(began, ended), tuple(policies))


def _policy(told: Mapping[str, Any]) -> PolicyResult:
    policy, summary = _object(told.get("policy")), _object(told.get("summary"))
    return PolicyResult(
        _text(policy.get("policy-type"), 40),
        domain_of(_text(policy.get("policy-domain"))),
        _texts(policy.get("policy-string")),
        _texts(policy.get("mx-host")),
        _count(summary.get("total-successful-session-count")),
        _count(summary.get("total-failure-session-count")),
        tuple(_failure(_object(one)) for one in _list(told.get("failure-details"), MOST_FAILURES)),
    )


def _failure(told: Mapping[str, Any]) -> FailureDetails:
    return FailureDetails(
        _text(told.get("result-type"), 40),
        _count(told.get("failed-session-count")),
        ip_of(_text(told.get("sending-mta-ip"))),
        _text(told.get("receiving-mx-hostname")),
        _text(told.get("receiving-mx-helo")),
        ip_of(_text(told.get("receiving-ip"))),
        _text(told.get("additional-information") or told.get("additional-info-uri")),
        _text(told.get("failure-reason-code")),
    )


def _object(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}


def _list(told: object, most: int) -> Sequence[Any]:
    return told[:most] if isinstance(told, list) else ()


def _text(told: object, limit: int = 255) -> str:
    return bounded(told, limit) if isinstance(told, str) else ""


def _texts(told: object) -> tuple[str, ...]:
    """Some write one where a list is."""
    if isinstance(told, str):
        told = [told]
    return tuple(_text(one) for one in _list(told, MOST_STRINGS))


def _count(told: object) -> int:
    is_count = isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= MOST_COUNT
    return told if is_count else 0  # type: ignore[return-value]


def _time(told: object) -> float | None:
    """Seconds since the epoch (RFC 3339)."""
    match = _TIME.fullmatch(told) if isinstance(told, str) and len(told) < 64 else None
    if match is None:
        return None
    day, time, zone = match.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in 'Zz' else zone}")
        return at.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
