"""A response as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

from mailrelay.web.headers import field_lines
from mailrelay.web.request import Answer, Request, Response

SERVER = "mailrelay"

PART_BYTES = 64 * 1024

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_REASONS = {status.value: status.phrase for status in HTTPStatus}


def has_body(status: int) -> bool:
    """Whether a response of that status has one (RFC 9110 sections 15.3.5 and 15.4.5)."""
    return status >= 200 and status not in (204, 304)


def check_response(response: Response) -> None:
    """Raises: ValueError, when a header field of its own is not fit to be sent."""
    for _ in field_lines([*response.headers.items(), ("Content-Type", response.content_type)]):
        pass


def response_head(
    response: Response,
    route_headers: Mapping[str, str],
    date: str,
    *,
    is_chunked: bool,
    is_last: bool,
) -> bytes:
    """Status line and header fields, the empty line included.

    Raises: ValueError, when a field is not fit to be sent.
    """
    own = {name.lower() for name in response.headers}
    fields = [("Server", SERVER), ("Date", date)]
    fields += [(name, text) for name, text in route_headers.items() if name.lower() not in own]
    fields += response.headers.items()
    if has_body(response.status):
        length = len(response.body) if isinstance(response.body, bytes) else response.length
        fields.append(("Content-Type", response.content_type))
        if length is not None:
            fields.append(("Content-Length", str(length)))
        elif is_chunked:
            fields.append(("Transfer-Encoding", "chunked"))
    if is_last:
        fields.append(("Connection", "close"))
    line = f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}\r\n"
    return b"".join((line.encode("ascii"), *field_lines(fields), b"\r\n"))


class OutgoingAnswer:
    """An answer to one request, as it is put on the wire; counts the bytes of its body.

    It is ``whole`` when it is small, and else ``parts``, which are encoded one by one.
    """

    def __init__(self, request: Request, answer: Answer, *, is_http_1_1: bool) -> None:
        self.request, self.answer = request, answer
        self.size = 0
        self.whole = b""
        self.parts: AsyncIterator[bytes] | None = None
        body = answer.response.body
        self._is_chunked = (
            is_http_1_1 and answer.response.length is None and not isinstance(body, bytes)
        )
        if request.method == "HEAD" or not has_body(answer.response.status):
            return
        if not isinstance(body, bytes):
            self.parts = body
        elif len(body) > PART_BYTES:
            self.parts = _parts(body)
        else:
            self.whole = body
            self.size = len(body)

    def head(self, date: str, *, is_last: bool) -> bytes:
        """Status line and fields.  Raises: as ``response_head``."""
        return response_head(
            self.answer.response,
            self.answer.headers,
            date,
            is_chunked=self._is_chunked,
            is_last=is_last,
        )

    def encoded(self, part: bytes) -> bytes:
        """``part`` as a chunk (RFC 9112 section 7.1) where the length was not said.

        Raises: ValueError, when there is more than was said.
        """
        self.size += len(part)
        length = self.answer.response.length
        if length is not None and self.size > length:
            raise ValueError("the body is longer than its Content-Length")
        if not self._is_chunked or not part:
            return part
        return b"%x\r\n%s\r\n" % (len(part), part)

    def end(self) -> bytes:
        """What follows the last part.  Raises: ValueError, when there is less than was said."""
        length = self.answer.response.length
        if length is not None and self.size < length:
            raise ValueError("the body is shorter than its Content-Length")
        return LAST_CHUNK if self._is_chunked else b""


async def _parts(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PART_BYTES):
        yield body[start : start + PART_BYTES]
