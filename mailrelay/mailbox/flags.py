"""Flags of messages, as IMAP and the webapi name them.  Kept in lower case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SYSTEM_FLAGS = (
    "$forwarded",
    "$junk",
    "$mdnsent",
    "$notjunk",
    "$phishing",
    "\\answered",
    "\\deleted",
    "\\draft",
    "\\flagged",
    "\\seen",
)
"""Those with a meaning, in the order in which they are listed; keywords follow them."""

_PLACES = {flag: place for place, flag in enumerate(SYSTEM_FLAGS)}
# RFC 9051 section 9: an atom, without what has a meaning in IMAP; a length that a column takes.
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|~]{1,100}")


class BadFlag(ValueError):
    """The text is no flag."""


def flag_of(text: str) -> str:
    """The flag that ``text`` names.  Raises: BadFlag."""
    flag = text.lower()
    if flag in _PLACES:
        return flag
    if not _KEYWORD.fullmatch(flag):
        raise BadFlag(f"{text[:100]!r} is no flag: a keyword has no spaces, brackets or backslash")
    return flag


def in_order(flags: Iterable[str]) -> Sequence[str]:
    """``flags`` once each, as they are listed."""
    return sorted(set(flags), key=lambda flag: (_PLACES.get(flag, len(_PLACES)), flag))


def moved_to(mailbox: str, flags: Iterable[str]) -> Sequence[str]:
    """``flags`` after a move: where a message is put says whether it is junk.

    The inbox, where everything comes, says nothing.
    """
    kept = [flag for flag in flags if flag not in ("$junk", "$notjunk")]
    name = mailbox.lower()
    if name.startswith(("junk", "spam")):
        return in_order([*kept, "$junk"])
    return in_order(kept if name.startswith("inbox") else [*kept, "$notjunk"])
