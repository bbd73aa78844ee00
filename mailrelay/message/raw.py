"""A finished message as an application hands it in: base64, checked while it is read.

What comes out can be passed on as it is (RFC 5321 section 2.3.8): lines end in CRLF, there is no
NUL, and no field tells who is a blind recipient.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from mailrelay.message.draft import Unwritable
from mailrelay.message.header import (
    MAX_HEADER_BYTES,
    HeaderTooLarge,
    header_end,
    parse_header,
)
from mailrelay.smtp.reader import has_bare

FIELD = "raw"
BLOCK_CHARACTERS = 256 * 1024


def raw_message(base64: str) -> Iterator[bytes]:
    """The message in pieces.  Raises: Unwritable, while it is read."""
    return _without_blind_copies(_checked(_decoded(base64)))


def _decoded(base64: str) -> Iterator[bytes]:
    rest, is_over = b"", False
    for at in range(0, len(base64), BLOCK_CHARACTERS):
        piece = base64[at : at + BLOCK_CHARACTERS].encode("utf-8", "replace")
        rest += piece.translate(None, b" \t\r\n")
        whole = len(rest) // 4 * 4
        if not whole:
            continue
        if is_over:
            raise Unwritable(FIELD, "is not base64: it goes on after its end")
        try:
            yield binascii.a2b_base64(rest[:whole], strict_mode=True)
        except binascii.Error:
            raise Unwritable(FIELD, "is not base64") from None
        is_over, rest = rest[:whole].endswith(b"="), rest[whole:]
    if rest:
        raise Unwritable(FIELD, "is not base64: its end is missing")


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    passed, held = 0, b""  # a CR whose LF may be in the next piece
    for piece in pieces:
        data = held + piece
        held = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(held)]
        _check(data, passed)
        passed += len(data)
        yield data
    _check(held, passed)
    if not passed:
        raise Unwritable(FIELD, "is empty")


def _check(data: bytes, passed: int) -> None:
    if has_bare(data):
        found = _BARE.search(data)
        assert found is not None
        name = "CR" if found.group() == b"\r" else "LF"
        said = f"lines must end in CRLF: byte {passed + found.start()} is a bare {name}"
        raise Unwritable(FIELD, said)
    if b"\0" in data:
        raise Unwritable(FIELD, f"must not have NUL: byte {passed + data.index(0)}")


def _without_blind_copies(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Bcc is removed (RFC 5322 section 3.6.3); what is no header section we can read stays."""
    head = b""
    for piece in pieces:
        head += piece
        if header_end(head) < len(head) or len(head) > MAX_HEADER_BYTES:
            break
    yield _without_bcc(head)
    yield from pieces


def _without_bcc(head: bytes) -> bytes:
    try:
        end = parse_header(head).size_bytes
    except HeaderTooLarge:
        return head  # refused by acceptance
    return _BCC.sub(b"", head[:end]) + head[end:]


_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BCC = re.compile(rb"(?im)^(?:resent-)?bcc[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)")
