"""Content on its way out: dots stuffed, lines canonical (RFC 5321 sections 2.3.8 and 4.5.2)."""

from __future__ import annotations

import re

from attrs import define


@define
class DotStuffer:
    """Doubles the dot at each line's start, across chunks; the first byte begins a line."""

    _at_line_start: bool = True
    _last_two: bytes = b""

    def chunk(self, data: bytes) -> bytes:
        """``data`` as it is sent in DATA."""
        if not data:
            return data
        stuffed = data.replace(b"\r\n.", b"\r\n..") if b"\r\n." in data else data
        if data[:1] == b"." and (self._at_line_start or self._last_two == b"\r\n"):
            stuffed = b"." + stuffed
        elif data[:2] == b"\n." and self._last_two[-1:] == b"\r":
            stuffed = b"\n." + stuffed[1:]
        self._at_line_start = False
        self._last_two = (self._last_two + data[-2:])[-2:]
        return stuffed

    def end(self) -> bytes:
        """What ends the content after the last chunk: CRLF if that lacked one, and the dot."""
        return b".\r\n" if self._at_line_start or self._last_two == b"\r\n" else b"\r\n.\r\n"


def canonical(data: bytes) -> bytes:
    """``data`` with every bare CR and bare LF made a CRLF, ending in one."""
    lines = _ANY_END.sub(b"\r\n", data)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


_ANY_END = re.compile(rb"\r\n|\r|\n")


@define
class NewlineRepair:
    """Bare CR and LF to CRLF, across chunks; for trusted ports that ask for it."""

    _held_cr: bool = False

    def chunk(self, data: bytes) -> bytes:
        """``data`` repaired; a CR at its end waits for what follows."""
        if self._held_cr:
            data = b"\r" + data
        self._held_cr = data.endswith(b"\r")
        if self._held_cr:
            data = data[:-1]
        return _ANY_END.sub(b"\r\n", data)

    def end(self) -> bytes:
        """What the last chunk left."""
        return b"\r\n" if self._held_cr else b""
