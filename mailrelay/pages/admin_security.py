"""How the administrator logs in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from mailrelay.pages.door import Asked, Doors
from mailrelay.pages.security import DONE, Security
from mailrelay.web.request import Response, Route


@frozen
class AdminSecurityPages:
    """``/admin/security``."""

    doors: Doors
    security: Callable[[Asked], Awaitable[Security]]

    def routes(self) -> list[Route]:
        """What is served."""
        return [self.doors.admin("/admin/security", self.show)]

    async def show(self, asked: Asked) -> Response:
        """Password, sessions, second factor."""
        return await self.page(asked, "", 200)

    async def page(self, asked: Asked, problem: str, status: int) -> Response:
        """The same, with what went wrong."""
        return self.doors.page(
            asked,
            "admin_security.html",
            status,
            done="" if problem else asked.done(DONE),
            problem=problem,
            security=await self.security(asked),
        )
