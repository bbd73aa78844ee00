"""Migrations: from nothing, killed half way, met by two starters, refused when newer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.storage import tables
from mailrelay.storage.database import UnusableDatabase, migrate, open_engine
from tests.storage.databases import Base, OnPostgres, OnSQLite, temporary_directory

KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from alembic.operations import Operations
from mailrelay.storage.database import migrate, open_engine
real, left = Operations.create_table, [int(sys.argv[2])]
def create_table(self, *arguments, **named):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return real(self, *arguments, **named)
Operations.create_table = create_table
migrate(open_engine(sys.argv[1], Path()))
"""
STARTER = """
import sys
from pathlib import Path
from mailrelay.storage.database import migrate, open_engine
engine = open_engine(sys.argv[1], Path())
print("ready", flush=True)
sys.stdin.readline()
migrate(engine)
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs ``script``."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class MigrationContract(Base):
    """What is promised of migrations on every database."""

    def make_empty_url(self) -> str:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make an empty database."""
        self.url = self.make_empty_url()
        self.engine = open_engine(self.url, Path())
        self.addCleanup(self.engine.dispose)

    def names(self) -> set[str]:
        """The tables that are there."""
        return set(inspect(self.engine).get_table_names()) - {"sqlite_sequence"}

    def assert_complete(self) -> None:
        """The schema is what ``tables`` says, and its version is told."""
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection)
            self.assertEqual(compare_metadata(context, tables.metadata), [])
            self.assertIsNotNone(context.get_current_revision())

    def test_from_nothing(self) -> None:
        """The migrations make what the statements expect: tables, columns and indexes."""
        migrate(self.engine)
        self.assert_complete()

    def test_again(self) -> None:
        """A database that is up to date is left as it is."""
        migrate(self.engine)
        with self.engine.begin() as connection:
            connection.execute(tables.setting.insert().values(name="kept", value="v"))
        migrate(self.engine)
        with self.engine.connect() as connection:
            self.assertEqual(
                connection.exec_driver_sql("SELECT name FROM setting").scalar(), "kept"
            )

    def test_from_the_first_schema(self) -> None:
        """What an older mailrelay stored is there after the migration, with the newest schema."""
        migrate(self.engine, "0001")
        row = {c.name: 7 for c in tables.entry.columns if not c.nullable} | {"notify": ""}
        with self.engine.begin() as connection:
            self.assertNotEqual(
                compare_metadata(MigrationContext.configure(connection), tables.metadata), []
            )
            connection.execute(tables.entry.insert().values(row | {"recipient": "a@b", "state": 0}))
        migrate(self.engine)
        self.assert_complete()
        with self.engine.connect() as connection:
            found = connection.execute(select(tables.entry)).one()._asdict()
        self.assertEqual((found["id"], found["recipient"]), (7, "a@b"))

    def test_newer_is_refused(self) -> None:
        """A database of a newer mailrelay is refused, with what to do, and not touched."""
        migrate(self.engine)
        with self.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with self.assertRaises(UnusableDatabase) as caught:
            migrate(self.engine)
        self.assertIn("9999", str(caught.exception))
        self.assertIn("newer", str(caught.exception))
        with self.engine.connect() as connection:
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            self.assertEqual(version, "9999")

    def test_killed_half_way(self) -> None:
        """A migration that was killed left nothing, and the next start does it whole."""
        for after in (0, 7):
            killed = python(KILLED_HALF_WAY, self.url, str(after))
            _, errors = killed.communicate(timeout=60)
            self.assertEqual(killed.returncode, -signal.SIGKILL, errors)
            self.assertEqual(self.names(), set())
        migrate(self.engine)
        self.assert_complete()

    def test_two_starters_at_once(self) -> None:
        """Of processes that start together one migrates; the others find it done."""
        starters = [python(STARTER, self.url) for _ in range(3)]
        for starter in starters:
            assert starter.stdout is not None
            self.assertEqual(starter.stdout.readline(), "ready\n")
        for starter in starters:
            assert starter.stdin is not None
            starter.stdin.write("go\n")
            starter.stdin.flush()
        ended = [starter.communicate(timeout=60) for starter in starters]
        self.assertEqual([s.returncode for s in starters], [0, 0, 0], ended)
        self.assert_complete()


class SQLiteTests(MigrationContract, OnSQLite, TestCase):
    """On SQLite."""

    make_empty_url = OnSQLite.make_empty_url

    def test_settings_of_the_file(self) -> None:
        """Page size and vacuum are set before the first table: later is too late."""
        migrate(self.engine)
        expected = {"page_size": 8192, "auto_vacuum": 2, "journal_mode": "wal", "synchronous": 2}
        with self.engine.connect() as connection:
            found = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in expected}
        self.assertEqual(found, expected)


class PostgresTests(MigrationContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_empty_url = OnPostgres.make_empty_url

    def test_commits_are_synchronous(self) -> None:
        """Whatever the server's default is, our commits wait for the disk."""
        with self.engine.connect() as connection:
            shown = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
        self.assertEqual(shown, "on")


class UnusableTests(SynchronousTestCase):
    """Databases that cannot be opened are said to be so."""

    def test_not_a_database(self) -> None:
        """A file that is something else is refused, and stays as it was."""
        path = temporary_directory(self) / "mailrelay.db"  # type: ignore[arg-type]
        path.write_bytes(b"something else entirely\n" * 100)
        engine = open_engine(f"sqlite:///{path}", Path())
        self.addCleanup(engine.dispose)
        with self.assertRaises(UnusableDatabase):
            migrate(engine)
        self.assertTrue(path.read_bytes().startswith(b"something else"))

    def test_no_such_folder(self) -> None:
        """A path that cannot be is refused."""
        engine = open_engine("sqlite:////nonexistent/folder/mailrelay.db", Path())
        with self.assertRaises(UnusableDatabase) as caught:
            migrate(engine)
        self.assertIn("/nonexistent/folder/mailrelay.db", str(caught.exception))

    def test_no_server(self) -> None:
        """A PostgreSQL that does not answer is refused."""
        engine = open_engine("postgresql://nobody:secret@/none?host=/nonexistent", Path())
        with self.assertRaises(UnusableDatabase) as caught:
            migrate(engine)
        self.assertNotIn("secret", str(caught.exception))

    def test_other_kinds(self) -> None:
        """Another kind of database is refused with those that are not."""
        with self.assertRaises(UnusableDatabase) as caught:
            open_engine("mysql://x/y", Path())
        self.assertIn("postgresql", str(caught.exception))
