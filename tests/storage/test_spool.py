"""Large bodies: one contract for files and for rows."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.storage.database import Database, open_engine
from mailrelay.storage.nodes import Node
from mailrelay.storage.spool import CHUNK_BYTES, FileSpool, RowSpool, Spool
from mailrelay.storage.stores import Threads, make_spool
from tests.storage.databases import (
    Base,
    Later,
    OnPostgres,
    OnSQLite,
    database_on,
    empty_postgres,
    temporary_directory,
)

BODY = bytes(range(256)) * (CHUNK_BYTES // 256 * 2) + b"the end"


def tokens() -> Iterator[str]:
    """Names."""
    return (f"{n:032x}" for n in range(1000))


class SpoolContract(Base):
    """What a Spool must do."""

    def make_spool(self) -> Spool:
        """An empty one."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make one."""
        self.spool = self.make_spool()

    async def stored(self, *pieces: bytes) -> str:
        """The name of a body that was written in ``pieces``."""
        writer = self.spool.open()
        written = [writer.append(piece) for piece in pieces]  # none waits for the other
        await writer.finish()
        for one in written:
            await one
        return writer.name

    async def whole(self, name: str, size: int = 100_000) -> bytes:
        """A body, read ``size`` bytes at a time."""
        blocks = []
        offset = 0
        while block := await self.spool.read(name, offset, size):
            blocks.append(block)
            offset += len(block)
        return b"".join(blocks)

    async def test_comes_back_whole(self) -> None:
        """A body is the same bytes again, whatever pieces it came and goes in."""
        for pieces in ([BODY], [BODY[:10], BODY[10:70_000], BODY[70_000:]]):
            name = await self.stored(*pieces)
            self.assertEqual(await self.whole(name), BODY)
            self.assertEqual(await self.whole(name, len(BODY) + 1), BODY)

    async def test_chunk_sized(self) -> None:
        """A body that ends where a chunk ends has neither more nor less than its bytes."""
        body = b"x" * (2 * CHUNK_BYTES)
        self.assertEqual(await self.whole(await self.stored(body), CHUNK_BYTES), body)

    async def test_any_part(self) -> None:
        """A part that begins and ends anywhere is those bytes."""
        name = await self.stored(BODY)
        for offset, size in ((0, 1), (CHUNK_BYTES - 1, 2), (5, CHUNK_BYTES), (len(BODY) - 3, 99)):
            part = await self.spool.read(name, offset, size)
            self.assertEqual(part, BODY[offset : offset + size], (offset, size))
        self.assertEqual(await self.spool.read(name, len(BODY), 10), b"")

    async def test_names_differ(self) -> None:
        """Two bodies do not meet."""
        first, second = await self.stored(b"one"), await self.stored(b"two")
        self.assertEqual((await self.whole(first), await self.whole(second)), (b"one", b"two"))

    async def test_removed(self) -> None:
        """A removed body is gone, others are not, and removing it again does no harm."""
        gone, kept = await self.stored(b"one"), await self.stored(b"two")
        await self.spool.remove([gone])
        await self.spool.remove([gone])
        self.assertEqual(await self.left(gone), b"")
        self.assertEqual(await self.whole(kept), b"two")

    async def left(self, name: str) -> bytes:
        """What can still be read under ``name``."""
        try:
            return await self.whole(name)
        except OSError:
            return b""

    async def test_abandoned(self) -> None:
        """An abandoned body leaves nothing, finished or not, begun or not."""
        self.spool.open().abandon()
        begun = self.spool.open()
        await begun.append(BODY)
        begun.abandon()
        finished = self.spool.open()
        await finished.append(BODY)
        await finished.finish()
        finished.abandon()
        self.assertEqual(await self.left(begun.name) + await self.left(finished.name), b"")
        self.assertEqual(self.everything(), 0)

    def everything(self) -> int:
        """How many things are in the spool."""
        raise NotImplementedError


class FileSpoolTests(SpoolContract, TestCase):
    """In a folder."""

    def make_spool(self) -> Spool:
        """See SpoolContract."""
        self.folder = temporary_directory(self)
        names = tokens()
        self.later = Later()
        return FileSpool(self.folder, Immediate(self.later), lambda: next(names))

    def everything(self) -> int:
        """See SpoolContract."""
        return len(list(self.folder.iterdir()))

    async def test_not_there_before_it_is_durable(self) -> None:
        """Under its name a body is complete: until then it has another one."""
        writer = self.spool.open()
        await writer.append(b"half")
        self.assertEqual([p.suffix for p in self.folder.iterdir()], [".part"])
        await writer.finish()
        self.assertEqual([p.name for p in self.folder.iterdir()], [writer.name])

    async def test_synced_before_it_is_named(self) -> None:
        """The file is synced under its temporary name, and the folder after the renaming."""
        seen: list[str] = []
        real_sync, real_rename = os.fsync, Path.rename

        def sync(descriptor: int) -> None:
            seen.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).suffix)
            real_sync(descriptor)

        def rename(path: Path, to: Path) -> Path:
            seen.append("rename")
            return real_rename(path, to)

        self.patch(os, "fsync", sync)
        self.patch(Path, "rename", rename)
        await self.stored(b"body")
        self.assertEqual(seen, ["sync .part", "rename", "sync "])

    async def test_failed_write_is_told_at_the_end(self) -> None:
        """After a write that failed nothing more is written, and the body cannot be finished."""

        def no_room(*_: object) -> int:
            raise OSError(errno.ENOSPC, "no space")

        writer = self.spool.open()
        self.patch(os, "open", no_room)
        failed = writer.append(b"lost")
        self.failureResultOf(failed, OSError)
        self.patch(os, "open", os.open)
        self.failureResultOf(writer.append(b"after the gap"), OSError)
        self.failureResultOf(writer.finish(), OSError)
        writer.abandon()
        self.assertEqual(self.everything(), 0)

    async def test_failed_sync_is_not_repeated(self) -> None:
        """After a failed fsync the body is not durable, whatever a second one would say."""
        calls: list[int] = []

        def fail(descriptor: int) -> None:
            calls.append(descriptor)
            raise OSError(errno.EIO, "I/O error")

        writer = self.spool.open()
        await writer.append(b"body")
        self.patch(os, "fsync", fail)
        self.failureResultOf(writer.finish(), OSError)
        self.assertEqual(len(calls), 1)
        self.assertFalse((self.folder / writer.name).exists())

    async def test_links_are_not_followed(self) -> None:
        """A name in the spool is a file of ours or an error, never somebody's link."""
        (self.folder / "link").symlink_to("/etc/hostname")
        self.failureResultOf(self.spool.read("link", 0, 10), OSError)


class Immediate:
    """Runs what ``Later`` was given at once, so that its queue is used and empty."""

    def __init__(self, later: Later) -> None:
        self._later = later

    def run(self, *args: object, **kwargs: object) -> Deferred:
        """See Executor."""
        fired = self._later.run(*args, **kwargs)  # type: ignore[arg-type]
        self._later.flush()
        return fired


class RowSpoolContract(SpoolContract):
    """In rows of a database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def make_spool(self) -> Spool:
        """See SpoolContract."""
        self.database: Database = database_on(self, self.make_engine())
        names = tokens()
        return RowSpool(self.database, lambda: next(names))

    def everything(self) -> int:
        """See SpoolContract."""
        with self.database.engine.connect() as connection:
            counted = connection.exec_driver_sql("SELECT count(*) FROM content_chunk")
            return int(counted.scalar_one())


class RowSpoolSQLiteTests(RowSpoolContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class RowSpoolPostgresTests(RowSpoolContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine


class ChoiceTests(OnSQLite, TestCase):
    """Which spool a database gets, and what is left in it after a crash."""

    def test_by_database(self) -> None:
        """SQLite has its bodies beside it; PostgreSQL, which others share, within."""
        database = database_on(self, self.make_engine())
        folder = temporary_directory(self)
        threads = Threads(Later(), Later(), lambda: "")
        self.assertIsInstance(make_spool(database, folder, threads, Node(1, 1)), FileSpool)
        postgres = database_on(self, open_engine(empty_postgres(self), folder))
        self.assertIsInstance(make_spool(postgres, folder, threads, Node(1, 1)), RowSpool)
