"""Copies of a SQLite store that others use meanwhile, and whether a store is whole.

Nothing here writes to the store that it reads; SQLite gives files that it makes as root to the
owner of the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, pool, select, text
from sqlalchemy.engine import make_url

from mailrelay.control.backup import CannotBackUp, Finding
from mailrelay.queue.entry import EntryState
from mailrelay.storage import tables
from mailrelay.storage.stores import SPOOL_FOLDER

_content, _entry, _message = tables.content, tables.entry, tables.message
_account, _mailbox, _stored = tables.account, tables.mailbox, tables.mailbox_message


class SQLiteSnapshots:
    """Snapshots (control/backup.py) of SQLite files and the spool folder beside them."""

    def database_file(self, url: str, data_dir: Path) -> Path | None:
        """See Snapshots."""
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return None
        return data_dir / (parsed.database or "mailrelay.db")

    def spool_folder(self, data_dir: Path) -> Path:
        """See Snapshots."""
        return data_dir / SPOOL_FOLDER

    def is_in_use(self, database: Path) -> bool:
        """See Snapshots.  Every open connection of a WAL database holds a shared lock on it."""
        connection = sqlite3.connect(database, timeout=0.0, isolation_level=None)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            connection.close()
        return False

    def copy_database(self, database: Path, target: Path) -> None:
        """See Snapshots.

        VACUUM INTO reads in one transaction, and writers go on; the backup API would begin anew
        at each of their commits.
        """
        try:
            with _raw(database) as connection:
                connection.execute("VACUUM INTO ?", (str(target),))
        except sqlite3.Error as error:
            raise CannotBackUp(f"{database} cannot be copied to {target}: {error}") from error

    def spooled(self, database: Path) -> dict[str, int]:
        """See Snapshots."""
        column = _content.c.spool_name
        wanted = select(column, _content.c.body_size_bytes).where(column.is_not(None))
        with _reading(database) as connection:
            return {row[0]: row[1] for row in connection.execute(wanted)}

    def findings(self, database: Path, spool: Path) -> list[Finding]:
        """See Snapshots."""
        found: list[Finding] = []
        with _reading(database) as connection:
            for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
                if line != "ok":
                    found.append(Finding("database", str(line)))
            for check in _CHECKS:
                found += check(connection)
        sizes = self.spooled(database)
        wrong = {name for name, size in sizes.items() if _size(spool / name) != size}
        # A running server removes what is no longer needed: only what is still named is missed.
        for name in sorted(wrong & set(self.spooled(database)) if wrong else ()):
            seen = _size(spool / name)
            size = "is missing" if seen is None else f"has {seen} bytes, not {sizes[name]}"
            found.append(Finding("spool", f"file {name} {size}"))
        return found


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


@contextmanager
def _raw(database: Path) -> Iterator[sqlite3.Connection]:
    if not database.exists():
        raise CannotBackUp(f"there is no database {database}")
    uri = f"{database.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _reading(database: Path) -> Iterator[Connection]:
    """One read transaction on ``database``.  Raises: CannotBackUp."""
    with _raw(database) as raw:
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=pool.StaticPool)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                yield connection
        except Exception as error:
            if isinstance(getattr(error, "orig", error), sqlite3.Error):
                reason = str(error).split("\n")[0]
                raise CannotBackUp(f"{database} cannot be read: {reason}") from error
            raise


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
    used = func.coalesce(func.sum(_stored.c.size_bytes), 0).label("used")
    sums = (
        select(_account.c.name, _account.c.used_bytes, used)
        .outerjoin(_stored, _stored.c.account_id == _account.c.id)
        .group_by(_account.c.id)
        .having(text("used <> account.used_bytes"))
    )
    for row in connection.execute(sums):
        yield Finding(
            "quota", f"account {row.name} is said to use {row.used_bytes} bytes, not {row.used}"
        )


def _contents(connection: Connection) -> Iterator[Finding]:
    """A content that is a row is as long as it says."""
    wrong = select(_content.c.message_id).where(
        _content.c.spool_name.is_(None),
        func.coalesce(func.length(_content.c.body), -1) != _content.c.body_size_bytes,
    )
    for row in connection.execute(wrong):
        yield Finding("content", f"content {row.message_id} has not the size that it should")


_CHECKS: tuple[Callable[[Connection], Iterator[Finding]], ...] = (
    _entries,
    _mailboxes,
    _quotas,
    _contents,
)
