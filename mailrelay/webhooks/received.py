"""A received message, as our own API and the calls of signed endpoints tell it.  Pure.

Large messages are read off the reactor thread.  Nothing raises, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from attrs import frozen
from msgspec import Meta, Struct, field

from mailrelay.message.fields import is_automated, read_fields
from mailrelay.message.header import MAX_HEADER_BYTES, MAX_HEADER_LINES, unfolded
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.structure import (
    MAX_PARTS,
    MAX_TEXT_BYTES,
    Part,
    front_of_text,
    read_structure,
    text_parts,
    walk,
)
from mailrelay.message.verdict import Verdict
from mailrelay.message.words import shown_text
from mailrelay.policy.file_links import File, FileLinks, path_text
from mailrelay.webhooks.reading import read_header

LARGEST = 2**53 - 1

Id: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST)]
Size: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST)]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]
Line: TypeAlias = Annotated[str, Meta(max_length=1000)]
InHeader: TypeAlias = Annotated[str, Meta(max_length=MAX_HEADER_BYTES)]
Body: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT_BYTES)]
PartPath: TypeAlias = Annotated[
    str, Meta(max_length=500, pattern=r"^([0-9]{1,4}(\.[0-9]{1,4})*)?(?!\n)$")
]
Flags: TypeAlias = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=10_000)]


class _Told(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing but the fields that are named."""


class MailAddress(_Told, frozen=True):
    """An address, and the name that is shown with it, which may be empty."""

    address: InHeader
    name: InHeader


class MailHeader(_Told, frozen=True):
    """A field of the header: its name in lower case, its value decoded and on one line."""

    name: InHeader
    value: InHeader


class MailEnvelope(_Told, frozen=True):
    """What MAIL and RCPT said; ``sender`` is empty for a bounce, both for a copy or an import."""

    sender: Line
    recipient: Line


class MailVerdict(_Told, frozen=True):
    """Who the message is from, as it was judged when it came; words of RFC 8601.

    ``dkim_domains`` signed it, and their signatures are right.  ``junk`` says why it is in Junk, if
    it is.
    """

    spf: Line
    dmarc: Line
    arc: Line
    is_mail_from_valid: bool
    is_from_valid: bool
    dkim_domains: Annotated[list[Line], Meta(max_length=100)]
    junk: Line
    reasons: Annotated[list[Line], Meta(max_length=100)]


class MailPart(_Told, frozen=True):
    """A MIME part.  ``path`` is empty for the message itself; ``size_bytes`` is decoded."""

    path: PartPath
    content_type: InHeader
    charset: InHeader
    disposition: InHeader
    filename: InHeader
    content_id: InHeader
    size_bytes: Size


class MailAttachment(_Told, frozen=True):
    """A part that is neither the text nor the HTML.  Its ``url`` needs no login, and ends."""

    path: PartPath
    filename: InHeader
    content_type: InHeader
    content_id: InHeader
    size_bytes: Size
    url: InHeader


_People: TypeAlias = Annotated[list[MailAddress], Meta(max_length=MAX_HEADER_BYTES)]


class ReceivedMail(_Told, frozen=True):
    """A message in a mailbox.

    ``verdict`` is null of what was not judged.  ``is_truncated`` when text, HTML or what is
    attached is more than is told here.  Ids have angle brackets but content ids, which are as in
    ``cid:`` links.
    """

    id: Id
    mailbox: Line
    flags: Flags
    received_at: Time
    size_bytes: Size
    envelope: MailEnvelope
    remote_ip: Line
    verdict: MailVerdict | None
    is_automated: bool
    is_truncated: bool
    from_: _People = field(name="from")
    to: _People
    cc: _People
    reply_to: _People
    subject: InHeader
    date: Time | None
    message_id: InHeader
    in_reply_to: InHeader
    references: Annotated[list[InHeader], Meta(max_length=MAX_HEADER_BYTES)]
    text: Body
    html: Body
    headers: Annotated[list[MailHeader], Meta(max_length=MAX_HEADER_LINES)]
    structure: Annotated[list[MailPart], Meta(max_length=MAX_PARTS + 1)]
    attachments: Annotated[list[MailAttachment], Meta(max_length=MAX_PARTS + 1)]
    raw_url: InHeader


@frozen
class Kept:
    """A message as it stands in an account's mailbox; ``received_at`` since the epoch."""

    id: int
    account_id: int
    mailbox: str
    flags: Sequence[str]
    received_at: float
    size_bytes: int
    sender: str
    recipient: str
    remote_ip: str | None
    verdict: Verdict | None = None


def received_mail(
    content: bytes, kept: Kept, links: FileLinks, now: float, most_text_bytes: int = MAX_TEXT_BYTES
) -> ReceivedMail:
    """What ``content``, the whole message or its front, says; links hold from ``now`` on."""
    header, root = read_header(content), read_structure(content)
    fields, shown = read_fields(header), text_parts(root)
    parts = list(walk(root))
    is_bounce = not kept.sender and bool(kept.recipient)
    text, text_is_cut = front_of_text(content, shown[0], most_text_bytes)
    html, html_is_cut = front_of_text(content, shown[1], most_text_bytes)
    return ReceivedMail(
        id=kept.id,
        mailbox=kept.mailbox,
        flags=list(kept.flags),
        received_at=datetime.fromtimestamp(kept.received_at, UTC),
        size_bytes=kept.size_bytes,
        envelope=MailEnvelope(sender=kept.sender, recipient=kept.recipient),
        remote_ip=kept.remote_ip or "",
        verdict=_verdict(kept.verdict) if kept.verdict is not None else None,
        is_automated=is_automated(header, root.content_type, reverse_path_is_null=is_bounce),
        is_truncated=text_is_cut or html_is_cut or len(content) < kept.size_bytes,
        from_=_people(fields.from_),
        to=_people(fields.to),
        cc=_people(fields.cc),
        reply_to=_people(fields.reply_to),
        subject=fields.subject,
        date=fields.date,
        message_id=fields.message_id,
        in_reply_to=fields.in_reply_to,
        references=list(fields.references),
        text=text,
        html=html,
        headers=[
            MailHeader(name=name, value=shown_text(unfolded(body))) for name, body in header.fields
        ],
        structure=[_part(path, part) for path, part in parts],
        attachments=[
            _attachment(path, part, links.url(File(kept.account_id, kept.id, path), now))
            for path, part in parts
            if not part.parts and not any(part is one for one in shown)
        ],
        raw_url=links.url(File(kept.account_id, kept.id), now),
    )


def _verdict(verdict: Verdict) -> MailVerdict:
    return MailVerdict(
        spf=verdict.spf,
        dmarc=verdict.dmarc,
        arc=verdict.arc,
        is_mail_from_valid=verdict.is_mail_from_valid,
        is_from_valid=verdict.is_from_valid,
        dkim_domains=list(verdict.dkim_domains),
        junk=verdict.junk,
        reasons=list(verdict.reasons),
    )


def _people(found: Iterable[NamedAddress]) -> list[MailAddress]:
    return [MailAddress(address=str(one.address), name=one.name) for one in found]


def _part(path: Sequence[int], part: Part) -> MailPart:
    return MailPart(
        path=path_text(path),
        content_type=_content_type(part),
        charset=part.params.get("charset", ""),
        disposition=part.disposition,
        filename=part.filename,
        content_id=part.content_id.strip("<>"),
        size_bytes=part.decoded_size,
    )


def _attachment(path: Sequence[int], part: Part, url: str) -> MailAttachment:
    return MailAttachment(
        path=path_text(path),
        filename=part.filename,
        content_type=_content_type(part),
        content_id=part.content_id.strip("<>"),
        size_bytes=part.decoded_size,
        url=url,
    )


def _content_type(part: Part) -> str:
    """RFC 2045 section 5.2: what says nothing of itself is plain text."""
    return "text/plain" if part.is_text else part.content_type
