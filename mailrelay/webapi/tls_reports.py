"""``POST /tlsrpt``: where others post their reports about TLS with us (RFC 8460 section 5.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from mailrelay.queue.store import StoreUnavailable
from mailrelay.reporting.model import MalformedReport, ReportTooLarge
from mailrelay.reporting.receiving import NotOurs
from mailrelay.web.request import Request, Response, Route

PATH = "/tlsrpt"
MOST_BODY_BYTES = 256 * 1024
"""Compressed; such reports are of a few kilobytes."""

_TYPES = ("application/tlsrpt+gzip", "application/tlsrpt+json")


@frozen
class TLSReportDoor:
    """Takes reports of anybody: ``keep`` gets the bytes, and who sent them."""

    keep: Callable[[bytes, str], Awaitable[None]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [Route(("POST",), PATH, self._take)]

    async def _take(self, request: Request) -> Response:
        type_ = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if type_ not in _TYPES:
            return Response.text(415, f"post {' or '.join(_TYPES)}\n")
        data = await request.body.read(MOST_BODY_BYTES)
        try:
            await self.keep(data, request.peer_ip)
        except MalformedReport as error:
            status = 413 if isinstance(error, ReportTooLarge) else 400
            return Response.text(status, f"{error}\n")
        except NotOurs:
            return Response.text(404, "the report is of no domain of ours\n")
        except StoreUnavailable:
            return Response.text(503, "try again later\n", Retry_After="60")
        return Response.text(201, "thank you\n")
