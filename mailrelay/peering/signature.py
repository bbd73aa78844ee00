"""Signatures of mailrelay/1: every request, and every answer to one."""

from mailrelay.net.signature import (
    MOST_SKEW,
    PREFIX,
    SECRET_BYTES,
    Signed,
    fits,
    is_idempotency_key,
    is_in_time,
    is_key_id,
    response_signature,
    timestamp_of,
)

__all__ = [
    "MOST_SKEW",
    "PREFIX",
    "SECRET_BYTES",
    "Signed",
    "fits",
    "is_idempotency_key",
    "is_in_time",
    "is_key_id",
    "response_signature",
    "timestamp_of",
]
