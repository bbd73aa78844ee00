"""A message in seven bits, for ways out that cannot carry eight (RFC 6152 section 3).  Pure.

- What has eight bits is encoded again, part by part; everything else stays as it is, to the byte.
- What is signed or encrypted is never touched: it would be broken.
- A field that is not UTF-8 is taken for Latin-1; one that is stays (RFC 6532).
"""

from __future__ import annotations

import binascii
import re

from mailrelay.message.encodings import BASE64, QUOTED_PRINTABLE, decoded_bytes
from mailrelay.message.header import header_end
from mailrelay.message.structure import Part, read_structure

DEEPEST = 10
"""Messages in messages beyond are left as they are."""


def seven_bit(content: bytes) -> bytes:
    """``content`` with no eight-bit data in its parts, as far as they may be changed."""
    return content if content.isascii() else _message(content, DEEPEST)


def _message(content: bytes, depth: int) -> bytes:
    if content.isascii():
        return content
    message = read_structure(content)
    pieces = [*_converted(content, message, depth)]
    converted = b"".join(pieces)
    return _with_mime_version(converted) if converted != content else content


def _converted(content: bytes, part: Part, depth: int) -> list[bytes]:
    """The pieces of ``part``."""
    whole = content[part.header_at : part.end]
    if whole.isascii():
        return [whole]
    header, body = content[part.header_at : part.body_at], content[part.body_at : part.end]
    if not part.parts:
        return _leaf(part, _field_text(header), body, depth)
    if part.content_type in ("multipart/signed", "multipart/encrypted"):
        return [_field_text(header), body]
    pieces, at = [_field_text(header)], part.body_at
    for child in part.parts:
        pieces.append(_preamble(content[at : child.header_at]))
        pieces += _converted(content, child, depth)
        at = child.end
    return [*pieces, _preamble(content[at : part.end])]


def _leaf(part: Part, header: bytes, body: bytes, depth: int) -> list[bytes]:
    if body.isascii():
        return [header, body]
    if part.content_type == "message/rfc822" and depth and not part.encoding:
        return [header, _message(body, depth - 1)]
    if part.content_type.startswith(("message/", "multipart/")):
        return [header, body]  # RFC 2045 section 6.4: these have no encoding
    is_text = part.content_type.startswith("text/") or part.is_text
    encoding = QUOTED_PRINTABLE if is_text else BASE64
    data = decoded_bytes(body, part.encoding)
    encoded = _quoted(data) if is_text else _base64(data)
    field = f"Content-Transfer-Encoding: {encoding}\r\n".encode()
    if part.content_type == "/":
        field = _type_of(data) + field
    return [_with_field(header, field), encoded]


def _quoted(data: bytes) -> bytes:
    lines = (binascii.b2a_qp(line, istext=False) for line in data.split(b"\r\n"))
    return b"\r\n".join(line.replace(b"=\n", b"=\r\n") for line in lines)


def _base64(data: bytes) -> bytes:
    lines = (data[at : at + 57] for at in range(0, len(data), 57))
    return b"\r\n".join(binascii.b2a_base64(line, newline=False) for line in lines)


def _type_of(data: bytes) -> bytes:
    """What text that says nothing of itself is, if that can be told."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return b""
    return b"Content-Type: text/plain; charset=utf-8\r\n"


def _with_field(header: bytes, field: bytes) -> bytes:
    """``header``, the empty line at its end included, with ``field`` for what it said before."""
    rest = _ENCODING.sub(b"", header)
    if rest in (b"", b"\r\n"):
        return field + b"\r\n"
    if not rest.endswith(b"\r\n\r\n"):
        rest = rest.rstrip(b"\r\n") + b"\r\n\r\n"
    return rest[:-2] + field + b"\r\n"


def _with_mime_version(content: bytes) -> bytes:
    end = header_end(content)
    if _MIME_VERSION.search(content, 0, end):
        return content
    return b"MIME-Version: 1.0\r\n" + content


def _field_text(header: bytes) -> bytes:
    try:
        header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1").encode()
    return header


def _preamble(data: bytes) -> bytes:
    """What stands between parts: for no one to read."""
    return data if data.isascii() else data.decode("ascii", "replace").encode("ascii", "replace")


_ENCODING = re.compile(rb"(?im)^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_MIME_VERSION = re.compile(rb"(?im)^mime-version[ \t]*:")
