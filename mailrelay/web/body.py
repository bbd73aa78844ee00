"""A request's body, which is read when it is asked for, and no faster than it is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import define
from twisted.internet.defer import Deferred

CHUNK_BYTES = 64 * 1024
"""When this much waits to be asked for, the client is made to wait."""


class BodyTrouble(Exception):
    """The body cannot be had; let it pass, and the client is answered."""


class ClientGone(BodyTrouble):
    """The connection was lost."""


class BodyRefused(BodyTrouble):
    """The body is not as it must be; answered with ``status`` unless somebody knows better."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class BodyTooLarge(BodyRefused):
    """More than the handler takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is longer than {limit} bytes\n")


class Source(Protocol):
    """The connection, for its body."""

    def next_chunk(self) -> Deferred[bytes]:
        """What has come, or comes next, of the body; b"" when all was given."""


@define
class Body:
    """The body of one request.  ``declared_length`` is None when it comes in chunks."""

    declared_length: int | None
    _source: Source

    def next(self) -> Deferred[bytes]:
        """The next bytes, b"" after the last.  Nothing is read between two calls.

        Fails with BodyTrouble.
        """
        return self._source.next_chunk()

    async def read(self, limit: int) -> bytes:
        """All of it, at most ``limit`` bytes.

        Raises: BodyTooLarge, before anything is read if that was declared; BodyTrouble.
        """
        pieces: list[bytes] = []
        await self.stream(pieces.append, limit)
        return b"".join(pieces)

    async def stream(self, write: Callable[[bytes], Awaitable[object] | None], limit: int) -> int:
        """Pass all of it to ``write``; how many bytes it was.  The client waits while it waits.

        Raises: as ``read``.
        """
        if self.declared_length is not None and self.declared_length > limit:
            raise BodyTooLarge(limit)
        size = 0
        while data := await self.next():
            size += len(data)
            if size > limit:
                raise BodyTooLarge(limit)
            waiting = write(data)
            if waiting is not None:
                await waiting
        return size
