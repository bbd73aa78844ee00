"""Writes a message of a Draft: RFC 5322, MIME (RFC 2045 and 2046), lines that end in CRLF.

- Nothing is written of a draft that ``check`` refuses.
- Files are read while they are written: of each, no more than a few pieces are in memory.
- A boundary occurs in nothing that it surrounds: texts are searched for it, and base64 and
  quoted-printable cannot have it, for it begins with ``=_``.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from urllib.parse import quote

from attrs import define, field, frozen

from mailrelay.message.draft import Draft, File, Unwritable, check
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.sniff import SNIFFED_BYTES, sniffed_type
from mailrelay.message.words import Folding, add_phrase, given_field, text_field

__all__ = ["Draft", "File", "NamedAddress", "Unwritable", "compose"]

MAX_TEXT_LINE = 76
"""In bytes; a text with a longer line is quoted-printable."""


def compose(draft: Draft) -> Iterator[bytes]:
    """The message in pieces, the first of them the header section and the empty line after it.

    Of files without a type the first bytes are read at once, all else while this is read.

    Raises: Unwritable, at once; while reading only for base64 that is none.
    """
    check(draft)
    body = _body(draft)
    header = "\r\n".join([*_header(draft), *body.header, "", ""])
    return chain([header.encode()], body.pieces())


def _header(draft: Draft) -> list[str]:
    utf8 = draft.smtputf8
    fields = [
        _address_field(name, people, utf8=utf8)
        for name, people in (
            ("From", draft.from_),
            ("Reply-To", draft.reply_to),
            ("To", draft.to),
            ("Cc", draft.cc),
        )
        if people
    ]
    if draft.subject:
        fields.append(text_field("Subject", draft.subject, utf8=utf8))
    fields += [f"Date: {draft.date}", f"Message-Id: {draft.message_id}"]
    if draft.references:
        fields.append("References: " + "\r\n\t".join(draft.references))
        fields.append(f"In-Reply-To: {draft.references[-1]}")
    fields.append("MIME-Version: 1.0")
    fields += [given_field(name, value, utf8=utf8) for name, value in draft.headers]
    given = {name.lower() for name, _ in draft.headers}
    if draft.user_agent and given.isdisjoint({"user-agent", "x-mailer"}):
        fields.append(f"User-Agent: {draft.user_agent}")
    return fields


def _address_field(name: str, people: Sequence[NamedAddress], *, utf8: bool) -> str:
    folding = Folding(f"{name}:")
    for number, person in enumerate(people):
        if person.name:
            add_phrase(folding, " ", person.name, utf8=utf8)
        address = person.address.unicode if utf8 else str(person.address)
        folding.add(" ", f"<{address}>" + ("," if number < len(people) - 1 else ""))
    return folding.text


@frozen
class _Part:
    """``header`` has no line ends; ``has`` says whether some bytes are in what is known now."""

    header: Sequence[str]
    pieces: Callable[[], Iterator[bytes]]
    has: Callable[[bytes], bool] = lambda _: False


def _body(draft: Draft) -> _Part:
    """The parts from inside out, each multipart only where there is more than one."""
    boundaries = _Boundaries(draft.boundary)
    texts = []
    if draft.text or not draft.html:
        texts.append(_text("plain", draft.text, eight_bit=draft.smtputf8))
    if draft.html:
        texts.append(_text("html", draft.html, eight_bit=draft.smtputf8))
    root = _multipart(
        "alternative",
        [*texts, *_files("AlternativeFiles", "inline", draft.alternative_files)],
        boundaries,
    )
    root = _multipart(
        "related", [root, *_files("InlineFiles", "inline", draft.inline_files)], boundaries
    )
    return _multipart(
        "mixed", [root, *_files("AttachedFiles", "attachment", draft.attached_files)], boundaries
    )


@define
class _Boundaries:
    """Gives boundaries; none begins as another does."""

    token: Callable[[], str]
    given: list[str] = field(factory=list)

    def another(self, parts: Sequence[_Part]) -> str:
        """One that is in none of ``parts``."""
        for _ in range(100):
            boundary = f"=_{self.token()}"
            if not _BOUNDARY.fullmatch(boundary):
                raise ValueError(f"{boundary!r} cannot be a boundary")
            if any(boundary.startswith(b) or b.startswith(boundary) for b in self.given):
                continue
            if not any(part.has(boundary.encode()) for part in parts):
                self.given.append(boundary)
                return boundary
        raise ValueError("100 boundaries in a row occur in the content")


def _multipart(subtype: str, parts: Sequence[_Part], boundaries: _Boundaries) -> _Part:
    if len(parts) == 1:
        return parts[0]
    boundary = boundaries.another(parts)
    lines = [f"Content-Type: multipart/{subtype};"]
    if subtype == "related":  # RFC 2387 section 3.1: the type of its root has to be told
        root = parts[0].header[0].removeprefix("Content-Type: ").partition(";")[0]
        lines[0] += f' type="{root}";'

    def pieces() -> Iterator[bytes]:
        for part in parts:
            yield f"--{boundary}\r\n".encode()
            yield "\r\n".join([*part.header, "", ""]).encode()
            yield from part.pieces()
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return _Part(
        ["\r\n\t".join([*lines, f'boundary="{boundary}"'])],
        pieces,
        lambda sought: any(part.has(sought) for part in parts),
    )


def _text(subtype: str, text: str, *, eight_bit: bool) -> _Part:
    text = text.replace("\r\n", "\n")
    if not text.endswith("\n"):
        text += "\n"
    charset = "us-ascii" if text.isascii() else "utf-8"
    data = text.encode()
    lines = data.split(b"\n")
    is_fit = len(data.translate(None, _UNFIT)) == len(data)
    if not is_fit or max(map(len, lines)) > MAX_TEXT_LINE:
        encoding = "quoted-printable"
        lines = [_quoted_printable(line) for line in lines]
    else:
        encoding = "8bit" if eight_bit or charset == "utf-8" else "7bit"
    data = b"\r\n".join(lines)
    header = [
        f"Content-Type: text/{subtype}; charset={charset}",
        f"Content-Transfer-Encoding: {encoding}",
    ]
    return _Part(header, lambda: iter([data]), data.__contains__)


def _quoted_printable(line: bytes) -> bytes:
    return binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n")


def _files(list_: str, disposition: str, files: Sequence[File]) -> Iterator[_Part]:
    for number, file in enumerate(files):
        yield _file(f"{list_}[{number}]", disposition, file)


def _file(name: str, disposition: str, file: File) -> _Part:
    header = [_disposition(disposition, file.name)]
    type_ = file.content_type or _sniffed(name, file)
    if type_:
        header.insert(0, f"Content-Type: {type_}")
    if file.content_id:
        bare = not file.content_id.startswith("<")  # RFC 2045 section 7: it stands in brackets
        header.append(f"Content-ID: {f'<{file.content_id}>' if bare else file.content_id}")
    header.append("Content-Transfer-Encoding: base64")
    return _Part(header, lambda: _base64_lines(name, file))


def _disposition(disposition: str, name: str) -> str:
    folding = Folding(f"Content-Disposition: {disposition};")
    folding.add(" ", _filename(name))
    return folding.text


def _filename(name: str) -> str:
    """The parameter: quoted where every reader takes that as it is, else as RFC 2231 has it.

    Sections (RFC 2231 section 3) are only for what a line cannot hold; not everybody reads them.
    """
    if _PLAIN_NAME.fullmatch(name):
        return f'filename="{name}"'
    encoded = quote(name, safe="!#$&+-.^_`|~")
    if len(encoded) <= MAX_NAME:
        return f"filename*={_UTF8}{encoded}"
    sections = _SECTION.findall(encoded)
    return ";\r\n ".join(
        f"filename*{number}*={'' if number else _UTF8}{section}"
        for number, section in enumerate(sections)
    )


def _sniffed(name: str, file: File) -> str:
    """As the file's first bytes say; only those are read."""
    front = b""
    for piece in file.read():
        front += _alphabet_only(name, piece) if file.is_base64 else piece
        if len(front) >= SNIFFED_BYTES * (2 if file.is_base64 else 1):
            break
    if file.is_base64:
        front = binascii.a2b_base64(front[: len(front) // 4 * 4])
    return sniffed_type(front)


def _base64_lines(name: str, file: File) -> Iterator[bytes]:
    """Lines of 76 characters without the last line's end, a chunk for each piece read."""
    width = 76 if file.is_base64 else 57
    rest = b""
    first = True
    for piece in _checked_base64(name, file) if file.is_base64 else file.read():
        rest += piece
        whole = (len(rest) - 1) // width * width if rest else 0  # something is left for the end
        if whole:
            yield _wrapped(rest[:whole], width, is_base64=file.is_base64, first=first)
            rest, first = rest[whole:], False
    if rest:
        yield _wrapped(rest, width, is_base64=file.is_base64, first=first)


def _wrapped(data: bytes, width: int, *, is_base64: bool, first: bool) -> bytes:
    encode = bytes if is_base64 else _one_line
    lines = b"\r\n".join(encode(data[at : at + width]) for at in range(0, len(data), width))
    return lines if first else b"\r\n" + lines


def _one_line(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def _checked_base64(name: str, file: File) -> Iterator[bytes]:
    """The pieces without white space.  Raises: Unwritable, at the latest at their end."""
    size = padding = 0
    for raw in file.read():
        piece = _alphabet_only(name, raw)
        data = piece.rstrip(b"=")
        if b"=" in data or (padding and data):
            raise Unwritable(f"{name}.Data", "is not base64: it has = before its end")
        size += len(piece)
        padding += len(piece) - len(data)
        yield piece
    if size % 4 or padding > 2:
        raise Unwritable(f"{name}.Data", "is not base64: its end is missing or wrong")


def _alphabet_only(name: str, piece: bytes) -> bytes:
    piece = piece.translate(None, b" \t\r\n")
    if piece.translate(None, _ALPHABET):
        raise Unwritable(f"{name}.Data", "is not base64")
    return piece


MAX_NAME = 900
_UTF8 = "utf-8''"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_BOUNDARY = re.compile(r"=_[A-Za-z0-9_.+\-]{1,60}")
_PLAIN_NAME = re.compile(r"(?! )(?!.*=\?)[ !#-\[\]-~]{0,900}(?<! )")
_SECTION = re.compile(r"(?:%[0-9A-F]{2}|[^%]){1,60}")
# Of controls only TAB and the line's end are text everywhere; NUL is refused in content.
_UNFIT = bytes({*range(0x20), 0x7F} - set(b"\t\n"))
