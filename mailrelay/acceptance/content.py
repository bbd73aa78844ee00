"""Content on its way in: in memory while small, spooled beyond; memory per message is constant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from mailrelay.message.edit import Edit, Stretch
from mailrelay.message.header import MAX_HEADER_BYTES, header_end
from mailrelay.queue.entry import LARGE_BYTES

DIGESTED_WITH = b"\nidempotency-key:"

BLOCK_BYTES = 256 * 1024
"""How much is handed to the spool at a time, and how much may wait before the peer is paused."""


class SpoolWriter(Protocol):
    """A large body being written.  Calls do not wait for each other: order is kept."""

    name: str

    def append(self, data: bytes) -> Deferred[None]:
        """Write ``data`` behind what was appended before."""

    def finish(self) -> Deferred[None]:
        """Make it durable.  Only then may a transaction name it."""

    def abandon(self) -> None:
        """Remove what was written."""


class IncomingContent:
    """One message's body as it arrives.  Owned by the protocol that reads it.

    ``caught_up`` is called when the spool took what waited, after ``is_behind`` was true.
    With ``digests`` there is a digest, however large it is.
    """

    def __init__(
        self,
        open_spool: Callable[[], SpoolWriter],
        caught_up: Callable[[], None] = lambda: None,
        *,
        digests: bool = False,
    ) -> None:
        self._open_spool, self._caught_up, self._digests = open_spool, caught_up, digests
        self._chunks: list[bytes] = []
        self._held = 0  # bytes in _chunks
        self._writer: SpoolWriter | None = None
        self._in_flight = 0
        self._failure: BaseException | None = None
        self.head = b""  # the header section; the whole of a small body
        self._header_has_ended = False
        self._hash: Any = None  # of what was spilled, where it will be asked for
        self.size_bytes = 0
        self.is_ascii = True

    @property
    def is_behind(self) -> bool:
        """Whether the peer should be paused."""
        return self._in_flight > BLOCK_BYTES

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        if self.is_ascii and not data.isascii():
            self.is_ascii = False
        self._chunks.append(data)
        self._held += len(data)
        if self._held >= (BLOCK_BYTES if self._writer else LARGE_BYTES):
            self._spill()

    def _spill(self) -> None:
        block = b"".join(self._chunks)
        self._chunks, self._held = [], 0
        if self._failure is not None:
            return
        if self._writer is None:
            self._writer = self._open_spool()
            # Nearly nobody asks for the hash of what is large, and it costs.
            if self._digests or DIGESTED_WITH in block[: header_end(block)].lower():
                self._hash = hashlib.sha256()
        if self._hash is not None:
            self._hash.update(block)
        self._keep_head(block)
        self._in_flight += len(block)
        self._writer.append(block).addBoth(self._written, len(block))

    def _keep_head(self, block: bytes) -> None:
        """Keep the header section alone, once its end has come: sessions are many."""
        if self._header_has_ended:
            return
        self.head += block[: MAX_HEADER_BYTES + 4 - len(self.head)]
        end = header_end(self.head)
        if end < len(self.head):
            self.head, self._header_has_ended = self.head[:end], True

    def _written(self, result: object, size: int) -> None:
        error = getattr(result, "value", None)
        if isinstance(error, BaseException):
            self._failure = error  # told by finish()
        was_behind = self.is_behind
        self._in_flight -= size
        if was_behind and not self.is_behind:
            self._caught_up()

    def digest(self) -> bytes | None:
        """SHA-256 of the whole body, when ``small_body`` or ``finish`` has been asked for.

        Without ``digests``, None of a spooled one whose first 64 KiB did not have the field that
        this is for.
        """
        if self._writer is None:
            return hashlib.sha256(self.head).digest()
        return self._hash.digest() if self._hash is not None else None

    def small_body(self) -> bytes | None:
        """The whole body when it is in memory; None when it is spooled: then ask ``finish``."""
        if self._writer is not None:
            return None
        self.head = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        return self.head

    def finish(self) -> Deferred[tuple[bytes | None, str | None]]:
        """The whole body in memory, or the name of the spooled and durable one.

        Fails with what writing failed with.
        """
        small = self.small_body()
        if small is not None:
            return succeed((small, None))
        assert self._writer is not None
        if self._held:
            self._spill()
        writer = self._writer
        return writer.finish().addCallback(self._finished, writer.name)

    def _finished(self, _: None, name: str) -> tuple[bytes | None, str | None]:
        if self._failure is not None:
            raise self._failure
        return None, name

    async def edited(
        self, stretches: tuple[Stretch, ...], read: Callable[[str, int, int], Deferred[bytes]]
    ) -> tuple[bytes | None, str | None]:
        """What ``finish`` gave, with ``stretches`` of its header section replaced.

        A spooled body is written anew.
        """
        edit = Edit(stretches=stretches)
        self.size_bytes += edit.grows_bytes
        start, self.head = self.head[: edit.reads_bytes], edit.edited(self.head)
        old = self._writer
        if old is None:
            return self.head, None
        self._writer = new = self._open_spool()
        try:
            await new.append(edit.edited(start))
            at = edit.reads_bytes
            while piece := await read(old.name, at, BLOCK_BYTES):
                await new.append(piece)
                at += len(piece)
            await new.finish()
        finally:
            old.abandon()
        return None, new.name

    def abandon(self) -> None:
        """Forget what came; the spool file goes too."""
        self._chunks, self._held = [], 0
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
