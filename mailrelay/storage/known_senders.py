"""Whose mail accounts have taken before."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from sqlalchemy import Connection, delete, insert, select, tuple_, update
from twisted.internet.defer import Deferred

from mailrelay.storage import tables
from mailrelay.storage.database import Database

_row = tables.known_sender
_KEY = (_row.c.account_id, _row.c.sender)


@frozen
class DatabaseKnownSenders:
    """KnownSenderStore over one database."""

    database: Database

    def known_to(self, accounts: Sequence[int], sender: str) -> Deferred[dict[int, float]]:
        """See KnownSenderStore."""

        def work(connection: Connection) -> dict[int, float]:
            mine = select(_row.c.account_id, _row.c.last_at).where(
                _row.c.account_id.in_(accounts), _row.c.sender == sender
            )
            return {account: last_at for account, last_at in connection.execute(mine).all()}

        return self.database.read(work)

    def met(self, accounts: Sequence[int], sender: str, at: float) -> Deferred[None]:
        """See KnownSenderStore."""

        def work(connection: Connection) -> None:
            for account in accounts:
                own = (_row.c.account_id == account) & (_row.c.sender == sender)
                again = connection.execute(update(_row).where(own).values(last_at=at))
                if again.rowcount:
                    continue
                row = {"account_id": account, "sender": sender, "first_at": at, "last_at": at}
                connection.execute(insert(_row).values(row))

        return self.database.write(work)

    def sweep(self, before: float, limit: int) -> Deferred[int]:
        """See KnownSenderStore."""

        def work(connection: Connection) -> int:
            over = select(*_KEY).where(_row.c.last_at <= before).limit(limit)
            gone = connection.execute(delete(_row).where(tuple_(*_KEY).in_(over)))
            return int(gone.rowcount)

        return self.database.write(work)
