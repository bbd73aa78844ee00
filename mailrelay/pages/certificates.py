"""The certificates of the listeners, as the administrator looks after them."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.certificates.desk import CannotAsk, CertificateDesk
from mailrelay.control.errors import Refusal
from mailrelay.net.threads import Executor
from mailrelay.net.tls import UnusableCertificate
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.web.request import Response, Route

PATH = "/admin/certificates"
DONE = {"renewed": "It is asked for. This page says how it went, within a minute or so."}


@frozen
class CertificatePages:
    """``/admin/certificates``."""

    doors: Doors
    desk: CertificateDesk
    executor: Executor

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(PATH, self.show),
            self.doors.admin_form(PATH, self.renew),
        ]

    async def show(self, asked: Asked) -> Response:
        """Each certificate: for whom, until when, where from, and what is wrong."""
        problem = ""
        try:
            found = await self.executor.run(self.desk.status)
        except UnusableCertificate as error:
            found, problem = (), str(error)
        return self.doors.page(
            asked,
            "admin_certificates.html",
            done=asked.done(DONE),
            problem=problem,
            certificates=found,
            orders=self.desk.store is not None,
        )

    async def renew(self, asked: Asked) -> Response:
        """Have one ordered again."""
        try:
            await self.executor.run(self.desk.renew, asked.value("name") or None)
        except CannotAsk as error:
            raise Refusal(str(error)) from None
        return see_other(f"{PATH}?done=renewed")
