"""The mailboxes' store (mailbox/model.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, bindparam, func, insert, literal_column, select, update
from twisted.internet.defer import Deferred, fail

from mailrelay.control.mailbox import Imported, MessageFilter, OverQuota
from mailrelay.mailbox.model import DEFAULT_MAILBOXES, Incoming, MailboxMessage
from mailrelay.message.header import parse_header
from mailrelay.message.words import decoded_words
from mailrelay.observe.events import NewEvent
from mailrelay.queue.entry import IMPORT, Content, EntryState, Message
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import printable
from mailrelay.storage import tables
from mailrelay.storage.calls import insert_incoming_calls
from mailrelay.storage.database import Database
from mailrelay.storage.directory import account_id, record_audit
from mailrelay.storage.group_commit import Operation
from mailrelay.storage.ids import IdBlocks
from mailrelay.storage.queue import insert_events, read_content
from mailrelay.storage.rows import NEVER_AT_FIRST, content_row, message_row
from mailrelay.storage.spool import Spool
from mailrelay.storage.statements import Insert, Prepared, Row
from mailrelay.storage.suppression import after_outcomes

_mailbox, _account, _message = tables.mailbox, tables.account, tables.mailbox_message

BLOCK_BYTES = 1024 * 1024

_insert = Insert(_message)
_insert_message = Insert(tables.message)
_insert_content = Insert(tables.content, but=NEVER_AT_FIRST)
_entry = tables.entry
_not_now = Prepared(
    select(_entry.c.id).where(
        _entry.c.id == bindparam("b_entry"),
        _entry.c.state != literal_column(str(EntryState.READY.value)),
    ),
    ("b_entry",),
)
_delivered = Prepared(
    select(_message.c.id).where(_message.c.entry_id == bindparam("b_entry")), ("b_entry",)
)


class DatabaseMailboxStore:
    """MailboxStore over one database."""

    def __init__(self, database: Database, ids: IdBlocks) -> None:
        self._database, self._ids = database, ids
        self._deliver = Operation("deliver", 3, _deliver_and_tell)
        self.committed: Callable[[Sequence[NewEvent]], None] = lambda events: None

    def new_id(self) -> int:
        """See MailboxStore."""
        return self._ids.new_id()

    def deliver(self, incoming: Incoming) -> Deferred[bool]:
        """See MailboxStore."""
        delivered = self._database.merge(self._deliver, incoming)
        return delivered.addCallback(self._announce, incoming)

    def _announce(self, delivered: _Delivered, incoming: Incoming) -> bool:
        if delivered.events or incoming.is_told:
            self.committed(delivered.events)
        return delivered.is_stored


@frozen
class _Delivered:
    """Whether a message is in its mailbox, and the events that were recorded with it."""

    is_stored: bool
    events: Sequence[NewEvent] = ()


def _deliver_and_tell(connection: Connection, items: Sequence[Incoming]) -> Sequence[_Delivered]:
    """Deliver; what was not there before is told of in the same transaction."""
    known = _known(connection, items)
    stored = deliver_all(connection, items)
    delivered = []
    calling = []
    for incoming, is_stored in zip(items, stored, strict=True):
        events: Sequence[NewEvent] = ()
        if is_stored and incoming.entry_id not in known:
            if incoming.event is not None:
                events = after_outcomes(connection, [incoming.event])
                insert_events(connection, events)
            if incoming.is_told:
                calling.append(incoming)
        delivered.append(_Delivered(is_stored, events))
    insert_incoming_calls(connection, calling)
    return delivered


def _known(connection: Connection, items: Sequence[Incoming]) -> set[int]:
    """The entries among those that tell something which were delivered before."""
    telling = [i.entry_id for i in items if i.event is not None or i.is_told]
    return {
        entry_id
        for entry_id in telling
        if entry_id is not None and _delivered.rows(connection, (entry_id,))
    }


@frozen
class DatabaseMailboxes:
    """MailboxRecords over one database."""

    database: Database
    spool: Spool
    ids: IdBlocks

    def find(self, wanted: MessageFilter) -> Deferred[Sequence[tuple[str, MailboxMessage]]]:
        """See MailboxRecords."""
        return self.database.read(lambda c: _find(c, wanted))

    def content(self, id_: int) -> Deferred[bytes | None]:
        """See MailboxRecords."""
        return Deferred.fromCoroutine(self._content(id_))

    async def _content(self, id_: int) -> bytes | None:
        found = await self.database.read(lambda c: _content(c, id_))
        if found is None:
            return None
        prefix, content = found
        head = prefix + content.prefix
        if content.body is not None:
            return head + content.body
        blocks = [head]
        offset = 0
        while block := await self.spool.read(content.spool_name or "", offset, BLOCK_BYTES):
            blocks.append(block)
            offset += len(block)
        return b"".join(blocks)

    def add(self, new: Imported, *, actor: str = "", now: float = 0.0) -> Deferred[int]:
        """See MailboxRecords."""
        try:
            ids = self.ids.new_id(), self.ids.new_id()
        except StoreUnavailable as error:
            return fail(error)

        def work(connection: Connection) -> int:
            added = _add(connection, new, *ids)
            if actor:
                subject = f"{new.account} {new.mailbox} {added}"
                record_audit(connection, now, actor, "message import", subject)
            return added

        return self.database.write(work)


def _find(connection: Connection, wanted: MessageFilter) -> list[tuple[str, MailboxMessage]]:
    query = (
        select(_account.c.name.label("account"), _mailbox.c.name.label("mailbox"), *_message.c)
        .join(_account, _account.c.id == _message.c.account_id)
        .join(_mailbox, _mailbox.c.id == _message.c.mailbox_id)
        .where(_message.c.id > wanted.after_id)
        .order_by(_message.c.id)
        .limit(wanted.limit)
    )
    if wanted.account is not None:
        query = query.where(_account.c.name == wanted.account)
    if wanted.mailbox is not None:
        query = query.where(_mailbox.c.name == wanted.mailbox)
    if wanted.ids is not None:
        query = query.where(_message.c.id.in_(wanted.ids))
    return [(row.account, mailbox_message(row)) for row in connection.execute(query)]


def mailbox_message(row: Any) -> MailboxMessage:
    """From a row of ``tables.mailbox_message`` with the mailbox's name as ``mailbox``."""
    return MailboxMessage(
        row.id,
        row.account_id,
        row.mailbox,
        row.uid,
        row.message_id,
        row.flags.split(),
        row.reverse_path,
        row.recipient,
        row.received_at,
        row.size_bytes,
        row.subject,
    )


def _content(connection: Connection, id_: int) -> tuple[bytes, Content] | None:
    row = connection.execute(
        select(_message.c.prefix, _message.c.message_id).where(_message.c.id == id_)
    ).one_or_none()
    if row is None:
        return None
    return bytes(row.prefix), read_content(connection, row.message_id)


def _add(connection: Connection, new: Imported, message_id: int, mailbox_id: int) -> int:
    """Store an imported message: a message of its own, with content and no entry."""
    id_ = account_id(connection, new.account)
    header = parse_header(new.content)
    subject = printable(decoded_words(header.first("subject") or ""), 500)
    size = len(new.content)
    message = Message(
        message_id, id_, None, new.received_at, size, IMPORT, header.first("message-id"), subject
    )
    _insert_message.many(connection, [message_row(message)])
    content = Content(b"", new.content, None, size)
    _insert_content.many(connection, [content_row(message_id, content)])
    incoming = Incoming(
        mailbox_id,
        id_,
        new.mailbox,
        message_id,
        None,
        None,
        Address("", ""),
        new.received_at,
        size,
        subject,
        b"",
        new.flags,
    )
    if not deliver_all(connection, [incoming])[0]:
        raise OverQuota(f"the quota of account {new.account} is used up")
    return mailbox_id


def deliver_all(connection: Connection, items: Sequence[Incoming]) -> Sequence[bool]:
    """Put each message in its mailbox, once per entry.

    False where the quota forbids it, and where the entry is held, or has ended, by now.
    """
    by_mailbox: dict[tuple[int, str], list[int]] = {}
    for index, incoming in enumerate(items):
        by_mailbox.setdefault((incoming.account_id, incoming.mailbox), []).append(index)
    stored = [False] * len(items)
    rows: list[Row] = []
    for (owner, name), indexes in by_mailbox.items():
        room = _room(connection, owner)
        mailbox_id, uid = _mailbox_of(connection, owner, name)
        used = 0
        for index in indexes:
            incoming = items[index]
            own = (incoming.entry_id,)
            known = incoming.entry_id is not None and _delivered.rows(connection, own)
            has_room = room is None or used + incoming.size_bytes <= room
            stored[index] = bool(known) or (has_room and not _not_now.rows(connection, own))
            if stored[index] and not known:
                used += incoming.size_bytes
                rows.append(_row(incoming, mailbox_id, uid))
                uid += 1
        _advance(connection, owner, mailbox_id, uid, used)
    _insert.many(connection, rows)
    return stored


def _room(connection: Connection, account_id: int) -> int | None:
    row = connection.execute(
        select(_account.c.quota_bytes, _account.c.used_bytes).where(_account.c.id == account_id)
    ).one_or_none()
    if row is None or row.quota_bytes is None:
        return None
    return int(row.quota_bytes) - int(row.used_bytes)


def _mailbox_of(connection: Connection, account_id: int, name: str) -> tuple[int, int]:
    """The mailbox's id and next UID; made with the account's others when it is missing."""
    wanted = select(_mailbox.c.id, _mailbox.c.uid_next).where(
        _mailbox.c.account_id == account_id, _mailbox.c.name == name
    )
    row = connection.execute(wanted).one_or_none()
    if row is None:
        make_mailboxes(connection, account_id, {name, *DEFAULT_MAILBOXES})
        row = connection.execute(wanted).one()
    return row.id, row.uid_next


def make_mailboxes(connection: Connection, account_id: int, names: set[str]) -> None:
    """Make those of ``names`` that the account does not have yet."""
    present = set(
        connection.execute(
            select(_mailbox.c.name).where(_mailbox.c.account_id == account_id)
        ).scalars()
    )
    validity = connection.execute(select(func.coalesce(func.max(_mailbox.c.id), 0))).scalar_one()
    for name in sorted(names - present):
        connection.execute(
            insert(_mailbox).values(
                account_id=account_id, name=name, uid_validity=validity + 1, uid_next=1
            )
        )


def _advance(
    connection: Connection, account_id: int, mailbox_id: int, uid_next: int, used: int
) -> None:
    connection.execute(
        update(_mailbox).where(_mailbox.c.id == mailbox_id).values(uid_next=uid_next)
    )
    if used:
        connection.execute(
            update(_account)
            .where(_account.c.id == account_id)
            .values(used_bytes=_account.c.used_bytes + used)
        )


def _row(incoming: Incoming, mailbox_id: int, uid: int) -> Row:
    return (
        incoming.id,
        incoming.account_id,
        mailbox_id,
        uid,
        incoming.message_id,
        incoming.entry_id,
        " ".join(incoming.flags),
        str(incoming.reverse_path or ""),
        str(incoming.recipient) if incoming.entry_id is not None else "",
        incoming.received_at,
        incoming.size_bytes,
        incoming.subject,
        incoming.prefix,
        incoming.remote_ip,
    )
