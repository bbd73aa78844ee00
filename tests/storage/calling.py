"""What tests of webhook calls stand on: accounts, entries, and outcomes that are told of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Entry, Finished
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.calls import DatabaseCallStore
from mailrelay.storage.mailbox import DatabaseMailboxStore
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, database_on, ids_of
from tests.storage.values import new_message

URL = "https://app.example.org/out"


class Calling(Base):
    """A store of calls with two accounts, of which one is told what becomes of its mail."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """One node, and an account that is called for everything."""
        self.database = database_on(self, self.make_engine())
        with self.database.engine.begin() as connection:
            node = register(connection, "main")
            self.add_account(connection, 1, URL)
            self.add_account(connection, 2, None)
        spool = RowSpool(self.database, lambda: "0" * 32)
        self.queue = DatabaseQueueStore(self.database, ids_of(self.database), node, spool)
        self.records = DatabaseQueueRecords(self.database, lambda: node, lambda names: None)
        self.calls = DatabaseCallStore(self.database, node)
        self.mailboxes = DatabaseMailboxStore(self.database, ids_of(self.database))
        self.told: list[NewEvent] = []
        self.queue.committed = self.told.extend

    def add_account(self, connection: Any, id_: int, url: str | None, events: str = "[]") -> None:
        """An account, with a webhook for outgoing messages if there is a ``url``."""
        connection.execute(
            insert(tables.account).values(
                id=id_, name=f"a{id_}", full_name="", login_disabled=False, used_bytes=0
            )
        )
        if url is not None:
            connection.execute(
                insert(tables.webhook_endpoint).values(
                    account_id=id_, kind="outgoing", url=url, authorization="x", events=events
                )
            )

    async def entry(self, account_id: int = 1, recipient: str = "r@example.net") -> Entry:
        """An entry of an account's message, claimed and begun."""
        new = new_message(
            self.queue,
            message={"account_id": account_id, "message_id": "<1@x>", "extra": {"k": "v"}},
            recipient=Address.parse(recipient),
            from_id="abc",
            epoch=self.queue.epoch,
        )
        await self.queue.add(new)
        return new.entries[0]

    async def ended(
        self,
        entry: Entry,
        kind: EventKind,
        data: dict[str, object] | None = None,
        at: float = 200.0,
    ) -> bool:
        """Record an outcome of ``entry``; whether it was recorded."""
        known = {"recipient": str(entry.recipient), **(data or {})}
        event = NewEvent(kind, at, entry.message.id, entry.id, entry.message.account_id, known)
        until = None if kind is EventKind.DELAYED else at + 800
        finished = Finished(entry.id, entry.epoch, at + 100, event, until, unbegun=True)
        [recorded] = await self.queue.finish_attempts([finished], [])
        return recorded
