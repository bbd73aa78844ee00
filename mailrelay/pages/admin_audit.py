"""Who changed what, for the administrator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.control.audit import AuditRecords, ChangeFilter
from mailrelay.pages.door import Asked, Doors, link
from mailrelay.web.request import Response, Route

PAGE = 100
LONGEST = 400

SINCE = {"hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0, "month": 30 * 86400.0}
"""Seconds."""

_TEXTS = ("actor", "action", "subject")


@frozen
class AuditPages:
    """``/admin/audit``."""

    doors: Doors
    records: AuditRecords
    now: Callable[[], float]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.admin("/admin/audit", self.list)]

    async def list(self, asked: Asked) -> Response:
        """Changes, the newest first."""
        query = {name: asked.value(name)[:LONGEST] for name in _TEXTS}
        query["since"] = asked.value("since") if asked.value("since") in SINCE else ""
        wanted = ChangeFilter(
            actor=query["actor"] or None,
            action=query["action"] or None,
            subject=query["subject"] or None,
            since=self.now() - SINCE[query["since"]] if query["since"] else None,
            before_id=asked.number("before"),
            limit=PAGE,
        )
        found = await self.records.find(wanted)
        more = link("/admin/audit", **query, before=found[-1].id) if len(found) == PAGE else ""
        return self.doors.page(
            asked,
            "admin_audit.html",
            changes=found,
            query=query,
            is_narrowed=any(query.values()),
            more_path=more,
        )
