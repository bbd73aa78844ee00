"""``/healthz`` and ``/metrics``, and a page that says where one is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Site

HEADERS = {
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"no-referrer",
    b"Cache-Control": b"no-store",
}


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
    is_open: bool = True  # whether this listener may tell: figures are not for everybody
    app = Klein()

    @app.route("/healthz")
    def healthz(self, request: IRequest) -> bytes:
        """200 when mail can be accepted now, else 503."""
        if not self.is_open:
            return _not_here(request)
        state = self.health()
        return _answer(request, 200 if state.well else 503, f"{state.text}\n")

    @app.route("/metrics")
    async def scrape(self, request: IRequest) -> bytes:
        """What Prometheus reads."""
        if not self.is_open:
            return _not_here(request)
        text = await self.metrics()
        _answer(request, 200, "")
        request.setHeader(b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")
        return text

    @app.route("/")
    def index(self, request: IRequest) -> bytes:
        """What there is."""
        return _answer(request, 200, "mailrelay\n")

    def resource(self) -> IResource:
        """The pages as a resource."""
        resource: IResource = self.app.resource()
        return resource


def _not_here(request: IRequest) -> bytes:
    return _answer(request, 404, "not here\n")


def _answer(request: Any, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return text.encode()


def monitor_site(monitor: Monitor, reactor: Any) -> Site:
    """A site that keeps no log of its own and no slow client."""
    site = Site(monitor.resource(), reactor=reactor, timeout=60)
    site.noisy = False
    site.displayTracebacks = False
    return site
