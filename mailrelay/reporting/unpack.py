"""Compressed reports, undone in pieces: what is in memory is a piece, whatever it grows to.

Beyond MOST_BYTES, or MOST_RATIO times what came, nothing more is undone (threat 9).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from attrs import define

from mailrelay.reporting.model import MalformedReport, ReportTooLarge

MOST_BYTES = 10 * 1024 * 1024
"""Of an undone report."""

MOST_RATIO = 200
"""Reports of many rows that are alike come to about 50."""

PIECE_BYTES = 64 * 1024
MOST_FILES = 16
"""Of a zip file that are looked at, for one that is no folder; and of gzip, one after the other."""

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_DEFLATED, _STORED = 8, 0
_ENCRYPTED = 0x1


def is_packed(data: bytes) -> bool:
    """Whether ``data`` is gzip or zip by its first bytes."""
    return data.startswith((_GZIP, _ZIP))


def unpacked(data: bytes) -> Iterator[bytes]:
    """Pieces of what ``data`` holds: gzip, the first file of a zip, or what is not compressed.

    Raises: MalformedReport, from any step.
    """
    room = _Room(min(MOST_BYTES, max(PIECE_BYTES, MOST_RATIO * len(data))))
    if data.startswith(_GZIP):
        return _members(data, room)
    if data.startswith(_ZIP):
        return _first_file(data, room)
    return room.counted(data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))


@define
class _Room:
    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ReportTooLarge("the report is too large when it is undone")

    def counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.take(len(piece))
            yield piece


def _members(data: bytes, room: _Room) -> Iterator[bytes]:
    """A gzip file may be several, one after the other (RFC 1952 section 2.2)."""
    for _ in range(MOST_FILES):
        undoing = zlib.decompressobj(wbits=31)
        yield from _inflated(undoing, data, room)
        data = undoing.unused_data
        if not data.startswith(_GZIP):
            return
    # Each of them copies what is behind it.
    raise MalformedReport("the report is of too many gzip files")


def _first_file(data: bytes, room: _Room) -> Iterator[bytes]:
    at = 0
    for _ in range(MOST_FILES):
        if data[at : at + 4] != _ZIP or len(data) < at + _LOCAL.size:
            break
        _, _, flags, method, _, _, _, packed, _, name, extra = _LOCAL.unpack_from(data, at)
        begins = at + _LOCAL.size + name + extra
        if data[begins - extra - 1 : begins - extra] == b"/":  # a folder
            at = begins + packed
            continue
        if flags & _ENCRYPTED or method not in (_DEFLATED, _STORED):
            raise MalformedReport("the zip file is encrypted, or of an unknown method")
        if method == _STORED:
            return room.counted(iter([data[begins : begins + packed]]))
        return _inflated(zlib.decompressobj(wbits=-15), data[begins:], room)
    raise MalformedReport("the zip file has no file in it")


def _inflated(undoing: zlib._Decompress, data: bytes, room: _Room) -> Iterator[bytes]:
    while not undoing.eof:
        try:
            piece = undoing.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise MalformedReport(f"the report cannot be undone: {error}") from None
        data = undoing.unconsumed_tail
        room.take(len(piece))
        yield piece
        if not piece and not data:
            break
    if not undoing.eof:
        raise MalformedReport("the report breaks off")
