"""An account's own messages (mailbox/access.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    UnaryExpression,
    delete,
    func,
    literal,
    select,
    update,
)
from twisted.internet.defer import Deferred

from mailrelay.mailbox.access import (
    UNREAD_AMONG,
    AlreadyInMailbox,
    Beside,
    MailboxPage,
    MailboxQuery,
    NoSuchMailbox,
    StoredMessage,
)
from mailrelay.mailbox.flags import moved_to
from mailrelay.mailbox.model import DEFAULT_MAILBOXES
from mailrelay.queue.store import ContentGone
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.mailbox import mailbox_message
from mailrelay.storage.queue import drop_unneeded_content, read_content
from mailrelay.storage.rows import verdict_of
from mailrelay.storage.spool import Spool

LOOKED_AT = 50_000
"""Rows, for one answer: a reader may not take long, and what is searched has no index."""

NEAR = 1000
"""Rows to each side among which the next of a mailbox is looked for."""

_message, _mailbox, _account = tables.mailbox_message, tables.mailbox, tables.account


@frozen
class DatabaseAccountMessages:
    """AccountMessages over one database."""

    database: Database
    spool: Spool

    def find(self, account_id: int, wanted: MailboxQuery) -> Deferred[MailboxPage]:
        """See AccountMessages."""
        return self.database.read(lambda c: _find(c, account_id, wanted))

    def mailboxes(self, account_id: int) -> Deferred[Sequence[str]]:
        """See AccountMessages."""
        named = select(_mailbox.c.name).where(_mailbox.c.account_id == account_id)
        return self.database.read(
            lambda c: sorted({*c.execute(named).scalars(), *DEFAULT_MAILBOXES})
        )

    def get(self, account_id: int, id_: int) -> Deferred[StoredMessage | None]:
        """See AccountMessages."""
        return self.database.read(lambda c: _get(c, account_id, id_))

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See AccountMessages."""
        return self.spool.read(name, offset, size)

    def unread(self, account_id: int, mailbox: str | None) -> Deferred[int]:
        """See AccountMessages."""
        return self.database.read(lambda c: _unread(c, account_id, mailbox))

    def beside(self, account_id: int, id_: int, mailbox: str) -> Deferred[Beside]:
        """See AccountMessages."""
        return self.database.read(lambda c: _beside(c, account_id, id_, mailbox))

    def delete_all(self, account_id: int, ids: Sequence[int]) -> Deferred[int]:
        """See AccountMessages."""

        def work(connection: Connection) -> list[Sequence[str]]:
            done = (_delete(connection, account_id, id_) for id_ in ids)
            return [names for names in done if names is not None]

        def done(each: list[Sequence[str]]) -> int:
            names = [name for names in each for name in names]
            if names:
                self.spool.remove(names)
            return len(each)

        return self.database.write(work).addCallback(done)

    def change_all(
        self,
        account_id: int,
        ids: Sequence[int],
        change: Callable[[Sequence[str]], Sequence[str]],
    ) -> Deferred[int]:
        """See AccountMessages."""
        return self.database.write(
            lambda c: sum(_change_flags(c, account_id, id_, change) for id_ in ids)
        )

    def delete(self, account_id: int, id_: int) -> Deferred[bool]:
        """See AccountMessages."""
        deleted = self.database.write(lambda c: _delete(c, account_id, id_))

        def done(names: Sequence[str] | None) -> bool:
            if names:
                self.spool.remove(names)
            return names is not None

        return deleted.addCallback(done)

    def change_flags(
        self, account_id: int, id_: int, change: Callable[[Sequence[str]], Sequence[str]]
    ) -> Deferred[bool]:
        """See AccountMessages."""
        return self.database.write(lambda c: _change_flags(c, account_id, id_, change))

    def move(self, account_id: int, id_: int, mailbox: str) -> Deferred[bool]:
        """See AccountMessages."""
        return self.database.write(lambda c: _move(c, account_id, id_, mailbox))


def _find(connection: Connection, account_id: int, wanted: MailboxQuery) -> MailboxPage:
    own = _message.c.account_id == account_id
    if wanted.before_id is not None:
        own &= _message.c.id < wanted.before_id
    conditions, last = _conditions(wanted), None
    if conditions:
        newest = select(_message.c.id).where(own).order_by(_message.c.id.desc())
        last = connection.execute(newest.offset(LOOKED_AT - 1).limit(1)).scalar()
    query = (
        select(_message, _mailbox.c.name.label("mailbox"))
        .join(_mailbox, _mailbox.c.id == _message.c.mailbox_id)
        .where(own, _message.c.id >= (last or 0), *conditions)
        .order_by(_message.c.id.desc())
        .limit(wanted.limit)
    )
    found = [mailbox_message(row) for row in connection.execute(query)]
    return MailboxPage(found, found[-1].id if len(found) == wanted.limit else last)


def _conditions(wanted: MailboxQuery) -> list[ColumnElement[bool]]:
    conditions = [
        _mailbox.c.name == wanted.mailbox if wanted.mailbox is not None else None,
        _message.c.received_at >= wanted.since if wanted.since is not None else None,
        _message.c.received_at < wanted.until if wanted.until is not None else None,
        _within(_message.c.reverse_path, wanted.sender),
        _within(_message.c.recipient, wanted.recipient),
        _within(_message.c.subject, wanted.subject),
        _has_flag(wanted.flag) if wanted.flag is not None else None,
        ~_has_flag(wanted.without_flag) if wanted.without_flag is not None else None,
        _message.c.size_bytes > wanted.larger_than if wanted.larger_than is not None else None,
        _message.c.size_bytes < wanted.smaller_than if wanted.smaller_than is not None else None,
    ]
    return [condition for condition in conditions if condition is not None]


def _unread(connection: Connection, account_id: int, mailbox: str | None) -> int:
    newest = (
        select(_message.c.flags, _message.c.mailbox_id)
        .where(_message.c.account_id == account_id)
        .order_by(_message.c.id.desc())
        .limit(UNREAD_AMONG)
        .subquery()
    )
    count = select(func.count()).where(~_has_flag("\\seen", newest.c.flags))
    if mailbox is not None:
        named = select(_mailbox.c.id).where(
            _mailbox.c.account_id == account_id, _mailbox.c.name == mailbox
        )
        count = count.where(newest.c.mailbox_id.in_(named))
    return connection.execute(count.select_from(newest)).scalar_one()


def _beside(connection: Connection, account_id: int, id_: int, mailbox: str) -> Beside:
    named = select(_mailbox.c.id).where(
        _mailbox.c.account_id == account_id, _mailbox.c.name == mailbox
    )
    place = connection.execute(named).scalar()

    def nearest(side: ColumnElement[bool], order: UnaryExpression[int]) -> int | None:
        own = (_message.c.account_id == account_id) & side
        near = select(_message.c.id, _message.c.mailbox_id).where(own).order_by(order).limit(NEAR)
        rows = connection.execute(near)
        return next((row.id for row in rows if row.mailbox_id == place), None)

    return Beside(
        nearest(_message.c.id > id_, _message.c.id.asc()),
        nearest(_message.c.id < id_, _message.c.id.desc()),
    )


def _change_flags(
    connection: Connection,
    account_id: int,
    id_: int,
    change: Callable[[Sequence[str]], Sequence[str]],
) -> bool:
    row = _row(connection, account_id, id_)
    if row is None:
        return False
    flags = " ".join(change(row.flags.split()))
    connection.execute(update(_message).where(_message.c.id == id_).values(flags=flags))
    return True


def _within(column: ColumnElement[str], text: str | None) -> ColumnElement[bool] | None:
    return None if text is None else column.icontains(text, autoescape=True)


def _has_flag(flag: str, column: ColumnElement[str] = _message.c.flags) -> ColumnElement[bool]:
    flags = literal(" ") + func.lower(column) + literal(" ")
    return flags.contains(f" {flag} ", autoescape=True)


def _row(connection: Connection, account_id: int, id_: int) -> Any:
    return connection.execute(
        select(
            _message,
            _mailbox.c.name.label("mailbox"),
            tables.message.c.door,
            tables.message.c.verdict,
        )
        .join(_mailbox, _mailbox.c.id == _message.c.mailbox_id)
        .outerjoin(tables.message, tables.message.c.id == _message.c.message_id)
        .where(_message.c.id == id_, _message.c.account_id == account_id)
    ).one_or_none()


def _get(connection: Connection, account_id: int, id_: int) -> StoredMessage | None:
    row = _row(connection, account_id, id_)
    if row is None:
        return None
    try:
        content = read_content(connection, row.message_id)
    except ContentGone:
        return None  # removed meanwhile
    return StoredMessage(
        mailbox_message(row),
        row.door or "",
        row.remote_ip,
        bytes(row.prefix),
        content,
        verdict_of(row.verdict),
    )


def _delete(connection: Connection, account_id: int, id_: int) -> Sequence[str] | None:
    row = _row(connection, account_id, id_)
    if row is None:
        return None
    connection.execute(delete(_message).where(_message.c.id == id_))
    connection.execute(
        update(_account)
        .where(_account.c.id == account_id)
        .values(used_bytes=_account.c.used_bytes - row.size_bytes)
    )
    return drop_unneeded_content(connection, [row.message_id])


def _move(connection: Connection, account_id: int, id_: int, mailbox: str) -> bool:
    row = _row(connection, account_id, id_)
    if row is None:
        return False
    place = connection.execute(
        select(_mailbox.c.id, _mailbox.c.uid_next).where(
            _mailbox.c.account_id == account_id, _mailbox.c.name == mailbox
        )
    ).one_or_none()
    if place is None:
        raise NoSuchMailbox(mailbox)
    if place.id == row.mailbox_id:
        raise AlreadyInMailbox(mailbox)
    connection.execute(
        update(_mailbox).where(_mailbox.c.id == place.id).values(uid_next=place.uid_next + 1)
    )
    flags = " ".join(moved_to(mailbox, row.flags.split()))
    connection.execute(
        update(_message)
        .where(_message.c.id == id_)
        .values(mailbox_id=place.id, uid=place.uid_next, flags=flags)
    )
    return True
