"""Whom greylisting has met."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection, bindparam, delete, or_, select
from twisted.internet.defer import Deferred

from mailrelay.acceptance.greylisting import Triplet
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.statements import Insert, Prepared

_row = tables.greylisted
_own = _row.c.key_hash == bindparam("b_key")
_find = Prepared(select(_row.c.first_at, _row.c.last_at, _row.c.passed_at).where(_own), ("b_key",))
_forget = Prepared(delete(_row).where(_own), ("b_key",))
_insert = Insert(_row)


@frozen
class DatabaseGreylist:
    """GreylistStore over one database."""

    database: Database

    def find(self, key: bytes) -> Deferred[Triplet | None]:
        """See GreylistStore."""

        def work(connection: Connection) -> Triplet | None:
            found = _find.rows(connection, (key,))
            return Triplet(key, *found[0]) if found else None

        return self.database.read(work)

    def keep(self, triplet: Triplet) -> Deferred[None]:
        """See GreylistStore."""

        def work(connection: Connection) -> None:
            _forget.many(connection, [(triplet.key,)])
            row = (triplet.key, triplet.first_at, triplet.last_at, triplet.passed_at)
            _insert.many(connection, [row])

        return self.database.write(work)

    def sweep(self, new_before: float, passed_before: float, limit: int) -> Deferred[int]:
        """See GreylistStore."""

        def work(connection: Connection) -> int:
            is_over = or_(
                _row.c.last_at <= passed_before,
                (_row.c.last_at <= new_before) & _row.c.passed_at.is_(None),
            )
            over = select(_row.c.key_hash).where(is_over).order_by(_row.c.last_at).limit(limit)
            gone = connection.execute(delete(_row).where(_row.c.key_hash.in_(over)))
            return int(gone.rowcount)

        return self.database.write(work)
