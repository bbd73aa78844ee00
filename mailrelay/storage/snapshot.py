"""Copies of a SQLite store that others use meanwhile, and whether its files are whole.

Nothing here writes to the store that it reads; SQLite gives files that it makes as root to the
owner of the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define
from sqlalchemy import Connection, create_engine, pool, select
from sqlalchemy.engine import make_url

from mailrelay.control.backup import CannotBackUp, Finding
from mailrelay.storage import tables
from mailrelay.storage.findings import rows_that_do_not_fit
from mailrelay.storage.stores import SPOOL_FOLDER

_content = tables.content
_STEPS_BETWEEN_LOOKS = 1000  # of SQLite's machine: about 10 MB of large rows


@define
class SQLiteSnapshots:
    """Snapshots (control/backup.py) of SQLite files and the spool folder beside them.

    ``progress`` is told of a copy's bytes, and of how many there are about, all the time.
    """

    progress: Callable[[int, int], None] = lambda done, whole: None

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
        at each of their commits.  Until it ends, no checkpoint makes the WAL shorter.
        """
        whole = _size(database) or 0
        try:
            with _raw(database) as connection:
                connection.set_progress_handler(
                    lambda: self.progress(_size(target) or 0, whole), _STEPS_BETWEEN_LOOKS
                )
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
            found += rows_that_do_not_fit(connection)
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
