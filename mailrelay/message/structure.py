"""The MIME structure of a message (RFC 2045 and 2046), read from bytes that anybody wrote.

- Nothing raises, whatever the bytes: what cannot be understood is a leaf.
- Time is linear in the content's size: each byte is looked at once for all open multiparts.
- A multipart deeper than MAX_DEPTH is a leaf, as is a part whose header is too large.  After
  MAX_PARTS parts, or MAX_DASHED lines that look like delimiters, the rest is one leaf.
- A message in a message is a leaf: its decoded content can be read as a message of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field, frozen

from mailrelay.message.charsets import text_of
from mailrelay.message.encodings import decoded_bytes, decoded_size, encoding_of
from mailrelay.message.header import MAX_HEADER_BYTES, Header, HeaderTooLarge, parse_header
from mailrelay.message.parameters import Parameters, parse_parameters

MAX_DEPTH = 100
MAX_PARTS = 1000
MAX_DASHED = 500_000
"""Each costs more than the few bytes that it takes cost elsewhere."""

MAX_TEXT_BYTES = 1024 * 1024
"""Of the text and of the HTML of a message, in UTF-8, no more is given."""

OPAQUE = "application/octet-stream"


class NoSuchPart(Exception):
    """A path leads to no part."""


@frozen
class Part:
    """A part of a message, the message itself first.

    ``content_type`` and ``disposition`` are in lower case; the former is "/" in a part without.
    ``content_id`` has its angle brackets.  ``encoding`` is what ``decoded`` undoes.  The part is
    ``content[header_at:end]`` and its body ``content[body_at:end]``.  ``decoded_size`` is 0 for
    what has parts.
    """

    content_type: str
    params: Mapping[str, str]
    content_id: str
    disposition: str
    filename: str
    encoding: str
    decoded_size: int
    parts: tuple[Part, ...]
    header_at: int
    body_at: int
    end: int

    @property
    def is_text(self) -> bool:
        """Whether it is plain text, as all is that says nothing of itself."""
        return self.content_type in ("text/plain", "/")


def part_at(part: Part, path: Sequence[int]) -> Part:
    """The part that ``path`` leads to from ``part``; ``part`` itself if it is empty.

    Raises: NoSuchPart.
    """
    for index in path:
        if not 0 <= index < len(part.parts):
            raise NoSuchPart(f"there is no part {index} of {len(part.parts)}")
        part = part.parts[index]
    return part


def decoded(content: bytes, part: Part) -> bytes:
    """The body of ``part``, its transfer encoding undone."""
    return decoded_bytes(content[part.body_at : part.end], part.encoding)


def decoded_text(content: bytes, part: Part) -> str:
    """That body as text, its lines ended by LF."""
    data = decoded(content, part)
    return text_of(data, part.params.get("charset", "")).replace("\r\n", "\n")


def front_of_text(
    content: bytes, part: Part | None, most_bytes: int = MAX_TEXT_BYTES
) -> tuple[str, bool]:
    """``decoded_text`` up to ``most_bytes`` of UTF-8, and whether that is not all of it.

    No encoding and charset of use have 16 bytes for one of UTF-8: what is beyond is not decoded.
    """
    if part is None:
        return "", False
    end = min(part.end, part.body_at + 16 * most_bytes)
    data = decoded_bytes(content[part.body_at : end], part.encoding)
    text = text_of(data, part.params.get("charset", "")).replace("\r\n", "\n")
    encoded = text.encode()
    is_cut = end < part.end or len(encoded) > most_bytes
    return encoded[:most_bytes].decode("utf-8", "ignore"), is_cut


def text_and_html(content: bytes, part: Part) -> tuple[str, str]:
    """What people are to read, as plain text and as HTML, each empty without."""
    text, html = text_parts(part)
    return front_of_text(content, text)[0], front_of_text(content, html)[0]


def walk(part: Part, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Part]]:
    """``part`` and all parts in it, in order, with the paths that lead to them."""
    yield path, part
    for index, child in enumerate(part.parts):
        yield from walk(child, (*path, index))


def text_parts(part: Part) -> tuple[Part | None, Part | None]:
    """The parts that are the message's text and its HTML.

    In a multipart the parts themselves come first: of an alternative all, else up to the first
    that is either; then what is in them, in order.  Attachments are nobody's text, nor are the
    resources of a related.  Recursion goes no deeper than MAX_DEPTH, as ``read_structure`` does.
    """
    if not part.parts:
        return _texts_among([part], up_to_first=True)
    parts = part.parts
    if part.content_type == "multipart/related":
        # RFC 2387 section 3.2: the root is the first if no other is named.
        start = part.params.get("start", "")
        parts = next(((p,) for p in parts if start and p.content_id == start), parts[:1])
    found = _texts_among(parts, up_to_first=part.content_type != "multipart/alternative")
    if found != (None, None):
        return found
    for child in parts:
        if child.parts:
            found = text_parts(child)
            if found != (None, None):
                return found
    return None, None


def shown_parts(part: Part) -> tuple[Part | None, Part | None]:
    """As ``text_parts``, but HTML beside the text is found in a part's parts, too.

    So an alternative of text and of a related, as many programs write it, has both.
    """
    text, html = text_parts(part)
    within = (child for _, child in walk(part) if child.parts)
    return text, html or next(filter(None, (text_parts(child)[1] for child in within)), None)


def _texts_among(parts: Sequence[Part], *, up_to_first: bool) -> tuple[Part | None, Part | None]:
    text: Part | None = None
    html: Part | None = None
    for part in parts:
        if part.disposition == "attachment":
            continue
        if part.is_text:
            text = text or part
        elif part.content_type == "text/html":
            html = html or part
        if up_to_first and (text or html):
            break
    return text, html


def read_structure(content: bytes) -> Part:
    """The structure of the message that is ``content``."""
    return _Reader(content).read()


@define
class _Open:
    """A part whose end was not seen yet.  ``boundary`` is empty for a leaf."""

    header: Header
    header_at: int
    body_at: int
    type: Parameters
    encoding: str
    boundary: bytes = b""
    parts: list[Part] = field(factory=list)


@frozen
class _Delimiter:
    """A delimiter line from the CRLF before it; ``depth`` is that of its multipart."""

    at: int
    after: int
    depth: int
    closes: bool


@define
class _Reader:
    """``open`` has multiparts from the message inwards, and may have a leaf in the last."""

    content: bytes
    open: list[_Open] = field(factory=list)
    depths: dict[bytes, list[int]] = field(factory=dict)
    position: int = 0  # where to look for the next delimiter
    parts: int = 0
    dashed: int = 0
    header_budget: int = MAX_HEADER_BYTES  # for all parts but the message itself

    def read(self) -> Part:
        self._begin(0)
        while (found := self._next_delimiter(len(self.content))) is not None:
            # Whatever is within this multipart ends here, whether it was closed or not.
            while len(self.open) > found.depth + 1:
                self._end(found.at)
            self.position = found.after - 2
            if found.closes:
                self._forget_boundary()
            elif self.parts == MAX_PARTS - 1:
                self._begin_rest(found.after)
                break
            else:
                self._begin(found.after)
        while len(self.open) > 1:
            self._end(len(self.content))
        return self._finished(self.open[0], len(self.content))

    def _next_delimiter(self, limit: int) -> _Delimiter | None:
        """The next that belongs to an open multipart, if it begins before ``limit``."""
        if not self.depths:
            return None
        at = self.content.find(b"\r\n--", self.position, limit)
        while at >= 0 and self.dashed < MAX_DASHED:
            self.dashed += 1
            found = self._delimiter(at)
            if found is not None:
                return found
            at = self.content.find(b"\r\n--", at + 2, limit)
        return None

    def _delimiter(self, at: int) -> _Delimiter | None:
        start = at + 4
        end = self.content.find(b"\r\n", start, start + 1000)  # RFC 5322 section 2.1.1
        if end < 0:
            end = len(self.content)
            if end - start > 1000:
                return None
        line = self.content[start:end].rstrip(b" \t")
        depths, closes = self.depths.get(line), False
        if depths is None and line.endswith(b"--"):
            depths, closes = self.depths.get(line[:-2]), True
        if depths is None:
            return None
        return _Delimiter(at, min(end + 2, len(self.content)), depths[-1], closes)

    def _begin(self, at: int) -> None:
        """Open the part that begins at ``at``."""
        self.parts += 1
        header, body_at = self._header(at)
        type_ = _content_type(header)
        encoding = encoding_of(header.first("content-transfer-encoding"))
        part = _Open(header, at, body_at, type_, encoding)
        boundary = type_.params.get("boundary", "").rstrip().encode("utf-8", "replace")
        # RFC 2045 section 6.4: a multipart has no encoding; what has one is not what it says.
        may_have_parts = type_.value.startswith("multipart/") and not encoding
        if may_have_parts and boundary and len(self.open) < MAX_DEPTH:
            part.boundary = boundary
            self.depths.setdefault(boundary, []).append(len(self.open))
        self.open.append(part)
        self.position = max(body_at - 2, 0)

    def _begin_rest(self, at: int) -> None:
        self.open.append(_Open(Header((), 0), at, at, Parameters(OPAQUE, {}), ""))

    def _header(self, at: int) -> tuple[Header, int]:
        """The header of the part at ``at``, and where its body begins."""
        content = self.content
        budget = self.header_budget if self.open else MAX_HEADER_BYTES
        end = at if content.startswith(b"\r\n", at) else content.find(b"\r\n\r\n", at, at + budget)
        end = min(at + budget, len(content)) if end < 0 else end + 2
        self.position = max(at - 2, 0)
        found = self._next_delimiter(end)
        end = end if found is None else max(found.at + 2, at)
        try:
            header = parse_header(content[at:end])
        except HeaderTooLarge:
            return _UNREADABLE, at
        body_at = at + header.size_bytes
        if body_at == end == at + budget:
            return _UNREADABLE, at
        if self.open:
            self.header_budget -= header.size_bytes
        return header, body_at + 2 * content.startswith(b"\r\n", body_at)

    def _end(self, at: int) -> None:
        """Close the innermost part."""
        self._forget_boundary()
        part = self.open.pop()
        self.open[-1].parts.append(self._finished(part, at))

    def _forget_boundary(self) -> None:
        part = self.open[-1]
        depths = self.depths.get(part.boundary)
        if depths and depths[-1] == len(self.open) - 1:
            depths.pop()
            if not depths:
                del self.depths[part.boundary]

    def _finished(self, part: _Open, end: int) -> Part:
        # An empty part and what it is in may end with the line that the next delimiter begins with.
        end = max(end, part.body_at, *(child.end for child in part.parts[-1:]))
        disposition = parse_parameters(part.header.first("content-disposition") or "")
        size = decoded_size(self.content, part.body_at, end, part.encoding)
        return Part(
            content_type=part.type.value,
            params=part.type.params,
            content_id=part.header.first("content-id") or "",
            disposition=disposition.value,
            filename=disposition.text("filename") or part.type.text("name"),
            encoding=part.encoding,
            decoded_size=0 if part.parts else size,
            parts=tuple(part.parts),
            header_at=part.header_at,
            body_at=part.body_at,
            end=end,
        )


def _content_type(header: Header) -> Parameters:
    if header is _UNREADABLE:
        return Parameters(OPAQUE, {})
    text = header.first("content-type")
    if text is None:
        return Parameters("/", {})
    type_ = parse_parameters(text)
    return type_ if _MEDIA_TYPE.fullmatch(type_.value) else Parameters(OPAQUE, {})


_UNREADABLE = Header((), 0)
_MEDIA_TYPE = re.compile(r"[^\s/()<>@,;:\\\"\[\]?=]+/[^\s/()<>@,;:\\\"\[\]?=]+")
