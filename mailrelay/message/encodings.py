"""Content-Transfer-Encoding undone (RFC 2045 section 6).  Never raises: what is none is skipped."""

from __future__ import annotations

import binascii
import re

BASE64 = "base64"
QUOTED_PRINTABLE = "quoted-printable"
_CHUNK = 1024 * 1024


def encoding_of(text: str | None) -> str:
    """``BASE64``, ``QUOTED_PRINTABLE``, or empty where there is nothing to undo."""
    match = _TOKEN.match(text or "")
    token = match.group().lower() if match else ""
    return token if token in (BASE64, QUOTED_PRINTABLE) else ""


def decoded_bytes(data: bytes, encoding: str) -> bytes:
    """``data`` with its encoding undone.

    Of base64 what is outside the alphabet is skipped, and what follows padding (section 6.8).
    """
    if encoding == QUOTED_PRINTABLE:
        return binascii.a2b_qp(data)
    if encoding != BASE64:
        return data
    digits = data.partition(b"=")[0].translate(None, _NOT_DIGITS)
    whole = len(digits) - (len(digits) % 4 == 1)
    return binascii.a2b_base64(digits[:whole] + b"=" * (-whole % 4))


def decoded_size(content: bytes, start: int, end: int, encoding: str) -> int:
    """How long ``content[start:end]`` is when decoded, without keeping that in memory."""
    if encoding == QUOTED_PRINTABLE:
        return len(binascii.a2b_qp(content[start:end]))
    if encoding != BASE64:
        return end - start
    padding = content.find(b"=", start, end)
    stop = end if padding < 0 else padding
    digits = sum(
        len(content[at : min(at + _CHUNK, stop)].translate(None, _NOT_DIGITS))
        for at in range(start, stop, _CHUNK)
    )
    return digits * 3 // 4


_TOKEN = re.compile(r"[^\s;(]+")
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_DIGITS = bytes(set(range(256)) - set(_DIGITS))
