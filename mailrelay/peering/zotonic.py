"""What Zotonic's mod_email_relay speaks: requests, answers and reports, in JSON.  Pure.

Both sides of a pair know one secret, which is in the query of every request; nothing is signed.
What is read here is text of a peer: every field has a bound, and none has a control character,
but the message itself.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import quote

import msgspec
from attrs import frozen

from mailrelay.smtp.reply import Reply, printable

PATH = "/api/model/email_relay/post/relay"
RECIPIENT_PATH = f"{PATH}/recipient"

LONGEST_NR = 100
"""Characters of a message's number, here and there."""

LONGEST_RECIPIENT = 1000
LONGEST_URL = 250
LONGEST_STATUS = 500

MOST_BODY_BYTES = 32 * 1024 * 1024
"""A request is smaller: so much is read there."""


class Malformed(Exception):
    """A request is not as it must be: ``field``, and what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


@frozen
class RelayRequest:
    """A message for one recipient.  ``email`` is as it came, in UTF-8."""

    message_nr: str  # empty when it said none
    recipient: str  # it may have a display name
    email: bytes
    webhook_url: str


@frozen
class BlockRequest:
    """An address that an editor of the peer's blocked, or does no longer."""

    recipient: str
    is_blocked: bool


class ReportType(StrEnum):
    """What is told of a message, one way or the other."""

    RELAYED = "relayed"
    TEMPORARY_FAILURE = "temporary_failure"
    PERMANENT_FAILURE = "permanent_failure"


@frozen
class Report:
    """What became of a message; ``message_nr`` is the sender's, untouched."""

    type: ReportType
    message_nr: str
    recipient: str
    status: str = ""


# Reading


def read_relay_request(body: bytes) -> RelayRequest:
    """A message that we are to relay.  Raises: Malformed."""
    fields = _object(body, "the body")
    email = fields.get("email")
    if not isinstance(email, str) or not email:
        raise Malformed("email", "must be the message, as text")
    return RelayRequest(
        _text(fields, "message_nr", LONGEST_NR),
        _text(fields, "recipient", LONGEST_RECIPIENT, is_needed=True),
        email.encode(),
        _text(fields, "webhook_url", LONGEST_URL * 4),
    )


def read_block_request(body: bytes) -> BlockRequest:
    """Whether an address is blocked there.  Raises: Malformed."""
    fields = _object(body, "the body")
    is_blocked = fields.get("is_blocked")
    if not isinstance(is_blocked, bool):
        raise Malformed("is_blocked", "must be true or false")
    return BlockRequest(_text(fields, "recipient", LONGEST_RECIPIENT, is_needed=True), is_blocked)


def read_report(body: bytes) -> Report:
    """What a relay tells of a message of ours.  Raises: Malformed."""
    fields = _object(body, "the body")
    if fields.get("type") != "delivery_report":
        raise Malformed("type", "must be delivery_report")
    report = fields.get("report")
    if not isinstance(report, dict):
        raise Malformed("report", "must be an object")
    type_ = _text(report, "type", LONGEST_NR, is_needed=True)
    status = report.get("status")
    return Report(
        _TYPES.get(type_, ReportType.TEMPORARY_FAILURE),
        _text(report, "message_nr", LONGEST_NR * 2, is_needed=True),
        _text(report, "recipient", LONGEST_RECIPIENT, is_needed=True),
        printable(status, LONGEST_STATUS) if isinstance(status, str) else "",
    )


def _object(body: bytes, name: str) -> dict[str, object]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed(name, "must be JSON") from None
    if not isinstance(found, dict):
        raise Malformed(name, "must be an object")
    return found


def _text(fields: dict[str, object], name: str, most: int, *, is_needed: bool = False) -> str:
    value = fields.get(name)
    if value is None or value == "":
        if is_needed:
            raise Malformed(name, "is missing")
        return ""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise Malformed(name, f"must be one line of up to {most} printable characters")
    return value


_TYPES = {
    "sent": ReportType.RELAYED,
    "relayed": ReportType.RELAYED,
    "received": ReportType.RELAYED,
    "temporary_failure": ReportType.TEMPORARY_FAILURE,
    "permanent_failure": ReportType.PERMANENT_FAILURE,
}
"""What is none of these is taken for a temporary failure, there as here."""


# Writing


def relay_body(message_nr: str, recipient: str, email: str, webhook_url: str) -> bytes:
    """A request to relay a message."""
    fields = {"message_nr": message_nr, "recipient": recipient, "email": email}
    return msgspec.json.encode({**fields, "webhook_url": webhook_url})


def block_body(recipient: str, *, is_blocked: bool) -> bytes:
    """A request to block an address, or not to."""
    return msgspec.json.encode({"recipient": recipient, "is_blocked": is_blocked})


def report_body(report: Report) -> bytes:
    """A report."""
    told = {
        "type": report.type.value,
        "message_nr": report.message_nr,
        "recipient": report.recipient,
    }
    if report.status:
        told["status"] = printable(report.status, LONGEST_STATUS)
    return msgspec.json.encode({"type": "delivery_report", "report": told})


def queued_body(message_id: int, recipient: str, *, is_again: bool = False) -> bytes:
    """The answer to a message that is ours now, or was before."""
    again = "already " if is_again else ""
    result = {
        "receipt": f"200 [RELAY] Message {again}queued as {message_id}",
        "to": recipient,
        "message_nr": str(message_id),
    }
    return msgspec.json.encode({"status": "ok", "result": result})


OK_BODY = b'{"status":"ok"}'


def error_body(error: str, message: str = "") -> bytes:
    """The answer to a request that nothing was done for."""
    said = {"status": "error", "error": error}
    return msgspec.json.encode({**said, "message": message} if message else said)


def status_text(reply: Reply) -> str:
    """A reply as a report tells of it: its code first, by which the peer knows what it means."""
    return printable(str(reply).replace("\n", " "), LONGEST_STATUS)


# The secret


def with_secret(url: str, secret: bytes) -> str:
    """``url`` with the secret in its query."""
    return f"{url}{'&' if '?' in url else '?'}s={quote(secret, safe='')}"


def is_secret(given: Sequence[str], secret: bytes) -> bool:
    """Whether the values of ``s`` in a query are the secret, told in constant time."""
    text = given[0] if len(given) == 1 else ""
    return hmac.compare_digest(text.encode("utf-8", "replace"), secret) and bool(secret)


def scrubbed(text: str, secrets: Sequence[bytes]) -> str:
    """``text`` without any of ``secrets``, as they are or as a query has them."""
    for secret in filter(None, secrets):
        for form in (secret.decode("utf-8", "replace"), quote(secret, safe="")):
            text = text.replace(form, "[secret]")
    return _IN_QUERY.sub(r"\1[secret]", text)


_IN_QUERY = re.compile(r"([?&]s=)[^&\s\"'<>]+")
