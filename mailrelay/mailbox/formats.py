"""mbox (RFC 4155, "mboxrd" quoting) and Maildir as export formats."""

from __future__ import annotations

import re
import time

from mailrelay.mailbox.model import MailboxMessage

_FROM_LINE = re.compile(rb"^(>*From )", re.MULTILINE)
_QUOTED_FROM_LINE = re.compile(rb"^>(>*From )", re.MULTILINE)
_MARKS = {"\\draft": "D", "\\flagged": "F", "\\answered": "R", "\\seen": "S", "\\deleted": "T"}


def mbox_entry(message: MailboxMessage, content: bytes) -> bytes:
    """One message of an mbox file: LF lines, ``From `` lines quoted, an empty line behind."""
    sender = message.reverse_path or "MAILER-DAEMON"
    date = time.asctime(time.gmtime(message.received_at))
    body = _FROM_LINE.sub(rb">\1", content.replace(b"\r\n", b"\n"))
    if not body.endswith(b"\n"):
        body += b"\n"
    return f"From {sender} {date}\n".encode() + body + b"\n"


def unquoted(content: bytes) -> bytes:
    """A message of an mbox file as it was before its ``From `` lines were quoted."""
    return _QUOTED_FROM_LINE.sub(rb"\1", content)


def maildir_name(message: MailboxMessage) -> str:
    """A unique file name in ``cur``, with the flags that Maildir knows, in their order."""
    marks = "".join(mark for flag, mark in _MARKS.items() if flag in message.flags)
    return f"{int(message.received_at)}.M{message.id}.mailrelay:2,{marks}"
