"""What lists said of our addresses."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from sqlalchemy import Connection, delete, insert, select
from twisted.internet.defer import Deferred

from mailrelay.control.listings import Listing
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_row = tables.listing


@frozen
class DatabaseListings:
    """ListingRecords over one database."""

    database: Database

    def load(self) -> Deferred[Sequence[Listing]]:
        """See ListingRecords."""
        return self.database.read(_load)

    def put(self, listings: Sequence[Listing], zones: Sequence[str]) -> Deferred[None]:
        """See ListingRecords."""

        def work(connection: Connection) -> None:
            connection.execute(delete(_row).where(_row.c.zone.not_in(zones)))
            for one in listings:
                own = (_row.c.zone == one.zone) & (_row.c.address == one.address)
                connection.execute(delete(_row).where(own))
                connection.execute(
                    insert(_row).values(
                        zone=one.zone,
                        address=one.address,
                        listed_since=one.listed_since,
                        text=one.text,
                        checked_at=one.checked_at,
                        error=one.error,
                    )
                )

        return self.database.write(work)


def _load(connection: Connection) -> Sequence[Listing]:
    rows = connection.execute(select(_row).order_by(_row.c.zone, _row.c.address))
    return [
        Listing(row.zone, row.address, row.listed_since, row.text, row.checked_at, row.error)
        for row in rows
    ]
