"""The database: engines, the group-commit writer, readers, migration at start."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from attrs import frozen
from sqlalchemy import Connection, Engine, create_engine, event, pool
from sqlalchemy.engine import URL, make_url
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailrelay.net.threads import Executor
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage.group_commit import (
    TRANSACTION_ID,
    GroupCommit,
    Operation,
    is_store_trouble,
)

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
T = TypeVar("T")

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's write; none of ours lasts over 50 ms."""

READ_CAP = 1.0
"""Seconds a reader's statement may last: a long reader keeps checkpoints from finishing."""

_STEPS_BETWEEN_LOOKS = 20_000
_WRITE_LOCK = 7235015


class UnusableDatabase(Exception):
    """The database cannot be used; the message says why and what to do."""


@frozen
class Database:
    """One store: writes go through ``writer``, reads run on threads of their own."""

    engine: Engine
    writer: GroupCommit
    readers: Executor
    read_cap: float = READ_CAP

    @property
    def is_sqlite(self) -> bool:
        """Whether the dialect is SQLite's."""
        return self.engine.dialect.name == "sqlite"

    def write(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """See GroupCommit."""
        return self.writer.write(work)

    def merge(self, operation: Operation[I, R], item: I) -> Deferred[R]:
        """See GroupCommit."""
        return self.writer.merge(operation, item)

    def read(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run ``work`` on a reader's connection.  Fails with StoreUnavailable."""
        reading = self.readers.run(_read, self.engine, self.read_cap, work)
        return reading.addErrback(as_unavailable)


def _read(engine: Engine, cap: float, work: Callable[[Connection], T]) -> T:
    with (
        engine.connect().execution_options(read_only=True) as connection,
        _capped(connection, cap),
    ):
        return work(connection)


@contextmanager
def _capped(connection: Connection, cap: float) -> Iterator[None]:
    """Have statements of ``connection`` broken off that last longer than ``cap`` seconds."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(cap * 1000)}")
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    until = time.monotonic() + cap  # a thread's own work, not the simulated clock's
    raw.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def as_unavailable(failure: Failure) -> Any:
    """An errback: trouble of the store, whatever raised it, becomes StoreUnavailable."""
    if isinstance(failure.value, Exception) and is_store_trouble(failure.value):
        raise StoreUnavailable(str(failure.value).split("\n")[0]) from failure.value
    return failure


def open_engine(url: str, data_dir: Path) -> Engine:
    """An engine for ``url``; a SQLite path is relative to ``data_dir``.  Touches nothing yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, data_dir)
    if parsed.get_backend_name() == "postgresql":
        return _postgres_engine(parsed)
    raise UnusableDatabase(
        f"{url}: not a sqlite:/// or postgresql+psycopg:// URL: set [storage] url to one"
    )


def _sqlite_engine(url: URL, data_dir: Path) -> Engine:
    path = data_dir / (url.database or "mailrelay.db")
    engine = create_engine(
        URL.create("sqlite", database=os.fspath(path)),
        poolclass=pool.QueuePool,
        pool_size=8,
        connect_args={
            "timeout": BUSY_TIMEOUT,
            "check_same_thread": False,
            "cached_statements": 1024,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, see below
        cursor = connection.cursor()
        if not cursor.execute("PRAGMA page_count").fetchone()[0]:
            cursor.execute("PRAGMA page_size = 8192")
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits
        cursor.execute("PRAGMA wal_autocheckpoint = 0")  # see storage/upkeep.py
        # Debian's SQLite overwrites what is deleted, and so writes each content's pages twice.
        cursor.execute("PRAGMA secure_delete = FAST")
        cursor.execute("PRAGMA cache_size = -16384")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer would fail with SQLITE_BUSY_SNAPSHOT: say so from the start.
        write = connection.get_execution_options().get("read_only") is not True
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres_engine(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url, pool_size=8, pool_pre_ping=False)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")
            cursor.execute("SET statement_timeout = '60s'")
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("read_only") is True:
            return
        # One writer at a time, as on SQLite: positions are in commit order, no two transactions
        # wait for each other, and two nodes that start together do not both migrate.
        row = connection.exec_driver_sql(
            f"SELECT pg_advisory_xact_lock({_WRITE_LOCK}), pg_current_xact_id()::text"
        ).one()
        connection.info[TRANSACTION_ID] = row[1]

    return engine


def migrate(engine: Engine, to: str = "head") -> None:
    """Bring the schema up to date, or to the revision ``to``, in one transaction.

    Raises: UnusableDatabase when it was made by a newer mailrelay, or cannot be opened.
    """
    scripts = _scripts()
    wanted = scripts.get_current_head() if to == "head" else to

    def upgrade(revision: object, _: object) -> Any:
        return scripts._upgrade_revs(to, revision)  # type: ignore[arg-type]

    try:
        with engine.begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            if current == wanted:
                return
            if current is not None and current not in {
                s.revision for s in scripts.walk_revisions()
            }:
                raise UnusableDatabase(
                    f"the database is at schema {current}, which this mailrelay does not know:"
                    " it was made by a newer one. Run that, or restore a backup"
                )
            context = MigrationContext.configure(connection, opts={"fn": upgrade})
            with Operations.context(context):
                context.run_migrations()
    except (OSError, StoreUnavailable) as error:
        raise UnusableDatabase(_cannot_open(engine, error)) from error
    except Exception as error:
        if is_store_trouble(error):
            raise UnusableDatabase(_cannot_open(engine, error)) from error
        raise
    if engine.dialect.name == "sqlite":
        _sync_directory(Path(engine.url.database or "."))


@cache
def _scripts() -> ScriptDirectory:
    """The migrations, read once."""
    config = Config()
    config.set_main_option("script_location", str(files("mailrelay.storage") / "migrations"))
    return ScriptDirectory.from_config(config)


def _cannot_open(engine: Engine, error: Exception) -> str:
    """What is wrong and where to look; no password."""
    reason = str(error).split("\n")[0]
    if engine.dialect.name == "sqlite":
        remedy = "its folder must be there, with room, and it and its files the server's user's"
        return f"the database {engine.url.database} cannot be opened: {reason}: {remedy}"
    place = engine.url.render_as_string()
    return f"the database {place} cannot be opened: {reason}: does it run, is [storage] url right?"


def _sync_directory(path: Path) -> None:
    """A new file survives power loss only once its folder is synced."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
