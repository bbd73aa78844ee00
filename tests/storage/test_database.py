"""The database below the stores: readers that are capped, commits whose answer is lost, order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.engine import make_url
from twisted.trial.unittest import TestCase

from mailrelay.net.threads import AtOnce
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import tables
from mailrelay.storage.database import Database, open_engine
from mailrelay.storage.group_commit import GroupCommit
from mailrelay.storage.queue import insert_events
from tests.storage.databases import (
    Base,
    OnPostgres,
    OnSQLite,
    database_on,
    postgres_url,
)

WRITERS, BATCHES, EVENTS = 2, 60, 3
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


class DatabaseContract(Base):
    """What every database does."""

    def make_url(self) -> str:
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make one."""
        self.url = self.make_url()
        self.database: Database = database_on(self, open_engine(self.url, Path()))

    def test_endless_read_is_broken_off(self) -> None:
        """A read that lasts too long fails, and the connection is as good as before."""
        capped = Database(self.database.engine, self.database.writer, AtOnce(), read_cap=0.2)
        self.failureResultOf(
            capped.read(lambda c: c.exec_driver_sql(ENDLESS).scalar()), StoreUnavailable
        )
        for _ in range(3):
            read = capped.read(lambda c: c.exec_driver_sql("SELECT 7").scalar())
            self.assertEqual(self.successResultOf(read), 7)

    def test_cap_is_gone_after_the_read(self) -> None:
        """What comes later on the same connection has its own time."""
        self.successResultOf(self.database.read(lambda c: None))
        capped = Database(self.database.engine, self.database.writer, AtOnce(), read_cap=0.001)
        self.successResultOf(capped.read(lambda c: None))
        slow = ENDLESS.replace("FROM n)", "FROM n WHERE i < 100000)")
        read = self.database.read(lambda c: c.exec_driver_sql(slow).scalar())
        self.assertEqual(self.successResultOf(read), 100000)

    def test_positions_are_in_commit_order(self) -> None:
        """A reader that has seen position N never misses one below N, whoever writes."""
        start, ended = threading.Barrier(WRITERS + 1), threading.Event()

        def work(connection: Connection, number: int) -> None:
            events = [NewEvent(EventKind.HELD, 1.0, number, None, None, {}) for _ in range(EVENTS)]
            insert_events(connection, events)

        def write(writer: int) -> None:
            engine = open_engine(self.url, Path())
            group_commit = GroupCommit(engine, AtOnce())
            start.wait()
            for batch in range(BATCHES):
                group_commit.write(partial(work, number=writer * 1000 + batch))
            group_commit.close()
            engine.dispose()

        threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        position = tables.event.c.position
        seen: list[int] = []
        start.wait()
        while not ended.is_set():
            if not any(thread.is_alive() for thread in threads):
                ended.set()  # and look once more
            newest = seen[-1] if seen else 0
            seen += self.positions(position > newest)
        self.assertEqual(seen, self.positions(position > 0))
        self.assertEqual(len(seen), WRITERS * BATCHES * EVENTS)

    def positions(self, condition: ColumnElement[bool]) -> list[int]:
        """The positions of some events, in order."""
        position = tables.event.c.position
        wanted = select(position).where(condition).order_by(position)

        def read(connection: Connection) -> list[int]:
            return list(connection.execute(wanted).scalars())

        return self.successResultOf(self.database.read(read))


class SQLiteTests(DatabaseContract, OnSQLite, TestCase):
    """On SQLite."""

    make_url = OnSQLite.make_url


class PostgresTests(DatabaseContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_url = OnPostgres.make_url

    def test_lost_answer_of_a_commit_that_was_done(self) -> None:
        """A COMMIT that was done is not reported as failed because the connection broke."""
        self.assertEqual(self.committed_with(deliver=True), ("stored", ["a"]))

    def test_commit_that_never_arrived(self) -> None:
        """A COMMIT that the server never saw is reported as failed, and was not done."""
        self.assertEqual(self.committed_with(deliver=False), ("failed", []))

    def committed_with(self, *, deliver: bool) -> tuple[str, Sequence[str]]:
        """What is told, and what is stored, when the connection breaks at the first COMMIT."""
        proxy = BreaksAtCommit(self.socket_path(), deliver=deliver)
        self.addCleanup(proxy.close)
        folder = proxy.listen(temporary_directory_for_sockets(self))
        url = make_url(self.url).update_query_dict({"host": str(folder)})
        database = database_on(self, open_engine(url.render_as_string(hide_password=False), Path()))

        def work(connection: Connection) -> str:
            connection.execute(tables.setting.insert().values(name="a", value="v"))
            return "stored"

        self.successResultOf(database.write(lambda c: None))  # the connection is there now
        proxy.armed.set()
        told: list[str] = []
        writing = database.write(work)
        writing.addCallbacks(
            told.append, lambda f: told.append(f.trap(StoreUnavailable) and "failed")
        )
        names = database.read(lambda c: list(c.execute(select(tables.setting.c.name)).scalars()))
        return told[0], self.successResultOf(names)

    def socket_path(self) -> str:
        """The server's socket."""
        host = str(postgres_url().query["host"])
        return f"{host}/.s.PGSQL.5432"


def temporary_directory_for_sockets(case: TestCase) -> Path:
    """A directory whose path is short enough for a socket's."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="pg-"))
    case.addCleanup(shutil.rmtree, path)
    return path


class BreaksAtCommit:
    """Stands before PostgreSQL; when armed, breaks the connection at the next COMMIT.

    The COMMIT is delivered before that, and its answer thrown away, or it is not delivered.
    """

    def __init__(self, server: str, *, deliver: bool) -> None:
        self.armed = threading.Event()
        self._server, self._deliver = server, deliver
        self._listening = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = [self._listening]

    def listen(self, folder: Path) -> Path:
        """Listen in ``folder``, which is the host to connect to."""
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return folder

    def close(self) -> None:
        """Break everything off."""
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open += [client, server]
            threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                if self.armed.is_set() and b"COMMIT" in data:
                    self.armed.clear()
                    client.shutdown(socket.SHUT_RDWR)  # first, so that no answer goes through
                    if self._deliver:
                        server.sendall(data)
                    return
                server.sendall(data)
        except OSError:
            return

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass
        finally:
            server.close()
