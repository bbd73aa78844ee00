"""Where mail goes and why: routes and transports as configured, and a form that asks."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.explain import ExplainControl, WouldBe
from mailrelay.control.routes import way_text
from mailrelay.pages.door import Asked, Doors
from mailrelay.routing.route import Route as MailRoute
from mailrelay.routing.transports import NamedTransport
from mailrelay.web.request import Response, Route

FIELDS = ("sender", "recipient", "account", "client")
ANY_DOMAIN = "example.org"


@frozen
class ExplainPages:
    """``/admin/explain`` and ``/admin/routes``."""

    doors: Doors
    explain: ExplainControl

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin("/admin/explain", self.show),
            self.doors.admin("/admin/routes", self.configured),
        ]

    async def show(self, asked: Asked) -> Response:
        """What would become of a message, without sending it; nothing is kept of the question."""
        typed = {name: asked.value(name)[:512] for name in FIELDS}
        found: WouldBe | None = None
        problem = ""
        if typed["recipient"]:
            try:
                question = self.explain.question(
                    typed["sender"],
                    typed["recipient"],
                    typed["account"] or None,
                    typed["client"] or None,
                )
                found = await self.explain.explain(question)
            except Refusal as refusal:
                problem = str(refusal)
        return self.doors.page(
            asked,
            "admin_explain.html",
            422 if problem else 200,
            problem=problem,
            typed=typed,
            found=found,
            way_text=way_text,
        )

    async def configured(self, asked: Asked) -> Response:
        """Routes in the order in which they are asked, and the transports that they choose of."""
        current = self.explain.routes.router.current()
        return self.doors.page(
            asked,
            "admin_routes.html",
            routes=[(one, _fits(one), _goes(one)) for one in current.routes],
            transports=[(one.name, _way(one)) for one in current.transports.values()],
            default=None if current.relay_host is None else current.relay_host,
        )


def _fits(route: MailRoute) -> Sequence[str]:
    """What a route is for, in words."""
    said = []
    if route.domain != "*":
        said.append(f"to {route.domain}")
    if route.to_domain:
        said.append(f"to {', '.join(route.to_domain)} or below")
    if route.from_domain:
        said.append(f"from {', '.join(route.from_domain)} or below")
    if route.account is not None:
        said.append(f"of account {route.account}")
    if route.minimum_attempts:
        said.append(f"attempted {route.minimum_attempts} times")
    return said


def _goes(route: MailRoute) -> str:
    if route.transport is not None:
        return f"by transport {route.transport.name}"
    if route.relay_host is not None:
        return f"by {route.relay_host.host} port {route.relay_host.port}"
    return "thrown away" if route.discard else "by MX"


def _way(transport: NamedTransport) -> str:
    return way_text(transport.destination(ANY_DOMAIN).way).replace(
        f"of {ANY_DOMAIN}", "of the recipient's domain"
    )
