"""What an application asks for beside delivery: tags, priority, its own data.

By the API it is in the JSON; in a submission, in header fields, which stay in the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import evolve, field, frozen

from mailrelay.acceptance.extra import TWICE, TwiceTheSame, extra_in
from mailrelay.message.header import Header
from mailrelay.smtp.reply import Reply, reply

TAG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 _.:/@+-]*(?!\n)$"
MOST_TAGS = 20
LONGEST_TAG = 100

TAGS_FIELD, PRIORITY_FIELD = "x-mailrelay-tags", "x-mailrelay-priority"
BAD_TAGS = reply(
    554,
    "5.6.0",
    "X-Mailrelay-Tags has up to 20 different tags with commas between them, each of up to 100"
    " letters, digits and _.:/@+- or spaces within",
)
BAD_PRIORITY = reply(554, "5.6.0", "X-Mailrelay-Priority is high or normal, and there once")

_TAG = re.compile(TAG_PATTERN)


@frozen
class Wishes:
    """What is asked for a message.  ``extra`` is told again with each of its events."""

    extra: Mapping[str, str] = field(factory=dict)
    tags: tuple[str, ...] = ()
    is_urgent: bool = False


class NotUnderstood(Exception):
    """A field says nothing that could be done; ``reply`` says which."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def wishes_in(header: Header, given: Wishes) -> Wishes:
    """``given``, with what the fields say added or in its place.  Raises: NotUnderstood."""
    try:
        extra = extra_in(header)
    except TwiceTheSame:
        raise NotUnderstood(TWICE) from None
    if extra:
        given = evolve(given, extra={**given.extra, **extra})
    if header.count(TAGS_FIELD):
        given = evolve(given, tags=_tags_in(header, given.tags))
    if header.count(PRIORITY_FIELD):
        given = evolve(given, is_urgent=_is_urgent(header))
    return given


def _tags_in(header: Header, given: tuple[str, ...]) -> tuple[str, ...]:
    listed = ",".join(header.all(TAGS_FIELD)).split(",")
    tags = [*given, *(tag.strip(" \t") for tag in listed)]
    if len(tags) > MOST_TAGS or len(set(tags)) < len(tags):
        raise NotUnderstood(BAD_TAGS)
    if not all(_TAG.fullmatch(tag) and len(tag) <= LONGEST_TAG for tag in tags):
        raise NotUnderstood(BAD_TAGS)
    return tuple(tags)


def _is_urgent(header: Header) -> bool:
    said = (header.first(PRIORITY_FIELD) or "").lower()
    if header.count(PRIORITY_FIELD) > 1 or said not in ("high", "normal"):
        raise NotUnderstood(BAD_PRIORITY)
    return said == "high"
