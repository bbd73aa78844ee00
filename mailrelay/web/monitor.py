"""``/healthz`` and ``/metrics``, and a page that says where one is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from mailrelay.web.request import Request, Response, Route

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@frozen
class Health:
    """Whether the server can do its work; ``text`` says why not."""

    well: bool
    text: str


@frozen
class Monitor:
    """Decodes nothing, asks one function each, encodes."""

    health: Callable[[], Health]
    metrics: Callable[[], Awaitable[bytes]]

    async def healthz(self, request: Request) -> Response:
        """200 when mail can be accepted now, else 503."""
        state = self.health()
        return Response.text(200 if state.well else 503, f"{state.text}\n")

    async def scrape(self, request: Request) -> Response:
        """What Prometheus reads."""
        return Response(200, await self.metrics(), content_type=METRICS_TYPE)

    def routes(self) -> Sequence[Route]:
        """For a listener that may tell: figures are not for everybody."""
        return [
            Route(("GET", "HEAD"), "/healthz", self.healthz),
            Route(("GET", "HEAD"), "/metrics", self.scrape),
        ]


async def index(request: Request) -> Response:
    """What there is."""
    return Response.text(200, "mailrelay\n")


INDEX = Route(("GET", "HEAD"), "/", index)
