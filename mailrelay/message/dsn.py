"""Delivery status notifications (RFC 3464 in RFC 6522, RFC 6533 for addresses beyond ASCII)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import frozen

from mailrelay.message.header import header_end
from mailrelay.message.trace import date_field
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import EnhancedStatus, Reply, printable

MAX_RETURNED_BYTES = 1024 * 1024
"""Of RET=FULL content, no more than this is returned; beyond it, only the header is."""


class Action(Enum):
    """What became of a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"  # given to the members of an alias


@frozen
class RecipientReport:
    """One recipient's block.  Times are seconds since the epoch."""

    recipient: Address
    action: Action
    reply: Reply
    orcpt: str | None = None
    remote_host: str | None = None
    last_attempt_at: float | None = None
    will_retry_until: float | None = None


@frozen
class Report:
    """A whole DSN, before it is written.  ``original`` is the content, or the front of it.

    ``boundary`` is a token that who wrote the original could not guess: no line of it may end a
    part.
    """

    reporting_mta: str
    reverse_path: Address
    message_id: str  # of the DSN itself
    boundary: str
    original_message_id: str | None
    envid: str | None
    arrival_at: float
    now: float
    recipients: Sequence[RecipientReport]
    original: bytes
    original_size_bytes: int
    return_full: bool = False
    next_attempt_at: float | None = None


SUBJECTS = {
    Action.FAILED: "Mail delivery failed",
    Action.DELAYED: "Mail delivery delayed",
    Action.DELIVERED: "Mail delivered",
    Action.RELAYED: "Mail relayed",
    Action.EXPANDED: "Mail passed on",
}
_STATUS = {
    Action.FAILED: EnhancedStatus(5, 0, 0),
    Action.DELAYED: EnhancedStatus(4, 0, 0),
    Action.DELIVERED: EnhancedStatus(2, 0, 0),
    Action.RELAYED: EnhancedStatus(2, 0, 0),
    Action.EXPANDED: EnhancedStatus(2, 0, 0),
}


EXPIRED = EnhancedStatus(5, 4, 7)
"""RFC 3463 section 3.5: what was only ever put off has failed because its time is over."""


def compose_dsn(report: Report) -> bytes:
    """The DSN's content: canonical lines, ready to be queued under a null reverse-path."""
    utf8 = any(not r.recipient.is_ascii for r in report.recipients)
    boundary = f"=_dsn_{report.boundary}"
    full = report.return_full and report.original_size_bytes <= MAX_RETURNED_BYTES
    original = report.original if full else report.original[: header_end(report.original)]
    parts = [
        ("text/plain; charset=utf-8", _text(report)),
        (f"message/{'global-' if utf8 else ''}delivery-status", _status_fields(report, utf8)),
        (_original_type(original, full=full), original),
    ]
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {type_}\r\n"
        f"Content-Transfer-Encoding: {'7bit' if data.isascii() else '8bit'}\r\n\r\n".encode()
        + data
        + (b"" if data.endswith(b"\r\n") else b"\r\n")
        for type_, data in parts
    )
    return _top(report, boundary) + body + f"--{boundary}--\r\n".encode()


def _top(report: Report, boundary: str) -> bytes:
    action = report.recipients[0].action
    lines = [
        f"From: Mail Delivery System <postmaster@{report.reporting_mta}>",
        f"To: <{report.reverse_path}>",
        f"Subject: {SUBJECTS[action]}",
        f"Date: {date_field(report.now)}",
        f"Message-ID: {report.message_id}",
        "Auto-Submitted: auto-replied",
    ]
    # A field beyond ASCII would need SMTPUTF8 on the whole way back.
    if report.original_message_id and report.original_message_id.isascii():
        lines.append(f"References: {printable(report.original_message_id, 300)}")
    lines += [
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


_INTRODUCTIONS = {
    Action.FAILED: "Your message could not be delivered to:",
    Action.DELAYED: "Your message has not been delivered yet. We keep trying. It waits for:",
    Action.DELIVERED: "Your message was delivered to:",
    Action.RELAYED: "Your message was passed to a server that sends no confirmations, for:",
    Action.EXPANDED: "Your message was taken, and passed on to everybody behind:",
}


def _text(report: Report) -> bytes:
    action = report.recipients[0].action
    lines = [f"This is the mail server at {report.reporting_mta}.", "", _INTRODUCTIONS[action], ""]
    for recipient in report.recipients:
        said = f"{recipient.remote_host} said: " if recipient.remote_host else ""
        lines.append(f"  <{recipient.recipient.unicode}>")
        lines.append(f"    {_on_a_line(said + str(recipient.reply))}")
    until = report.recipients[0].will_retry_until
    if action is Action.DELAYED and report.next_attempt_at is not None:
        lines += ["", f"The next attempt is at {date_field(report.next_attempt_at)}."]
        if until is not None:
            lines.append(f"If it still fails, we give up at {date_field(until)}.")
        lines.append("You need not send it again.")
    return ("\r\n".join(lines) + "\r\n").encode()


def _status_fields(report: Report, utf8: bool) -> bytes:
    lines = [f"Reporting-MTA: dns; {report.reporting_mta}"]
    if report.envid:
        lines.append(f"Original-Envelope-Id: {printable(report.envid, 100)}")
    lines.append(f"Arrival-Date: {date_field(report.arrival_at)}")
    for recipient in report.recipients:
        lines += ["", *_recipient_fields(recipient, utf8)]
    # message/delivery-status is 7-bit (RFC 3464 section 2.1); replies may not be.
    return ("\r\n".join(lines) + "\r\n").encode("utf-8" if utf8 else "ascii", "replace")


def _recipient_fields(recipient: RecipientReport, utf8: bool) -> list[str]:
    status = recipient.reply.status
    if status is None or status.class_ != _STATUS[recipient.action].class_:
        expired = recipient.action is Action.FAILED and recipient.reply.is_transient
        status = EXPIRED if expired else _STATUS[recipient.action]
    type_ = "utf-8" if utf8 and not recipient.recipient.is_ascii else "rfc822"
    lines = [f"Original-Recipient: {printable(recipient.orcpt, 500)}"] if recipient.orcpt else []
    lines += [
        f"Final-Recipient: {type_}; {recipient.recipient}",
        f"Action: {recipient.action.value}",
        f"Status: {status}",
    ]
    if recipient.remote_host:
        lines.append(f"Remote-MTA: dns; {recipient.remote_host}")
        lines.append(f"Diagnostic-Code: smtp; {_on_a_line(str(recipient.reply))}")
    if recipient.last_attempt_at is not None:
        lines.append(f"Last-Attempt-Date: {date_field(recipient.last_attempt_at)}")
    if recipient.will_retry_until is not None and recipient.action is Action.DELAYED:
        lines.append(f"Will-Retry-Until: {date_field(recipient.will_retry_until)}")
    return lines


def _on_a_line(text: str) -> str:
    """``text`` within what a line may hold (RFC 5322 section 2.1.1), counted in bytes."""
    line = printable(text.replace("\n", " "), 900)
    return line.encode()[:900].decode("utf-8", "ignore")


def _original_type(original: bytes, *, full: bool) -> str:
    utf8 = not original[: header_end(original)].isascii()
    if full:
        return "message/global" if utf8 else "message/rfc822"
    return "message/global-headers" if utf8 else "text/rfc822-headers"
