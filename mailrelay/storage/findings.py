"""Whether a store is whole: rows that do not fit together, on any database.

Nothing here writes.  All checks of one look are in one transaction, so that what a running server
changes meanwhile is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from mailrelay.control.backup import CannotBackUp, Finding
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.database import open_engine

_content, _entry, _message = tables.content, tables.entry, tables.message
_chunk = tables.content_chunk
_account, _mailbox, _stored = tables.account, tables.mailbox, tables.mailbox_message


def rows_that_do_not_fit(connection: Connection) -> list[Finding]:
    """What is wrong with the rows, as ``connection``'s transaction sees them."""
    return [finding for check in _CHECKS for finding in check(connection)]


def findings_on_server(url: str) -> list[Finding]:
    """What is wrong with a store on a database server.  Raises: CannotBackUp."""
    engine = open_engine(url, Path())
    try:
        with engine.connect().execution_options(
            read_only=True, isolation_level="REPEATABLE READ"
        ) as connection:
            # An operator waits for it, and it keeps nobody from writing.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            return [*rows_that_do_not_fit(connection), *_chunks(connection)]
    except SQLAlchemyError as error:
        reason = str(error).split("\n")[0]
        raise CannotBackUp(
            f"the database cannot be read: {reason}: does it run, has mailrelay started with it,"
            " and does [storage] url name it?"
        ) from error
    finally:
        engine.dispose()


def _entries(connection: Connection) -> Iterator[Finding]:
    """Every entry has its message, and while it lives, its content."""
    lost = select(_entry.c.id, _entry.c.message_id).where(
        _entry.c.message_id.not_in(select(_message.c.id))
    )
    for row in connection.execute(lost):
        yield Finding("entry", f"entry {row.id} has no message {row.message_id}")
    empty = select(_entry.c.id, _entry.c.message_id).where(
        _entry.c.state != EntryState.RETIRED.value,
        _entry.c.message_id.not_in(select(_content.c.message_id)),
    )
    for row in connection.execute(empty):
        yield Finding("entry", f"entry {row.id} waits, but message {row.message_id} has no content")


def _mailboxes(connection: Connection) -> Iterator[Finding]:
    """Every message in a mailbox has its content, and the mailbox its account."""
    lost = select(_stored.c.id, _stored.c.message_id).where(
        _stored.c.message_id.not_in(select(_content.c.message_id))
    )
    for row in connection.execute(lost):
        yield Finding("mailbox", f"message {row.id} has no content {row.message_id}")
    nowhere = select(_stored.c.id).where(_stored.c.mailbox_id.not_in(select(_mailbox.c.id)))
    for row in connection.execute(nowhere):
        yield Finding("mailbox", f"message {row.id} is in no mailbox")
    nobodys = select(_mailbox.c.id).where(_mailbox.c.account_id.not_in(select(_account.c.id)))
    for row in connection.execute(nobodys):
        yield Finding("mailbox", f"mailbox {row.id} is of no account")


def _quotas(connection: Connection) -> Iterator[Finding]:
    """What an account is said to use is the sum of its messages."""
    used = func.coalesce(func.sum(_stored.c.size_bytes), 0)
    sums = (
        select(_account.c.name, _account.c.used_bytes, used.label("used"))
        .outerjoin(_stored, _stored.c.account_id == _account.c.id)
        .group_by(_account.c.id)
        .having(used != _account.c.used_bytes)
    )
    for row in connection.execute(sums):
        yield Finding(
            "quota", f"account {row.name} is said to use {row.used_bytes} bytes, not {row.used}"
        )


def _owned(connection: Connection) -> Iterator[Finding]:
    """What belongs to an account belongs to one that there is."""
    for table in (tables.address, tables.webhook_endpoint, tables.suppression, tables.hold_rule):
        owner = table.c.account_id
        # 0 is the server's own, of suppressions.
        nobodys = select(table.c.id).where(owner != 0, owner.not_in(select(_account.c.id)))
        for row in connection.execute(nobodys):
            yield Finding("account", f"{table.name} {row.id} is of no account")


def _calls(connection: Connection) -> Iterator[Finding]:
    """Every attempt is of a call."""
    attempt, call = tables.call_attempt, tables.call
    lost = select(attempt.c.id, attempt.c.call_id).where(
        attempt.c.call_id.not_in(select(call.c.id))
    )
    for row in connection.execute(lost):
        yield Finding("webhook", f"attempt {row.id} is of no call {row.call_id}")


def _contents(connection: Connection) -> Iterator[Finding]:
    """A content that is a row is as long as it says."""
    wrong = select(_content.c.message_id).where(
        _content.c.spool_name.is_(None),
        func.coalesce(func.length(_content.c.body), -1) != _content.c.body_size_bytes,
    )
    for row in connection.execute(wrong):
        yield Finding("content", f"content {row.message_id} has not the size that it should")


def _chunks(connection: Connection) -> Iterator[Finding]:
    """A content in rows of its own has all of them, one after the other, as long as it says."""
    count, last = func.count(_chunk.c.number), func.coalesce(func.max(_chunk.c.number), -1)
    size = func.coalesce(func.sum(func.length(_chunk.c.data)), 0)
    wrong = (
        select(_content.c.message_id, _content.c.body_size_bytes, size.label("size"))
        .outerjoin(_chunk, _chunk.c.spool_name == _content.c.spool_name)
        .where(_content.c.spool_name.is_not(None))
        .group_by(_content.c.message_id, _content.c.body_size_bytes)
        .having((size != _content.c.body_size_bytes) | (count != last + 1))
    )
    for row in connection.execute(wrong):
        yield Finding(
            "content",
            f"content {row.message_id} has {row.size} bytes in its rows, not {row.body_size_bytes}",
        )


_CHECKS: tuple[Callable[[Connection], Iterator[Finding]], ...] = (
    _entries,
    _mailboxes,
    _quotas,
    _contents,
    _owned,
    _calls,
)
