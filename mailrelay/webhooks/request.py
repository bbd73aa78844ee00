"""What is posted for calls, and how long an answer asks to wait.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

from attrs import field, frozen

from mailrelay.webhooks.call import Call
from mailrelay.webhooks.endpoint import StandardEndpoint
from mailrelay.webhooks.signature import signed_headers
from mailrelay.webhooks.standard import said_together

GONE = 410
"""The receiver wants no more calls (RFC 9110 section 15.5.11)."""

_ASKING_TO_WAIT = (429, 503)

LONGEST_ASKED_WAIT = 86400.0
"""Seconds: of a longer Retry-After the rest is not waited."""


@frozen
class CallRequest:
    """One POST."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def mox_request(call: Call, user_agent: str) -> CallRequest:
    """The request for a call in mox's shape."""
    headers = {
        **_common(user_agent),
        "X-Mox-Webhook-Id": str(call.id),
        "X-Mox-Webhook-Attempt": str(call.attempts + 1),
    }
    if call.authorization:
        headers["Authorization"] = call.authorization
    return CallRequest(call.url, headers, call.payload)


def standard_request(
    calls: Sequence[Call], endpoint: StandardEndpoint, now: float, user_agent: str
) -> CallRequest:
    """The signed request for calls to ``endpoint``, as that is now."""
    id_, body = said_together(calls, now)
    signed = signed_headers(endpoint.signing(now), id_, int(now), body)
    return CallRequest(endpoint.url, {**_common(user_agent), **signed}, body)


def _common(user_agent: str) -> dict[str, str]:
    return {"Content-Type": "application/json; charset=utf-8", "User-Agent": user_agent}


def is_success(call: Call, status: int) -> bool:
    """Whether an answer of ``status`` takes the call: mox's receivers mean 200 and no other."""
    return status == 200 if call.endpoint_id is None else 200 <= status < 300


def asked_wait(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait (RFC 9110 section 10.2.3), None when it does not."""
    text = headers.get("retry-after", "").strip()
    if status not in _ASKING_TO_WAIT or not text:
        return None
    seconds = float(text) if _SECONDS.fullmatch(text) else _seconds_until(text, now)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_ASKED_WAIT)


_SECONDS = re.compile(r"[0-9]{1,12}")


def _seconds_until(text: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(text[:100]).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
