"""Databases for the storage tests: SQLite in a file, PostgreSQL on the server that is given."""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import TestCase

from mailrelay.net.threads import AtOnce, Executor
from mailrelay.storage.database import Database, migrate, open_engine
from mailrelay.storage.group_commit import GroupCommit
from mailrelay.storage.ids import IdBlocks, take_ids

if TYPE_CHECKING:
    Base = TestCase
else:
    Base = object

_numbers = count(1)
_template: list[str] = []


def temporary_directory(case: TestCase) -> Path:
    """A new directory for ``case``."""
    path = Path(os.path.abspath(case.mktemp()))
    path.mkdir()
    return path


def postgres_url() -> URL:
    """The server's.  A missing variable is an error: no test may be skipped for it."""
    return make_url(os.environ["MAILRELAY_TEST_POSTGRES"])


def administer(*statements: str) -> None:
    """Run ``statements`` on the server, outside of any transaction."""
    engine = create_engine(postgres_url(), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def empty_postgres(case: TestCase, *, migrated: bool = False) -> str:
    """The URL of a new PostgreSQL database, dropped when ``case`` ends."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    template = f" TEMPLATE {_migrated_template()}" if migrated else ""
    administer(f"CREATE DATABASE {name}{template}")
    case.addCleanup(administer, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return postgres_url().set(database=name).render_as_string(hide_password=False)


def _migrated_template() -> str:
    """A database with the newest schema: copying it is quicker than migrating each."""
    if not _template:
        name = f"template_{os.getpid()}"
        administer(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
        atexit.register(administer, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        url = postgres_url().set(database=name).render_as_string(hide_password=False)
        engine = open_engine(url, Path())
        migrate(engine)
        engine.dispose()
        _template.append(name)
    return _template[0]


def database_on(
    case: TestCase, engine: Engine, writer: Executor | None = None, readers: Executor | None = None
) -> Database:
    """A Database over ``engine``, closed when ``case`` ends; work is done at once by default."""
    group_commit = GroupCommit(engine, writer or AtOnce())
    case.addCleanup(engine.dispose)
    case.addCleanup(group_commit.close)
    return Database(engine, group_commit, readers or AtOnce())


class OnSQLite(Base):
    """Makes SQLite databases."""

    def make_url(self) -> str:
        """The URL of a new, migrated database."""
        url = f"sqlite:///{temporary_directory(self) / 'mailrelay.db'}"
        engine = open_engine(url, Path())
        migrate(engine)
        engine.dispose()
        return url

    def make_empty_url(self) -> str:
        """The URL of a database that has no tables."""
        return f"sqlite:///{temporary_directory(self) / 'mailrelay.db'}"

    def make_engine(self) -> Engine:
        """An engine for a new, migrated database."""
        return open_engine(self.make_url(), Path())


class OnPostgres(Base):
    """Makes PostgreSQL databases."""

    def make_url(self) -> str:
        """The URL of a new, migrated database."""
        return empty_postgres(self, migrated=True)

    def make_empty_url(self) -> str:
        """The URL of a database that has no tables."""
        return empty_postgres(self)

    def make_engine(self) -> Engine:
        """An engine for a new, migrated database."""
        return open_engine(self.make_url(), Path())


class Later:
    """An executor that runs its work when it is told to: what is in between can be looked at."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Deferred[Any], Callable[[], Any]]] = deque()

    def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See Executor."""
        fired: Deferred[Any] = Deferred()
        self.waiting.append((fired, lambda: work(*args, **kwargs)))
        return fired

    def step(self) -> None:
        """Do one piece of work and tell of it."""
        fired, work = self.waiting.popleft()
        execute(work).chainDeferred(fired)

    def flush(self) -> None:
        """Do all of the work, and what comes of it."""
        while self.waiting:
            self.step()


def ids_of(database: Database, block: int = 1000) -> IdBlocks:
    """Ids for ``database``."""
    ids = IdBlocks(database, block)
    with database.engine.begin() as connection:
        ids.use(take_ids(connection, block))
    return ids
