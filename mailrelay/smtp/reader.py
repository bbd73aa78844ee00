"""What a client sends, cut into command lines and content; sans I/O.

Invariants:

- Content is read as bytes, never as lines, and never becomes a command.
- Only CRLF.CRLF ends DATA; a bare CR or LF is reported, never taken for an end (CVE-2023-51764).
- The same bytes give the same events, however they are cut.
- At most one line, or one delivery of the transport, is held beyond what was asked for.
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import define, field, frozen

from mailrelay.smtp.command import MAX_COMMAND_LINE_BYTES


@frozen
class CommandLine:
    """One line, without its CRLF.  ``bare`` when it held a CR or LF of its own."""

    line: bytes
    bare: bool = False


@frozen
class LineTooLong:
    """A line over the limit came to its end; its bytes are gone."""


@frozen
class ContentData:
    """Content bytes, dots unstuffed; ``bare`` when a CR or LF in them stands alone."""

    data: bytes
    bare: bool


@frozen
class ContentEnd:
    """The content, or the BDAT chunk, is complete.  ``bare`` as in ContentData: a CR at its end."""

    bare: bool = False


Event = CommandLine | LineTooLong | ContentData | ContentEnd


class _Mode(Enum):
    LINES = auto()
    SKIPPING = auto()  # the rest of a line that was too long
    DATA = auto()
    CHUNK = auto()


@define
class Reader:
    """Bytes in with ``feed``, events out with ``next_event``; the caller says what it expects."""

    max_line_bytes: int = MAX_COMMAND_LINE_BYTES
    _buffer: bytearray = field(factory=bytearray)
    _mode: _Mode = _Mode.LINES
    _at_first_line: bool = True  # DATA: the next byte begins the content, or its last line
    _left: int = 0  # CHUNK: bytes still to come
    _ended_in_cr: bool = False  # CHUNK: the last byte passed on was a CR

    @property
    def waiting_bytes(self) -> int:
        """Bytes fed and not yet turned into an event."""
        return len(self._buffer)

    @property
    def in_content(self) -> bool:
        """Whether content, not a command, is being read."""
        return self._mode in (_Mode.DATA, _Mode.CHUNK)

    def feed(self, data: bytes) -> None:
        """Take what the transport delivered."""
        self._buffer += data

    def discard(self) -> None:
        """Forget what waits: it was sent before TLS and must not be believed (RFC 3207)."""
        self._buffer.clear()

    def expect_data(self) -> None:
        """After 354: what follows is content, up to CRLF.CRLF."""
        self._mode, self._at_first_line = _Mode.DATA, True

    def expect_chunk(self, size_bytes: int, *, first: bool) -> None:
        """After BDAT: exactly ``size_bytes`` of content follow."""
        self._mode, self._left = _Mode.CHUNK, size_bytes
        if first:
            self._ended_in_cr = False

    def next_event(self) -> Event | None:
        """The next event, or None until more bytes are fed."""
        if self._mode is _Mode.DATA:
            return self._data_event()
        if self._mode is _Mode.CHUNK:
            return self._chunk_event()
        return self._line_event()

    def _line_event(self) -> Event | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > self.max_line_bytes:
                self._buffer.clear()
                self._mode = _Mode.SKIPPING
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if self._mode is _Mode.SKIPPING or end > self.max_line_bytes:
            self._mode = _Mode.LINES
            return LineTooLong()
        if line.endswith(b"\r"):
            line = line[:-1]
            return CommandLine(line, bare=b"\r" in line)
        return CommandLine(line, bare=True)

    def _data_event(self) -> Event | None:
        if self._at_first_line:
            if self._buffer.startswith(b".\r\n"):
                del self._buffer[:3]
                self._mode = _Mode.LINES
                return ContentEnd()
            if not self._first_dot_settled():
                return None
        # Base64, most of all large content, has no dot: looking for one byte costs next to nothing.
        end = self._buffer.find(_END) if b"." in self._buffer else -1
        if end >= 0:
            data = self._unstuffed(end + 2)
            self._at_first_line = True  # what is left is the dot of the end
            return data
        keep = next((n for n in (4, 3, 2, 1) if self._buffer.endswith(_END[:n])), 0)
        ready = len(self._buffer) - keep
        return self._unstuffed(ready) if ready else None

    def _first_dot_settled(self) -> bool:
        """Whether the first line's own dot, if any, is read; False until that can be told."""
        head = bytes(self._buffer[:3])
        if head in (b"", b".", b".\r"):
            return False
        if head[:1] == b".":  # RFC 5321 section 4.5.2: the first dot of a line is removed
            del self._buffer[:1]
        self._at_first_line = False
        return True

    def _unstuffed(self, size: int) -> ContentData:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        bare = has_bare(data)
        stuffed = b"." in data and b"\r\n." in data
        return ContentData(data.replace(b"\r\n.", b"\r\n") if stuffed else data, bare)

    def _chunk_event(self) -> Event | None:
        if self._left == 0:
            self._mode = _Mode.LINES
            return ContentEnd(bare=self._ended_in_cr)
        if not self._buffer:
            return None
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        # A CRLF may be cut between two deliveries, or between two chunks.
        whole = b"\r" + data if self._ended_in_cr else data
        self._ended_in_cr = data.endswith(b"\r")
        return ContentData(data, bare=has_bare(whole[:-1] if self._ended_in_cr else whole))


def has_bare(data: bytes) -> bool:
    """Whether a CR or an LF in ``data`` is not part of a CRLF."""
    lines = b"".join(data.split(b"\r\n"))  # half the time of counting the three
    return b"\r" in lines or b"\n" in lines


_END = b"\r\n.\r\n"
