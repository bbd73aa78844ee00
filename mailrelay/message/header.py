"""The header section of a message (RFC 5322 section 2.2), read without touching the bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import field, frozen

from mailrelay.message.mailboxes import mailboxes_in
from mailrelay.smtp.address import Address

MAX_HEADER_BYTES = 256 * 1024
MAX_HEADER_LINES = 1000


class HeaderTooLarge(Exception):
    """The header section is over MAX_HEADER_BYTES or MAX_HEADER_LINES."""


@frozen
class Header:
    """The fields in order: lower-case name, raw body with its folds but without the last CRLF."""

    fields: tuple[tuple[str, bytes], ...]
    size_bytes: int
    _by_name: dict[str, list[bytes]] = field(factory=dict, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, body in self.fields:
            self._by_name.setdefault(name, []).append(body)

    def first(self, name: str) -> str | None:
        """The unfolded body of the first field called ``name`` (lower case), None if absent."""
        bodies = self._by_name.get(name)
        return unfolded(bodies[0]) if bodies else None

    def all(self, name: str) -> Iterator[str]:
        """The unfolded bodies of all fields called ``name``."""
        return map(unfolded, self._by_name.get(name, ()))

    def without_first(self, name: str) -> Header:
        """The same without the first field called ``name``."""
        at = next((n for n, (other, _) in enumerate(self.fields) if other == name), None)
        if at is None:
            return self
        return Header((*self.fields[:at], *self.fields[at + 1 :]), self.size_bytes)

    def count(self, name: str) -> int:
        """How many fields are called ``name``."""
        return len(self._by_name.get(name, ()))

    @property
    def is_automatic(self) -> bool:
        """Whether nobody waits for an answer: RFC 3834 section 2, and lists."""
        submitted = (self.first("auto-submitted") or "no").split(";")[0].strip().lower()
        precedence = (self.first("precedence") or "").strip().lower()
        return (
            submitted != "no"
            or precedence in ("bulk", "list", "junk")
            or not _LIST_FIELDS.isdisjoint(self._by_name)
        )

    @property
    def is_report(self) -> bool:
        """Whether it is of a multipart/report (RFC 6522), as far as it says."""
        return (self.first("content-type") or "").strip().lower().startswith("multipart/report")


def header_end(content: bytes) -> int:
    """Where the body starts in ``content``: after the empty line, or its length without one."""
    if content.startswith(b"\r\n"):
        return 2
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end + 4


def parse_header(content: bytes) -> Header:
    """The header section at the front of ``content``.

    What is not a field ends the section: the rest is body, as mail programs read it.

    Raises: HeaderTooLarge.
    """
    end = header_end(content)
    if end > MAX_HEADER_BYTES:
        raise HeaderTooLarge("header section is larger than 256 KiB")
    fields: list[tuple[str, bytes]] = []
    lines = content[:end].split(b"\r\n")
    if len(lines) > MAX_HEADER_LINES:
        raise HeaderTooLarge("header section has more than 1000 lines")
    size = 0
    for line in lines:
        if line[:1] in (b" ", b"\t") and fields:
            name, body = fields[-1]
            fields[-1] = (name, body + b"\r\n" + line)
        else:
            raw_name, colon, body = line.partition(b":")
            if not colon or not _FIELD_NAME.fullmatch(raw_name):
                break
            fields.append((raw_name.rstrip(b" \t").lower().decode("ascii"), body))
        size += len(line) + 2
    return Header(tuple(fields), min(size, len(content)))


def unfolded(body: bytes) -> str:
    """A field's body on one line; bytes beyond UTF-8 are replaced."""
    return body.replace(b"\r\n", b"").decode("utf-8", "replace").strip()


def addresses_in(text: str) -> list[Address]:
    """The addresses of an address-list field; what is none is left out."""
    return [mailbox.address for mailbox in mailboxes_in(text)]


_FIELD_NAME = re.compile(rb"[!-9;-~]+[ \t]*")
_LIST_FIELDS = frozenset({"list-id", "list-unsubscribe", "list-post"})
