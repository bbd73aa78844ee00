"""HTTP/1.1 as it arrives: where a request's header and body end.  No I/O.

Stricter than RFC 9112 wherever leniency lets two parties see different requests in the same
bytes: lines end in CRLF only, a header is not folded, and the length of a body is said once.
"""

from __future__ import annotations

import re

from attrs import define, frozen

from mailrelay.web.headers import TOKEN, Headers, parse_field
from mailrelay.web.settings import HTTPSettings

_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

CHUNK_LINE_BYTES = 256
"""A chunk's size and its extensions, which are ignored."""

TRAILER_BYTES = 8 * 1024
"""Fields after the last chunk, which are ignored."""


class Malformed(Exception):
    """Not a request: answered with ``status``, and the connection is closed."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@frozen
class Head:
    """A request line and header fields.  ``length`` is the body's, None when it is chunked."""

    method: str
    target: str
    is_http_1_1: bool
    headers: Headers
    length: int | None

    @property
    def is_persistent(self) -> bool:
        """Whether another request may follow."""
        return self.is_http_1_1 and "close" not in self.headers.tokens("connection")

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 before it sends the body."""
        return self.is_http_1_1 and "100-continue" in self.headers.tokens("expect")


def take_head(buffer: bytearray, settings: HTTPSettings) -> Head | None:
    """Remove a whole header from the front of ``buffer``; None when more must come.

    Raises: Malformed, as soon as it is known: a mail client is not waited for.
    """
    while buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: at least one is to be ignored
        del buffer[:2]
    end = buffer.find(b"\r\n\r\n", 0, settings.header_bytes + 4)
    if end < 0:
        _check_start(buffer, settings)
        return None
    lines = bytes(buffer[:end]).split(b"\r\n")
    del buffer[: end + 4]
    return _head(lines, settings)


def _check_start(buffer: bytearray, settings: HTTPSettings) -> None:
    if len(buffer) > settings.header_bytes:
        raise Malformed(431, f"the header is longer than {settings.header_bytes} bytes")
    newline = buffer.find(b"\n")
    if newline >= 0:
        _request_line(bytes(buffer[:newline]).removesuffix(b"\r"))
        if buffer[newline - 1 : newline] != b"\r":
            raise Malformed(400, "lines end in CRLF")


def _head(lines: list[bytes], settings: HTTPSettings) -> Head:
    first, newline, _ = lines[0].partition(b"\n")
    method, target, is_http_1_1 = _request_line(first)
    if newline:
        raise Malformed(400, "lines end in CRLF")
    if len(lines) - 1 > settings.header_fields:
        raise Malformed(431, f"more than {settings.header_fields} header fields")
    fields = []
    for line in lines[1:]:
        field = parse_field(line)
        if field is None:
            raise Malformed(400, "a line of the header is no header field")
        fields.append(field)
    headers = Headers(fields)
    hosts = len(headers.all("host"))
    if hosts > 1 or (is_http_1_1 and not hosts):  # RFC 9112 section 3.2
        raise Malformed(400, "there must be one Host")
    return Head(method, target, is_http_1_1, headers, _body_length(headers, is_http_1_1))


def _request_line(line: bytes) -> tuple[str, str, bool]:
    parts = line.split(b" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        raise Malformed(400, "this is not HTTP")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        known = version.startswith(b"HTTP/") and len(version) == len(b"HTTP/1.1")
        raise Malformed(505 if known else 400, "this server speaks HTTP/1.1")
    path = target.decode("ascii")
    if absolute := _ABSOLUTE.match(path):  # RFC 9112 section 3.2.2
        path = path[absolute.end() :]
    if not path.startswith("/") and (path, method) != ("*", b"OPTIONS"):
        raise Malformed(400, "the request's target is not a path")
    return method.decode("ascii"), path, version == b"HTTP/1.1"


def _body_length(headers: Headers, is_http_1_1: bool) -> int | None:
    """RFC 9112 section 6.3, without the ways out that it leaves to servers."""
    codings, lengths = headers.all("transfer-encoding"), headers.all("content-length")
    if codings:
        if lengths:
            raise Malformed(400, "Transfer-Encoding and Content-Length exclude each other")
        if not is_http_1_1 or len(codings) > 1 or codings[0].lower() != "chunked":
            raise Malformed(400, "the only Transfer-Encoding is chunked")
        return None
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise Malformed(400, "Content-Length must be one number")
    return int(lengths[0]) if lengths else 0


@define
class FixedBody:
    """A body whose length was declared."""

    remaining: int

    @property
    def is_done(self) -> bool:
        """Whether all of it was taken."""
        return not self.remaining

    def take(self, buffer: bytearray) -> bytes:
        """Remove what belongs to the body from the front of ``buffer``."""
        data = bytes(buffer[: self.remaining])
        del buffer[: len(data)]
        self.remaining -= len(data)
        return data


@define
class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1)."""

    is_done: bool = False
    _remaining: int = 0  # of the chunk
    _after_chunk: bool = False  # its CRLF comes next
    _trailer_bytes: int | None = None  # those seen, once the last chunk was

    def take(self, buffer: bytearray) -> bytes:
        """Remove what belongs to the body from the front of ``buffer``: its bytes, unwrapped.

        Raises: Malformed.
        """
        pieces = []
        while not self.is_done:
            if self._remaining:
                piece = bytes(buffer[: self._remaining])
                del buffer[: len(piece)]
                self._remaining -= len(piece)
                self._after_chunk = True
                pieces.append(piece)
                if self._remaining:
                    break
            line = self._line(buffer)
            if line is None:
                break
            self._take_line(line)
        return b"".join(pieces)

    def _line(self, buffer: bytearray) -> bytes | None:
        most = CHUNK_LINE_BYTES if self._trailer_bytes is None else TRAILER_BYTES
        end = buffer.find(b"\n", 0, most)
        if end < 0:
            if len(buffer) >= most:
                raise Malformed(400, "a line between chunks is too long")
            return None
        if buffer[end - 1 : end] != b"\r":
            raise Malformed(400, "lines end in CRLF")
        line = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        return line

    def _take_line(self, line: bytes) -> None:
        if self._after_chunk:
            if line:
                raise Malformed(400, "a chunk is longer than it said")
            self._after_chunk = False
        elif self._trailer_bytes is None:
            self._begin_chunk(line)
        elif not line:
            self.is_done = True
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > TRAILER_BYTES or parse_field(line) is None:
                raise Malformed(400, "the trailer is no header")

    def _begin_chunk(self, line: bytes) -> None:
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise Malformed(400, "a chunk's size is not a number")
        self._remaining = int(size[1], 16)
        if not self._remaining:
            self._trailer_bytes = 0


BodyDecoder = FixedBody | ChunkedBody


def body_decoder(length: int | None) -> BodyDecoder:
    """What takes a body of that length, chunked when None, off the connection."""
    return ChunkedBody() if length is None else FixedBody(length)
