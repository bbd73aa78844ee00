"""The files that pages load, kept by browsers for ever: a changed one has another path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from mailrelay.pages.render import StaticFile
from mailrelay.web.headers import STRICT_HEADERS
from mailrelay.web.request import Handler, Request, Response, Route

HEADERS = {**STRICT_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}


@frozen
class Statics:
    """Serves ``files``, and nothing else below their path."""

    files: Mapping[str, StaticFile]

    def routes(self) -> Sequence[Route]:
        """One for each; their number counts for nobody's limit."""
        return [
            Route(("GET", "HEAD"), file.path, self._handler(file), HEADERS, is_limited=False)
            for file in self.files.values()
        ]

    def _handler(self, file: StaticFile) -> Handler:
        async def handle(request: Request) -> Response:
            return Response(200, file.content, content_type=file.content_type)

        return handle
