"""Lists of tags, as DKIM, its keys and ARC have them (RFC 6376 section 3.2).  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SPACE = " \t\r\n"


class MalformedTags(Exception):
    """The text is no list of tags."""


def parse_tags(text: str) -> Mapping[str, str]:
    """Values by name, without the space around them; folds inside stay.  Raises: MalformedTags."""
    tags: dict[str, str] = {}
    for piece in text.split(";"):
        name, equals, value = piece.partition("=")
        name = name.strip(_SPACE)
        if not name and not equals and not value.strip(_SPACE):
            continue  # after the last semicolon, or an empty one
        if not equals or not _NAME.fullmatch(name):
            raise MalformedTags(f"{name[:40]!r} is no tag")
        if name in tags:
            raise MalformedTags(f"{name}= is there twice")
        tags[name] = value.strip(_SPACE)
    return tags


def without_space(value: str) -> str:
    """A value of base64 or names, whose folds mean nothing."""
    return "".join(value.split())
