"""What explaining asks of the store."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from mailrelay.control.explain import NewRecipients
from mailrelay.storage.conditions import knows_recipient, used_new_recipients
from mailrelay.storage.database import Database


@frozen
class DatabaseExplainRecords:
    """ExplainRecords over one database."""

    database: Database

    def new_recipients(
        self, account_id: int, recipient: str, now: float
    ) -> Deferred[NewRecipients]:
        """See ExplainRecords."""

        def read(connection: Connection) -> NewRecipients:
            return NewRecipients(
                used_new_recipients(connection, account_id, now),
                knows_recipient(connection, account_id, recipient),
            )

        return self.database.read(read)
