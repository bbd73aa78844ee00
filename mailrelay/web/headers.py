"""Header fields: a request's as they came, and those that every response has."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen

STRICT_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every response that does not say otherwise: for what is not a page."""

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data:",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Referrer-Policy": "same-origin",
}
"""Of the webapi and its pages, as mox has them."""

# RFC 9110 section 5.6.2.
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# RFC 9110 section 5.5: no control characters but the tabulator.
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


@frozen
class Headers:
    """Names in lower case, values without white space around them, in the order they came."""

    fields: Sequence[tuple[str, str]] = ()
    _by_name: dict[str, list[str]] = field(factory=dict, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, value in self.fields:
            self._by_name.setdefault(name, []).append(value)

    def get(self, name: str) -> str | None:
        """The field's value; of several, joined by commas as RFC 9110 section 5.3 has it."""
        values = self._by_name.get(name)
        return ", ".join(values) if values else None

    def all(self, name: str) -> Sequence[str]:
        """The values of every field of that name, which is in lower case."""
        return self._by_name.get(name, ())

    def tokens(self, name: str) -> Sequence[str]:
        """The elements of a comma-separated list, in lower case."""
        return [
            part.strip(" \t").lower()
            for value in self.all(name)
            for part in value.split(",")
            if part.strip(" \t")
        ]


def parse_field(line: bytes) -> tuple[str, str] | None:
    """The name, in lower case, and value of a header line; None when it is not one.

    RFC 9112 section 5.1: no white space before the colon; section 5.2: no folding.
    """
    name, colon, value = line.partition(b":")
    if not colon or not TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        return None
    return name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")


def field_lines(fields: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """``fields`` as lines of a response.

    Raises: ValueError for what could be taken for another field, or for no field.
    """
    for name, value in fields:
        raw_name, raw_value = name.encode("ascii"), value.encode("ascii")
        if not TOKEN.fullmatch(raw_name) or not _VALUE.fullmatch(raw_value):
            raise ValueError(f"not a header field: {name!r}")
        yield b"%s: %s\r\n" % (raw_name, raw_value)


def basic_credentials(headers: Headers) -> tuple[str, str] | None:
    """User name and password of Basic authentication (RFC 7617); None when there are none."""
    values = headers.all("authorization")
    if len(values) != 1:
        return None
    scheme, _, encoded = values[0].partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None
