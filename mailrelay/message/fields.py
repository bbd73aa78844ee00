"""What a message's header says of it: who, what, when, in answer to what."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from attrs import frozen

from mailrelay.message.header import Header
from mailrelay.message.mailboxes import NamedAddress, mailboxes_in
from mailrelay.message.words import shown_text


@frozen
class Fields:
    """The fields that people and programs look at; empty or None where there is none.

    Ids have their angle brackets.  What is no address, id or date is left out.
    """

    from_: tuple[NamedAddress, ...]
    to: tuple[NamedAddress, ...]
    cc: tuple[NamedAddress, ...]
    bcc: tuple[NamedAddress, ...]
    reply_to: tuple[NamedAddress, ...]
    subject: str
    message_id: str
    in_reply_to: str
    references: tuple[str, ...]
    date: datetime | None

    @property
    def thread(self) -> tuple[str, ...]:
        """``references``, and before them ``in_reply_to`` if it is not among them."""
        if not self.in_reply_to or self.in_reply_to in self.references:
            return self.references
        return (self.in_reply_to, *self.references)


def read_fields(header: Header) -> Fields:
    """What ``header`` says.  Never raises."""
    return Fields(
        from_=_mailboxes(header, "from"),
        to=_mailboxes(header, "to"),
        cc=_mailboxes(header, "cc"),
        bcc=_mailboxes(header, "bcc"),
        reply_to=_mailboxes(header, "reply-to"),
        subject=shown_text(header.first("subject") or ""),
        message_id=_id(header.first("message-id")),
        in_reply_to=_id(header.first("in-reply-to")),
        references=tuple(id_ for text in header.all("references") for id_ in _IDS.findall(text)),
        date=read_date(header.first("date")),
    )


def _mailboxes(header: Header, name: str) -> tuple[NamedAddress, ...]:
    return tuple(found for text in header.all(name) for found in mailboxes_in(text))


def _id(text: str | None) -> str:
    match = _IDS.search(text or "")
    return match.group() if match else ""


def read_date(text: str | None) -> datetime | None:
    """The time that a Date field tells, with its offset: UTC where it tells none."""
    if not text or len(text) > MAX_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        date.astimezone(UTC)  # there may be no such year
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date


def is_automated(header: Header, content_type: str, *, reverse_path_is_null: bool) -> bool:
    """Whether no person wrote this to one of us, as webhooks tell it.

    Wider than ``Header.is_automatic``, by which it is decided what may be answered.
    """
    submitted = (header.first("auto-submitted") or "no").partition(";")[0]
    return (
        reverse_path_is_null
        or content_type == "multipart/report"
        or any(header.first(name) for name in _AUTOMATED)
        or submitted.partition("(")[0].strip().lower() != "no"
    )


MAX_DATE = 200
_AUTOMATED = ("list-id", "list-unsubscribe", "list-unsubscribe-post", "precedence")
_IDS = re.compile(r"<[^<>\s]+>")
