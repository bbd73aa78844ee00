"""What is typed into the viewer's search field.

``from:``, ``to:`` and ``subject:`` look in one place, ``text:`` in what messages say, ``is:`` at
flags, ``has:attachment`` at parts, ``before:`` and ``after:`` at the day that it came, ``larger:``
and ``smaller:`` at the size; other words are looked for in the subject.  What has blanks is written
in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, frozen

from mailrelay.mailbox.access import MailboxQuery
from mailrelay.mailbox.searching import ContentQuery

MOST_CHARACTERS = 200
HELP = "from:ann to:joe text:bill is:unread has:attachment after:2026-11-01 larger:1M"

_KINDS = "from|to|subject|text|is|has|before|after|larger|smaller"
_WORD = re.compile(rf'(?:({_KINDS}):)?(?:"([^"]*)"|(\S+))')

_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "unread": {"without_flag": "\\seen"},
    "read": {"flag": "\\seen"},
    "flagged": {"flag": "\\flagged"},
    "answered": {"flag": "\\answered"},
    "forwarded": {"flag": "$forwarded"},
    "junk": {"flag": "$junk"},
}
_FIELDS = {"from": "sender", "to": "recipient", "subject": "subject"}
_TIMES = {"before": "until", "after": "since"}
_SIZES = {"larger": "larger_than", "smaller": "smaller_than"}
_UNITS = {"": 1, "k": 1000, "m": 1000_000, "g": 1000_000_000}


@frozen
class Search:
    """What is looked for: by what is listed of messages, and by what they say.

    ``problem`` tells of what was typed that means nothing.
    """

    wanted: MailboxQuery
    within: ContentQuery = ContentQuery()
    problem: str = ""


def read_search(text: str, wanted: MailboxQuery) -> Search:
    """``wanted``, narrowed to what ``text`` asks for; what it repeats counts as said last."""
    words: list[str] = []
    found = Search(wanted)
    for kind, quoted, plain in _WORD.findall(text[:MOST_CHARACTERS]):
        value = quoted or plain
        if kind and value:
            found = _narrowed(found, kind, value)
        elif value:
            words.append(value)
    if words:
        found = evolve(found, wanted=evolve(found.wanted, subject=" ".join(words)))
    return found


def _narrowed(found: Search, kind: str, value: str) -> Search:
    if kind == "text":
        return evolve(found, within=evolve(found.within, text=value))
    if kind == "has" and value.lower() in ("attachment", "attachments"):
        return evolve(found, within=evolve(found.within, has_attachment=True))
    named = _named(kind, value)
    if named is None:
        problem = f"“{kind}:{value}” means nothing: it is left out. For example: {HELP}"
        return evolve(found, problem=problem)
    return evolve(found, wanted=evolve(found.wanted, **named))


def _named(kind: str, value: str) -> Mapping[str, Any] | None:
    if kind in _FIELDS:
        return {_FIELDS[kind]: value}
    if kind in _TIMES:
        at = _day(value)
        return None if at is None else {_TIMES[kind]: at}
    if kind in _SIZES:
        size = _SIZE.fullmatch(value.lower())
        return None if size is None else {_SIZES[kind]: int(size[1]) * _UNITS[size[2]]}
    return _FLAGS.get(value.lower()) if kind == "is" else None


def _day(text: str) -> float | None:
    """The begin of a day in UTC, as 2026-11-22."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


_SIZE = re.compile(r"([0-9]{1,9})(k|m|g|)b?")
