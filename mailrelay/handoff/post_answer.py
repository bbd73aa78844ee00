"""The endpoint's answer as ``mailrelay-post`` reads it: HTTP/1.1, whole or not at all.

http.client would take a third of the program's start, and half an answer for a whole one.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

ANSWER_BYTES = 64 * 1024
"""Read of an answer's header, and again of its body; what follows is left unread."""
_HEX = frozenset("0123456789abcdefABCDEF")


class BadAnswer(Exception):
    """Not a whole HTTP answer."""


def read_answer(reader: IO[bytes]) -> tuple[int, bytes]:
    """Status and body, of which no more than ANSWER_BYTES are read.  Raises: BadAnswer, OSError."""
    status = 100
    while status < 200 and status != 101:
        status = _status(_line(reader, ANSWER_BYTES))
        fields = list(_fields(reader))
    return status, b"" if status in (101, 204, 304) else _body(reader, fields)


def _line(reader: IO[bytes], limit: int) -> bytes:
    line = reader.readline(limit)
    if not line.endswith(b"\n"):
        raise BadAnswer("the answer was cut short, or has too long a line")
    return line.rstrip(b"\r\n")


def _status(line: bytes) -> int:
    is_http = line[:7] == b"HTTP/1." and line[7:8].isdigit() and line[8:9] == b" "
    if not is_http or not line[9:12].isdigit() or line[12:13] not in (b"", b" "):
        raise BadAnswer("the answer is not HTTP")
    return int(line[9:12])


def _fields(reader: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names in lower case, and values; a folded line is passed over."""
    budget = ANSWER_BYTES
    while line := _line(reader, budget):
        budget -= len(line)
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()


def _body(reader: IO[bytes], fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """RFC 9112 section 6.3."""
    lengths = {value for name, value in fields if name == b"content-length"}
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if codings == [b"chunked"] and not lengths:
        return _chunks(reader)
    if codings or len(lengths) > 1:
        raise BadAnswer("the answer's length is not clear")
    if not lengths:
        return reader.read(ANSWER_BYTES)
    [length] = lengths
    if not length.isdigit() or len(length) > 15:
        raise BadAnswer("the answer's length is no number")
    return _exactly(reader, min(int(length), ANSWER_BYTES))


def _chunks(reader: IO[bytes]) -> bytes:
    body = b""
    while len(body) < ANSWER_BYTES:
        size = _line(reader, 256).partition(b";")[0].strip().decode("latin-1")
        if not size or len(size) > 8 or set(size) - _HEX:
            raise BadAnswer("the answer has a bad chunk")
        if not int(size, 16):
            while _line(reader, ANSWER_BYTES):
                pass
            return body
        wanted = min(int(size, 16), ANSWER_BYTES - len(body))
        body += _exactly(reader, wanted)
        if wanted == int(size, 16) and _line(reader, 2):
            raise BadAnswer("the answer has a bad chunk")
    return body


def _exactly(reader: IO[bytes], size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise BadAnswer("the answer was cut short")
    return data
