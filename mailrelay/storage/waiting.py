"""Messages that wait in the queue, by their entries, for links that lead to them."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from sqlalchemy import Connection, text
from twisted.internet.defer import Deferred

from mailrelay.mailbox.access import StoredMessage
from mailrelay.mailbox.model import MailboxMessage
from mailrelay.queue.copy import copy_of
from mailrelay.queue.entry import Content, Entry
from mailrelay.queue.store import ContentGone
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.entry_views import entry_views, every_entry
from mailrelay.storage.queue import read_content
from mailrelay.storage.spool import Spool


@frozen
class DatabaseWaitingMessages:
    """StoredMessages over one database; ``front`` is what stands above an entry's content."""

    database: Database
    spool: Spool
    front: Callable[[Entry], bytes]

    def get(self, account_id: int, id_: int) -> Deferred[StoredMessage | None]:
        """The message of an entry; None when it waits no more."""
        return Deferred.fromCoroutine(self._message(id_))

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See StoredMessages."""
        return self.spool.read(name, offset, size)

    async def _message(self, id_: int) -> StoredMessage | None:
        found = await self.database.read(lambda c: _waiting(c, id_))
        if found is None:
            return None
        entry, content = found
        copy = await copy_of(content, entry.edit, self.spool.read)
        return _stored(entry, copy, self.front(entry))


def _waiting(connection: Connection, id_: int) -> tuple[Entry, Content] | None:
    wanted = every_entry().where(tables.entry.c.id == id_, text("entry.state <> 2"))
    for view in entry_views(connection, wanted):
        try:
            return view.entry, read_content(connection, view.entry.message.id)
        except ContentGone:
            return None
    return None


def _stored(entry: Entry, content: Content, front: bytes) -> StoredMessage:
    message = entry.message
    listed = MailboxMessage(
        entry.id,
        0,
        "",
        0,
        message.id,
        (),
        str(entry.reverse_path or ""),
        str(entry.recipient),
        message.received_at,
        len(front) + content.size_bytes,
        message.subject,
    )
    return StoredMessage(listed, message.door, message.remote_ip, front, content, message.verdict)
