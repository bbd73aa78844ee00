"""The fields that many operations have: ids, positions, lines of text, pages."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from mailrelay.acceptance.wishes import LONGEST_TAG, MOST_TAGS, TAG_PATTERN

LARGEST_ID = 2**53 - 1
"""What every JSON client can hold."""

Id: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_ID)]
Position: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
Bytes: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
Text: TypeAlias = Annotated[str, Meta(max_length=2000)]
Line: TypeAlias = Annotated[str, Meta(max_length=1000)]
Word: TypeAlias = Annotated[str, Meta(max_length=40)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=100)]
Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LONGEST_TAG, pattern=TAG_PATTERN)]
Tags: TypeAlias = Annotated[list[Tag], Meta(max_length=MOST_TAGS)]
EntryEvent: TypeAlias = Literal[
    "delivered",
    "suppressed",
    "delayed",
    "failed",
    "relayed",
    "expanded",
    "canceled",
    "unrecognized",
    "complained",
    "unsubscribed",
]
Event: TypeAlias = Literal[EntryEvent, "incoming"]
TemplateName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.:/@+-]*(?!\n)$")
]
TemplateVersion: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
