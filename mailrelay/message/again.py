"""A message that is sent again, without what belonged to the first one alone.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailrelay.message.header import HeaderTooLarge, parse_header

_OWN = (
    *(b"message-id", b"bcc", b"resent-bcc", b"return-path", b"idempotency-key"),
    *(b"dkim-signature", b"arc-seal", b"arc-message-signature", b"arc-authentication-results"),
)
"""Bcc is nobody's business; what was signed has another Message-ID now."""

_OF_RECIPIENT = (b"list-unsubscribe", b"list-unsubscribe-post")
"""Links that take the first recipient off, whoever uses them."""


def _fields(names: Sequence[bytes]) -> re.Pattern[bytes]:
    return re.compile(
        rb"(?im)^(?:" + b"|".join(names) + rb")[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
    )


_TO_THE_SAME, _TO_OTHERS = _fields(_OWN), _fields((*_OWN, *_OF_RECIPIENT))


def without_own_fields(head: bytes, *, to_others: bool = False) -> bytes:
    """The start of a message, its whole header section in it, without those fields.

    ``to_others`` when it goes to others than the first one did.  What is no header section that we
    can read stays, and is refused by acceptance.
    """
    try:
        end = parse_header(head).size_bytes
    except HeaderTooLarge:
        return head
    return (_TO_OTHERS if to_others else _TO_THE_SAME).sub(b"", head[:end]) + head[end:]
