"""Mail that brings a report: RFC 7489 section 7.2.1.1, RFC 8460 sections 3 and 5.3."""

from __future__ import annotations

import gzip
from base64 import encodebytes
from collections.abc import Sequence

from attrs import frozen

from mailrelay.message.trace import date_field
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import DMARC_REPORT, TLS_REPORT, Content, Entry, Message, NewMessage
from mailrelay.reporting.dmarc_write import written_dmarc
from mailrelay.reporting.model import DMARCReport, TLSReport
from mailrelay.reporting.tls_write import written_tls
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify

_DMARC_TEXT = "This is a report of mail in the name of {domain} that {submitter} received."
_TLS_TEXT = "This is a report of TLS between {submitter} and the mail hosts of {domain}."


@frozen
class Identity:
    """Whose reports they are.  ``domain`` is a host name; the texts are of one line."""

    domain: str
    organization: str
    contact: str = ""

    @property
    def dmarc_from(self) -> Address:
        """Where reports of mail are from, and what comes back of them goes."""
        return Address("dmarc-reports", self.domain)

    @property
    def tls_from(self) -> Address:
        """Where reports about TLS are from."""
        return Address("tls-reports", self.domain)


@frozen
class Sheet:
    """A report ready to be sent; ``data`` is gzip."""

    report_id: str
    domain: str
    began_at: float
    ended_at: float
    data: bytes
    is_tls: bool

    @classmethod
    def of(cls, report: DMARCReport | TLSReport) -> Sheet:
        """``report``, written and compressed.  Called off the reactor thread."""
        is_tls = isinstance(report, TLSReport)
        written = written_tls(report) if isinstance(report, TLSReport) else written_dmarc(report)
        data = gzip.compress(written, mtime=0)
        return cls(report.report_id, report.domain, report.began_at, report.ended_at, data, is_tls)

    @property
    def media_type(self) -> str:
        """Of the data."""
        return "application/tlsrpt+gzip" if self.is_tls else "application/gzip"

    def filename(self, identity: Identity, unique: int) -> str:
        """RFC 7489 section 7.2.1.1, RFC 8460 section 5.1."""
        span = f"{int(self.began_at)}!{int(self.ended_at)}"
        kind = "json" if self.is_tls else "xml"
        return f"{identity.domain}!{self.domain}!{span}!{unique}.{kind}.gz"


def report_letter(
    sheet: Sheet,
    identity: Identity,
    recipients: Sequence[Address],
    ids: Sequence[int],
    now: float,
    boundary: str,
) -> NewMessage:
    """One message for all ``recipients``; ``ids`` are the message's and each entry's.

    Nobody is told when it fails: a report about a report would not end.
    """
    id_, *entry_ids = ids
    sender = identity.tls_from if sheet.is_tls else identity.dmarc_from
    message_id = f"<{id_}.report.{int(now)}@{identity.domain}>"
    subject = (
        f"Report Domain: {sheet.domain} Submitter: {identity.domain} Report-ID: <{sheet.report_id}>"
    )
    header = [
        f"From: <{sender}>",
        "To: " + ",\r\n ".join(f"<{one}>" for one in recipients),
        "Subject: " + subject.replace(" Submitter:", "\r\n Submitter:").replace(" Rep", "\r\n Rep"),
        f"Date: {date_field(now)}",
        f"Message-ID: {message_id}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
    ]
    if sheet.is_tls:
        header += [
            f"TLS-Report-Domain: {sheet.domain}",
            f"TLS-Report-Submitter: {identity.domain}",
            "TLS-Required: No",  # RFC 8689 section 5
            f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{boundary}"',
        ]
    else:
        header.append(f'Content-Type: multipart/mixed; boundary="{boundary}"')
    text = _TLS_TEXT if sheet.is_tls else _DMARC_TEXT
    name = sheet.filename(identity, id_)
    lines = [
        *header,
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        text.format(domain=sheet.domain, submitter=identity.domain),
        f"--{boundary}",
        f"Content-Type: {sheet.media_type}",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{name}"',
        "",
        encodebytes(sheet.data).decode("ascii").replace("\n", "\r\n") + f"--{boundary}--",
        "",
    ]
    body = "\r\n".join(lines).encode("ascii", "replace")
    door = TLS_REPORT if sheet.is_tls else DMARC_REPORT
    message = Message(
        id_,
        None,
        sender,
        now,
        len(body),
        door=door,
        message_id=message_id,
        subject=subject,
        is_automatic=True,
    )
    never = frozenset({Notify.NEVER})
    entries = [
        Entry(entry_id, message, to, now, now, notify=never)
        for entry_id, to in zip(entry_ids, recipients, strict=True)
    ]
    accepted = NewEvent(EventKind.ACCEPTED, now, id_, None, None, {"door": door})
    return NewMessage(message, Content(b"", body, None, len(body)), entries, [accepted])
