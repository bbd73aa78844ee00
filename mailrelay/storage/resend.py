"""What is still there of the messages that accounts sent (control/resend.py) over Core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from sqlalchemy import Connection, exists, or_, select, text
from twisted.internet.defer import Deferred

from mailrelay.queue.entry import Content
from mailrelay.queue.store import ContentGone
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.queue import read_content
from mailrelay.storage.spool import Spool

SENT = "Sent"

_message, _content, _entry = tables.message, tables.content, tables.entry
_stored, _mailbox = tables.mailbox_message, tables.mailbox


@frozen
class DatabaseSentContents:
    """SentContents over one database."""

    database: Database
    spool: Spool

    def find(self, account_id: int, message_id: int) -> Deferred[Content | None]:
        """See SentContents."""
        return self.database.read(lambda c: _find(c, account_id, message_id))

    def copy(self, account_id: int, message_id: int) -> Deferred[int | None]:
        """See SentContents."""
        return self.database.read(lambda c: (_copy(c, account_id, message_id) or (None,))[0])

    def reports(self, account_id: int, report_ids: Sequence[int]) -> Deferred[Mapping[int, int]]:
        """See SentContents."""
        wanted = select(_stored.c.message_id, _stored.c.id).where(
            _stored.c.account_id == account_id, _stored.c.message_id.in_(report_ids)
        )
        return self.database.read(lambda c: {row[0]: row[1] for row in c.execute(wanted)})

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See SentContents."""
        return self.spool.read(name, offset, size)


def _find(connection: Connection, account_id: int, message_id: int) -> Content | None:
    copy = _copy(connection, account_id, message_id)
    if copy is None and not _is_there(connection, account_id, message_id):
        return None
    try:
        return read_content(connection, message_id if copy is None else copy[1])
    except ContentGone:
        return None


def _is_there(connection: Connection, account_id: int, message_id: int) -> bool:
    """Whether it waits, or is kept; that another account has it in a mailbox does not count."""
    of_message = _entry.c.message_id == message_id
    wanted = select(_content.c.message_id).where(
        _content.c.message_id == message_id,
        exists().where(_message.c.id == message_id, _message.c.account_id == account_id),
        or_(
            exists().where(of_message, text("entry.state <> 2")),
            _content.c.kept_until.is_not(None),
        ),
    )
    return connection.execute(wanted).scalar() is not None


def _copy(connection: Connection, account_id: int, message_id: int) -> tuple[int, int] | None:
    """Ids of the account's copy, and of the message whose content that is.

    It was delivered to the account itself, or put into Sent under the same Message-ID.
    """
    sent = connection.execute(
        select(_message.c.message_id).where(
            _message.c.id == message_id, _message.c.account_id == account_id
        )
    ).one_or_none()
    if sent is None:
        return None
    own = _stored.c.account_id == account_id
    delivered = select(_stored.c.id, _stored.c.message_id).where(
        own, _stored.c.message_id == message_id
    )
    row = connection.execute(delivered.order_by(_stored.c.id).limit(1)).one_or_none()
    if row is None and sent.message_id is not None:
        kept = (
            select(_stored.c.id, _stored.c.message_id)
            .join(_message, _message.c.id == _stored.c.message_id)
            .join(_mailbox, _mailbox.c.id == _stored.c.mailbox_id)
            .where(own, _mailbox.c.name == SENT)
            .where(_message.c.message_id == sent.message_id, _message.c.account_id == account_id)
            .order_by(_stored.c.id)
            .limit(1)
        )
        row = connection.execute(kept).one_or_none()
    return None if row is None else (row[0], row[1])
