"""Requests without a connection."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define
from twisted.internet.defer import Deferred, succeed

from mailrelay.web.body import Body
from mailrelay.web.headers import Headers
from mailrelay.web.request import Request


@define
class Given:
    """A body that is there."""

    data: bytes

    def next_chunk(self) -> Deferred[bytes]:
        """See Source."""
        data, self.data = self.data, b""
        return succeed(data)


def request_of(
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> Request:
    """A request as a handler gets it; names of headers in lower case."""
    return Request(
        method, path, query, Headers(headers), "127.0.0.1", False, Body(len(body), Given(body))
    )
