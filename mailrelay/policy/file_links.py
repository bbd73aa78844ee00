"""Signed links to received messages and their parts: whoever has one needs no login."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.policy.links import Links

PURPOSE = "file"
PATH = "/api/v1/files/"

OF_THE_QUEUE = 0
"""In place of an account: the message waits in the queue, and ``id`` is its entry's."""

_RAW = "raw"


class MalformedPath(ValueError):
    """The text is no path of a part."""


@frozen
class File:
    """A message in an account's mailbox; with ``part`` one of its parts, else all of it."""

    account_id: int
    id: int
    part: Sequence[int] | None = None


@frozen
class FileLinks:
    """Makes the links and reads them.  ``base`` is where they begin, and may be empty: a path."""

    links: Links
    base: str
    valid_for: float  # seconds

    def url(self, file: File, now: float) -> str:
        """A link to ``file`` that holds from ``now`` on for its time."""
        what = _RAW if file.part is None else path_text(file.part)
        fields = (str(file.account_id), str(file.id), what)
        return f"{self.base}{PATH}{self.links.token(fields, now + self.valid_for)}"

    def read(self, token: str, now: float) -> File | None:
        """What a link leads to; None for one that is not ours, or that is over."""
        fields = self.links.read(token, now)
        if fields is None:
            return None
        account_id, id_, what = fields
        return File(int(account_id), int(id_), None if what == _RAW else path_of(what))


def path_text(path: Sequence[int]) -> str:
    """The path of a part as it is written: ``0.1``, empty for the message itself."""
    return ".".join(str(index) for index in path)


def path_of(text: str) -> Sequence[int]:
    """The path that ``text`` says.  Raises: MalformedPath."""
    indexes = text.split(".") if text else []
    if any(not (one.isascii() and one.isdigit() and len(one) <= 4) for one in indexes):
        raise MalformedPath(f"{text[:100]!r} is not as 0.1")
    return [int(one) for one in indexes]
