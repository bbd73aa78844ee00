"""Large bodies: files that are durable before a transaction names them; on PostgreSQL, rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from sqlalchemy import Connection, delete, insert, select
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from mailrelay.acceptance.content import SpoolWriter
from mailrelay.net.threads import Executor
from mailrelay.storage import tables
from mailrelay.storage.database import Database

CHUNK_BYTES = 256 * 1024
UNFINISHED = ".part"
"""Ends the name of a body that is being written."""


class Spool(Protocol):
    """Where large bodies are; a name is 32 hexadecimal digits."""

    def open(self) -> SpoolWriter:
        """A new body."""

    def read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """Up to ``size`` bytes from ``offset`` on; empty at the end."""

    def remove(self, names: Sequence[str]) -> Deferred[None]:
        """Remove bodies that nothing names any more."""

    def names(self) -> Deferred[Sequence[str]]:
        """The bodies that are there, and the unfinished ones."""


class FileSpool:
    """A folder with one file per body.  ``token`` gives names that were never given before."""

    _log = Logger()

    def __init__(self, folder: Path, executor: Executor, token: Callable[[], str]) -> None:
        self._folder, self._executor, self._token = folder, executor, token

    def open(self) -> SpoolWriter:
        """See Spool."""
        return _FileWriter(self._folder, self._token(), self._executor)

    def read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See Spool."""
        return self._executor.run(_read_file, self._folder / name, offset, size)

    def remove(self, names: Sequence[str]) -> Deferred[None]:
        """See Spool."""
        removed = self._executor.run(_remove_files, [self._folder / name for name in names])
        return removed.addErrback(
            lambda failure: self._log.failure("spool files stay behind", failure)
        )

    def names(self) -> Deferred[Sequence[str]]:
        """See Spool."""
        return self._executor.run(_list_files, self._folder)


class _FileWriter:
    """See SpoolWriter.  Written under a temporary name; renamed when it is complete and synced."""

    def __init__(self, folder: Path, name: str, executor: Executor) -> None:
        self.name = name
        self._path, self._temporary = folder / name, folder / f"{name}{UNFINISHED}"
        self._executor = executor
        self._file: BinaryIO | None = None
        self._error: OSError | None = None  # what is written after it would leave a gap
        self._turn = DeferredLock()

    def append(self, data: bytes) -> Deferred[None]:
        """See SpoolWriter."""
        return self._turn.run(self._executor.run, self._append, data)

    def _append(self, data: bytes) -> None:
        if self._error is not None:
            raise self._error
        try:
            self._write(data)
        except OSError as error:
            self._error = error
            raise

    def _write(self, data: bytes) -> None:
        if self._file is None:
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> Deferred[None]:
        """See SpoolWriter."""
        return self._turn.run(self._executor.run, self._finish)

    def _finish(self) -> None:
        if self._error is not None:
            raise self._error
        if self._file is None:
            self._write(b"")
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abandon(self) -> None:
        """See SpoolWriter."""
        abandoned = self._turn.run(self._executor.run, self._abandon)
        abandoned.addErrback(lambda _: None)  # an orphan: removed when this life is over

    def _abandon(self) -> None:
        if self._file is not None:
            self._file.close()
        _remove_files([self._temporary, self._path])


def _read_file(path: Path, offset: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def _remove_files(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _list_files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]


class RowSpool:
    """Bodies as rows of CHUNK_BYTES, for databases that other nodes share."""

    _log = Logger()

    def __init__(self, database: Database, token: Callable[[], str]) -> None:
        self._database, self._token = database, token

    def open(self) -> SpoolWriter:
        """See Spool."""
        return _RowWriter(self._database, self._token())

    def read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See Spool."""
        return self._database.read(lambda c: _read_rows(c, name, offset, size))

    def remove(self, names: Sequence[str]) -> Deferred[None]:
        """See Spool."""
        removed = self._database.write(lambda c: _delete_rows(c, names))
        return removed.addErrback(
            lambda failure: self._log.failure("content chunks stay behind", failure)
        )

    def names(self) -> Deferred[Sequence[str]]:
        """See Spool."""
        chunk = tables.content_chunk
        first = select(chunk.c.spool_name).where(chunk.c.number == 0)
        return self._database.read(lambda c: c.execute(first).scalars().all())


class _RowWriter:
    """See SpoolWriter.  Each chunk is committed as it comes: no transaction gets long."""

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self._database = database
        self._buffer = b""
        self._number = 0

    def append(self, data: bytes) -> Deferred[None]:
        """See SpoolWriter."""
        self._buffer += data
        whole = len(self._buffer) // CHUNK_BYTES * CHUNK_BYTES
        ready, self._buffer = self._buffer[:whole], self._buffer[whole:]
        return self._insert(ready)

    def _insert(self, data: bytes) -> Deferred[None]:
        rows = [
            {"spool_name": self.name, "number": self._number + i, "data": data[at:][:CHUNK_BYTES]}
            for i, at in enumerate(range(0, len(data), CHUNK_BYTES))
        ]
        self._number += len(rows)

        def store(connection: Connection) -> None:
            if rows:
                connection.execute(insert(tables.content_chunk), rows)

        return self._database.write(store)

    def finish(self) -> Deferred[None]:
        """See SpoolWriter."""
        rest, self._buffer = self._buffer, b""
        return self._insert(rest)

    def abandon(self) -> None:
        """See SpoolWriter."""
        removed = self._database.write(lambda c: _delete_rows(c, [self.name]))
        removed.addErrback(lambda _: None)


def _read_rows(connection: Connection, name: str, offset: int, size: int) -> bytes:
    chunk = tables.content_chunk
    first, last = offset // CHUNK_BYTES, (offset + size - 1) // CHUNK_BYTES
    rows = connection.execute(
        select(chunk.c.data)
        .where(chunk.c.spool_name == name, chunk.c.number.between(first, last))
        .order_by(chunk.c.number)
    ).scalars()
    data = b"".join(bytes(row) for row in rows)
    start = offset - first * CHUNK_BYTES
    return data[start : start + size]


def _delete_rows(connection: Connection, names: Sequence[str]) -> None:
    chunk = tables.content_chunk
    connection.execute(delete(chunk).where(chunk.c.spool_name.in_(names)))
