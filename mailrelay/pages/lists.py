"""Lists in DNS that are watched for our own addresses, as the administrator sees them."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.control.listings import ListingRecords
from mailrelay.pages.door import Asked, Doors
from mailrelay.web.request import Response, Route


@frozen
class ListPages:
    """``/admin/lists``.  ``watched`` are the lists that are asked now."""

    doors: Doors
    records: ListingRecords
    watched: Sequence[str]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.admin("/admin/lists", self.show)]

    async def show(self, asked: Asked) -> Response:
        """What each list said last of each address; those that list one first."""
        found = [one for one in await self.records.load() if one.zone in self.watched]
        return self.doors.page(
            asked,
            "admin_lists.html",
            listings=sorted(found, key=lambda one: (not one.is_listed, not one.error)),
            unasked=[zone for zone in self.watched if zone not in {one.zone for one in found}],
        )
