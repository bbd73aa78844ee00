"""The media type of content that nobody named, by its first bytes.

The tables of the WHATWG's MIME Sniffing Standard, as far as mail meets them.
"""

from __future__ import annotations

import re

SNIFFED_BYTES = 512


def sniffed_type(front: bytes) -> str:
    """The media type that ``front``, the first 512 bytes, shows; empty if it shows none."""
    front = front[:SNIFFED_BYTES]
    if _HTML.match(front):
        return "text/html; charset=utf-8"
    if front.lstrip(_SPACE).startswith(b"<?xml"):
        return "text/xml; charset=utf-8"
    for mark, type_ in _MARKS:
        if front.startswith(mark):
            return type_
    for pattern, type_ in _PATTERNS:
        if pattern.match(front):
            return type_
    if _is_mp4(front):
        return "video/mp4"
    return "" if _BINARY.search(front) else "text/plain; charset=utf-8"


def _is_mp4(front: bytes) -> bool:
    """Whether a box "ftyp" names a brand of the mp4 family."""
    size = int.from_bytes(front[:4], "big")
    if len(front) < 12 or front[4:8] != b"ftyp" or size % 4 or len(front) < size:
        return False
    brands = (front[at : at + 3] for at in range(8, size, 4) if at != 12)  # there: its version
    return b"mp4" in brands


_SPACE = b"\t\n\x0c\r "
_TAGS = rb"!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|!--"
_HTML = re.compile(rb"[\t\n\x0c\r ]*<(?:" + _TAGS + rb")[ >]", re.IGNORECASE)
_MARKS = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", "text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x00\x00\x02\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
)
_PATTERNS = (
    (re.compile(rb"RIFF.{4}WEBPVP", re.DOTALL), "image/webp"),
    (re.compile(rb"RIFF.{4}AVI ", re.DOTALL), "video/avi"),
    (re.compile(rb"RIFF.{4}WAVE", re.DOTALL), "audio/wave"),
    (re.compile(rb"FORM.{4}AIFF", re.DOTALL), "audio/aiff"),
    (re.compile(rb".{34}LP", re.DOTALL), "application/vnd.ms-fontobject"),
)
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
