"""What a request and its message say, read together.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

from mailrelay.handoff.answers import HAS_NUL, HEADER_TOO_LARGE, NO_MESSAGE, NO_RECIPIENT, NOT_OURS
from mailrelay.handoff.discovery import Recipients, recipients_of, sender_of
from mailrelay.handoff.reading import Reading
from mailrelay.message.header import Header, HeaderTooLarge, parse_header
from mailrelay.policy.limits import LOOPING
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply
from mailrelay.web.headers import Headers
from mailrelay.web.request import Request

KEY_FIELD = "idempotency-key"
_KEY = re.compile(r"[!-~]{1,255}")
_NO_HEADER = Header((), 0)


class BadKey(Exception):
    """The request's Idempotency-Key cannot be used."""


@frozen
class Letter:
    """Envelope and header.  ``trouble`` is why it can go to nobody, whoever that were."""

    sender: Address | None
    found: Recipients
    header: Header
    trouble: Reply | None = None


def key_of(headers: Headers) -> str | None:
    """The request's own key, None when it has none.  Raises: BadKey."""
    values = headers.all(KEY_FIELD)
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise BadKey("Idempotency-Key is of 1 to 255 printable ASCII characters, and there once")
    return values[0]


def letter_of(
    request: Request, reading: Reading, is_ours: Callable[[Address], bool], most_received: int
) -> Letter:
    """What was handed in.  Raises: Unreadable, web Refused."""
    trouble: Reply | None = None
    try:
        header = parse_header(reading.head)
    except HeaderTooLarge:
        header, trouble = _NO_HEADER, HEADER_TOO_LARGE
    query = request.query_fields()
    found = recipients_of(request.headers, query, header, is_ours)
    sender = sender_of(request.headers, query, header)
    if reading.has_nul:
        trouble = HAS_NUL
    elif trouble is None and not header.fields:
        trouble = NO_MESSAGE
    elif header.count("received") > most_received:
        trouble = LOOPING
    if trouble is None and not found.addresses:
        trouble = NOT_OURS if found.foreign else NO_RECIPIENT
    return Letter(sender, found, header, trouble)
