"""What is typed into the viewer's search field.

``from:``, ``to:`` and ``subject:`` look in one place, ``is:unread`` and ``is:flagged`` at flags;
other words are looked for in the subject.  What has blanks is written in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from mailrelay.mailbox.access import MailboxQuery

MOST_CHARACTERS = 200
HELP = 'from:ann to:joe subject:"a bill" is:unread'

_WORD = re.compile(r'(?:(from|to|subject|is):)?(?:"([^"]*)"|(\S+))')

_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "unread": {"without_flag": "\\seen"},
    "read": {"flag": "\\seen"},
    "flagged": {"flag": "\\flagged"},
    "answered": {"flag": "\\answered"},
}
_FIELDS = {"from": "sender", "to": "recipient", "subject": "subject"}


def mailbox_query(text: str, wanted: MailboxQuery) -> MailboxQuery:
    """``wanted``, narrowed to what ``text`` asks for; what it repeats counts as said last."""
    words: list[str] = []
    for kind, quoted, plain in _WORD.findall(text[:MOST_CHARACTERS]):
        value = quoted or plain
        if kind == "is":
            wanted = evolve(wanted, **_FLAGS.get(value.lower(), {}))
        elif kind:
            named: dict[str, Any] = {_FIELDS[kind]: value}
            wanted = evolve(wanted, **named)
        elif value:
            words.append(value)
    return evolve(wanted, subject=" ".join(words)) if words else wanted
