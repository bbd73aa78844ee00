"""What came of a message, as others report it: DSNs and feedback reports.

Nothing here is to be believed for being said: anybody can write a report.  Reading never raises.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice

from attrs import frozen

from mailrelay.message.encodings import decoded_bytes
from mailrelay.message.fields import read_date, read_fields
from mailrelay.message.header import MAX_HEADER_BYTES, Header, HeaderTooLarge, parse_header
from mailrelay.message.structure import Part, read_structure
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.smtp.reply import printable

MAX_STATUS_BYTES = 1024 * 1024
MAX_REPORTED = 100
MAX_AGENT_CHARACTERS = 200
MAX_BLOCKS = 1000
"""Of a DSN's fields no more is read: what others let one transaction have fits in it."""


@frozen
class ReportedRecipient:
    """One recipient's block (RFC 3464 section 2.3); what is absent or malformed is empty or None.

    ``action`` and ``diagnostic_type`` are in lower case; ``action`` may be any word.
    """

    final: Address | None
    original: Address | None
    action: str
    status: str
    diagnostic_type: str
    diagnostic: str
    remote_mta: str


@frozen
class DeliveryReport:
    """A DSN (RFC 3464, RFC 6533).  ``envid`` is the ENVID that the message was sent with."""

    reporting_mta: str
    envid: str
    recipients: tuple[ReportedRecipient, ...]
    original_message_id: str
    original_delivered_to: Address | None = None  # who got it last before it was sent there


@frozen
class FeedbackReport:
    """A complaint about a message, or other feedback (RFC 5965).

    ``feedback_type`` is in lower case.  ``mail_from`` is the message's by what the report says, and
    ``return_path`` by the message itself; of recipients there are MAX_REPORTED at the most.
    """

    feedback_type: str
    mail_from: Address | None
    recipients: tuple[Address, ...]
    arrival_date: datetime | None
    original_message_id: str
    user_agent: str = ""
    envid: str = ""
    return_path: Address | None = None


def read_report(content: bytes) -> DeliveryReport | FeedbackReport | None:
    """The report that the message ``content`` is, None for another message.

    A multipart/report (RFC 6522) is what its second part is, whatever its report-type says.
    """
    root = read_structure(content)
    if root.content_type != "multipart/report" or len(root.parts) < 2:
        return None
    type_ = root.parts[1].content_type
    if type_ in ("message/delivery-status", "message/global-delivery-status"):
        return _delivery_report(content, root)
    return _feedback_report(content, root) if type_ == "message/feedback-report" else None


def code_of(recipient: ReportedRecipient) -> tuple[int, str]:
    """The SMTP code and enhanced status that a recipient's block tells, 0 and empty if none.

    The reply of the remote server comes before our reading of ``status``, 400 or 500.
    """
    found = _STATUS.match(recipient.status)
    status = found.group() if found else ""
    reply = _REPLY.match(recipient.diagnostic) if recipient.diagnostic_type == "smtp" else None
    if reply is None:
        return (int(status[0]) * 100, status) if status[:1] in ("4", "5") else (0, "")
    code, enhanced = int(reply.group(1)), reply.group(2) or ""
    return code, next((s for s in (enhanced, status) if s[:1] == reply.group(1)[0]), "")


def _delivery_report(content: bytes, root: Part) -> DeliveryReport:
    blocks = _blocks(content, root.parts[1])
    message = blocks[0] if blocks else Header((), 0)
    original = _original_header(content, root)
    return DeliveryReport(
        reporting_mta=_typed(message, "reporting-mta")[1],
        envid=message.first("original-envelope-id") or "",
        recipients=tuple(
            _recipient(block)
            for block in blocks
            if any(map(block.count, ("final-recipient", "original-recipient", "action")))
        ),
        original_message_id=read_fields(original).message_id,
        original_delivered_to=_address("", (original.first("delivered-to") or "").strip()),
    )


def _recipient(block: Header) -> ReportedRecipient:
    diagnostic_type, diagnostic = _typed(block, "diagnostic-code")
    return ReportedRecipient(
        final=_address(*_typed(block, "final-recipient")),
        original=_address(*_typed(block, "original-recipient")),
        action=_first_word(block.first("action")).lower(),
        status=_first_word(block.first("status")),
        diagnostic_type=diagnostic_type,
        diagnostic=diagnostic,
        remote_mta=_typed(block, "remote-mta")[1],
    )


def _feedback_report(content: bytes, root: Part) -> FeedbackReport:
    blocks = _blocks(content, root.parts[1])
    fields = blocks[0] if blocks else Header((), 0)
    arrival = fields.first("arrival-date") or fields.first("received-date")
    recipients = (
        _address("", text) for text in islice(fields.all("original-rcpt-to"), MAX_REPORTED)
    )
    original = _original_header(content, root)
    return_path = original.first("return-path") or ""
    return FeedbackReport(
        feedback_type=_first_word(fields.first("feedback-type")).lower(),
        mail_from=_address("", fields.first("original-mail-from") or ""),
        recipients=tuple(found for found in recipients if found),
        arrival_date=read_date(arrival),
        original_message_id=read_fields(original).message_id,
        user_agent=printable(fields.first("user-agent") or "", MAX_AGENT_CHARACTERS),
        envid=fields.first("original-envelope-id") or "",
        return_path=_address("", return_path.strip()),
    )


def _blocks(content: bytes, part: Part) -> list[Header]:
    """The groups of fields between empty lines."""
    found = []
    for block in _front(content, part, MAX_STATUS_BYTES).split(b"\r\n\r\n", MAX_BLOCKS):
        try:
            header = parse_header(block.strip(b"\r\n") + b"\r\n")
        except HeaderTooLarge:
            continue
        if header.fields:
            found.append(header)
    return found[:MAX_BLOCKS]


def _original_header(content: bytes, root: Part) -> Header:
    """Of the message that is returned, whole or its header alone; empty without one."""
    for part in root.parts[2:]:
        if part.content_type in _RETURNED:
            try:
                return parse_header(_front(content, part, MAX_HEADER_BYTES))
            except HeaderTooLarge:
                break
    return Header((), 0)


def _front(content: bytes, part: Part, limit: int) -> bytes:
    """Of the decoded body up to ``limit`` bytes, its lines ended by CRLF."""
    data = content[part.body_at : min(part.end, part.body_at + 3 * limit)]
    data = decoded_bytes(data, part.encoding)[:limit]
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _typed(header: Header, name: str) -> tuple[str, str]:
    """The type in lower case, and the value, of a field that has both; type empty without."""
    type_, semicolon, value = (header.first(name) or "").partition(";")
    return (type_.strip().lower(), value.strip()) if semicolon else ("", type_.strip())


def _first_word(text: str | None) -> str:
    match = _WORD.match(text or "")
    return match.group() if match else ""


def _address(type_: str, text: str) -> Address | None:
    if type_ == "utf-8":  # RFC 6533 section 3
        text = _CODE_POINT.sub(_character, text)
    try:
        return Address.parse(text.removeprefix("<").removesuffix(">"))
    except MalformedAddress:
        return None


def _character(match: re.Match[str]) -> str:
    code = int(match.group(1), 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else match.group()


_RETURNED = {
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "message/global-headers",
}
_WORD = re.compile(r"[^\s(;]+")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")
# Of a reply in several lines the first is like the last, but for a hyphen.
_REPLY = re.compile(r"([2-5][0-9]{2})(?:[ -]#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])|[\s-]|$)")
_CODE_POINT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
