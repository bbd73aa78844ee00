"""Where large bodies are put while they come, and how many are in memory at once.

- What a connection holds of a body in memory is 64 KiB, whatever the client sends.
- More is in a temporary file, which a worker writes; the client waits for the disk.
- A file has no name that anybody chose, is removed with what holds it, and at the next start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from mailrelay.net.threads import Executor
from mailrelay.web.body import Body, BodyRefused
from mailrelay.web.request import refused
from mailrelay.web.settings import HTTPSettings

SMALL_BYTES = 64 * 1024
"""Up to here a body stays in memory and is decoded in the reactor thread."""

_PREFIX = "upload-"

_log = Logger()

_T = TypeVar("_T")


class Intake:
    """Makes the files, in ``folder``, and gives turns to those who have large things in memory.

    ``token`` makes names that are not guessed; ``executor``'s threads write and read.
    """

    def __init__(
        self,
        folder: Path,
        executor: Executor,
        token: Callable[[], str],
        settings: HTTPSettings,
    ) -> None:
        self.executor = executor
        self._folder, self._token = folder, token
        self._turns = DeferredSemaphore(settings.large_bodies)
        self._most_waiting = settings.large_bodies_waiting

    def prepare(self) -> None:
        """Make the folder, and remove what an earlier process left in it.  Blocks: at start."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.glob(f"{_PREFIX}*"):
            path.unlink(missing_ok=True)

    async def new_file(self) -> UploadFile:
        """An empty file.  Raises: BodyRefused, when the disk does not take it."""
        file = UploadFile(self._folder / f"{_PREFIX}{self._token()}", self.executor)
        await file.open()
        return file

    async def take_turn(self) -> Callable[[], None]:
        """Wait until few enough others have large things in memory; the result gives it back.

        Who has a turn must not wait for another: all might, for ever.
        Raises: Refused (503), when too many wait already.
        """
        turns = self._turns
        if not turns.tokens and len(turns.waiting) >= self._most_waiting:
            raise refused(503, "too many large requests, try again later\n", Retry_After="5")
        await turns.acquire()
        return _once(turns.release)

    async def collect(self, body: Body, limit: int) -> Collected:
        """The whole of ``body``; close it.  Raises: BodyTrouble."""
        collected = Collected(self)
        try:
            await body.stream(collected.write, limit)
        except BaseException:
            await collected.close()
            raise
        return collected


def _once(call: Callable[[], None]) -> Callable[[], None]:
    calls = [call]

    def give_back() -> None:
        if calls:
            calls.pop()()

    return give_back


@define
class UploadFile:
    """A temporary file: written in order, then to be read by whoever has its ``path``."""

    path: Path
    _executor: Executor
    size: int = 0
    _descriptor: int | None = None

    async def open(self) -> None:
        """Make it.  Raises: BodyRefused."""
        self._descriptor = await self._run(_create, self.path)

    async def write(self, data: bytes) -> None:
        """Append ``data``.  Raises: BodyRefused."""
        assert self._descriptor is not None
        await self._run(_write_all, self._descriptor, data)
        self.size += len(data)

    async def written(self) -> None:
        """No more is written."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            await self._run(os.close, descriptor)

    async def read(self) -> bytes:
        """All of it.  Raises: BodyRefused."""
        return await self._run(self.path.read_bytes)

    async def remove(self) -> None:
        """Close and remove it."""
        await self.written()
        await self._run(self.path.unlink, True)

    async def _run(self, work: Callable[..., _T], *args: object) -> _T:
        try:
            return await self._executor.run(work, *args)
        except OSError as error:
            path = self.path.parent
            reason = error.strerror
            _log.error("an upload cannot be stored in {path}: {reason}", path=path, reason=reason)
            raise BodyRefused(503, "there is no room for the request now\n") from error


@define
class Collected:
    """Bytes that came: in memory while they are few, in a file beyond."""

    _intake: Intake
    size: int = 0
    _small: bytearray = field(factory=bytearray)
    _file: UploadFile | None = None

    @property
    def is_large(self) -> bool:
        """Whether it should be decoded by a worker, and in its turn."""
        return self._file is not None

    async def write(self, data: bytes) -> None:
        """Append ``data``.  Raises: BodyRefused."""
        self.size += len(data)
        if self._file is None:
            if self.size <= SMALL_BYTES:
                self._small += data
                return
            self._file = await self._intake.new_file()
            data = bytes(self._small) + data
            self._small.clear()
        await self._file.write(data)

    async def bytes(self) -> bytes:
        """All of it; of what is large, only in one's turn.  Raises: BodyRefused."""
        if self._file is None:
            return bytes(self._small)
        await self._file.written()
        return await self._file.read()

    async def close(self) -> None:
        """Remove the file, if there is one."""
        file, self._file = self._file, None
        if file is not None:
            await file.remove()


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
