"""Content-Transfer-Encoding undone (RFC 2045 section 6).  Never raises: what is none is skipped."""

from __future__ import annotations

import binascii
import re

from attrs import define

BASE64 = "base64"
QUOTED_PRINTABLE = "quoted-printable"
_CHUNK = 1024 * 1024

MOST_KEPT_BYTES = 64 * 1024
"""Of a quoted-printable line that is longer, a Decoder decodes the pieces by themselves."""


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


@define
class Decoder:
    """Undoes an encoding piece by piece, as ``decoded_bytes`` does at once.

    What it keeps between two pieces is at most a piece and MOST_KEPT_BYTES.
    """

    encoding: str
    _kept: bytes = b""
    _is_padded: bool = False

    def fed(self, data: bytes) -> bytes:
        """What ``data`` adds."""
        if self.encoding == QUOTED_PRINTABLE:
            return self._fed_lines(self._kept + data)
        if self.encoding != BASE64:
            return data
        if self._is_padded:
            return b""
        front, padding, _ = data.partition(b"=")
        digits = self._kept + front.translate(None, _NOT_DIGITS)
        self._is_padded = bool(padding)
        whole = len(digits) if self._is_padded else len(digits) - len(digits) % 4
        self._kept = digits[whole:]
        return decoded_bytes(digits[:whole], BASE64)

    def _fed_lines(self, data: bytes) -> bytes:
        whole = data.rfind(b"\n") + 1
        if len(data) - whole > MOST_KEPT_BYTES:
            escape = data.rfind(b"=", len(data) - 2)
            whole = len(data) if escape < 0 else escape
        self._kept = data[whole:]
        return binascii.a2b_qp(data[:whole])

    def ended(self) -> bytes:
        """What is left after the last piece."""
        kept, self._kept = self._kept, b""
        return decoded_bytes(kept, self.encoding)


_TOKEN = re.compile(r"[^\s;(]+")
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_DIGITS = bytes(set(range(256)) - set(_DIGITS))
