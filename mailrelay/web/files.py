"""Stored messages and their parts as files: read in turn, off the reactor thread, and streamed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import quote

from attrs import frozen

from mailrelay.mailbox.access import StoredMessage, StoredMessages, blocks, whole
from mailrelay.message.encodings import QUOTED_PRINTABLE, Decoder
from mailrelay.message.structure import OPAQUE, Part, part_at, read_structure
from mailrelay.web.intake import SMALL_BYTES, Intake
from mailrelay.web.request import Response

MESSAGE = "message/rfc822"
MOST_NAME_CHARACTERS = 150
POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""Of a file, whatever the pages beside it may do."""

T = TypeVar("T")


@frozen
class MessageFiles:
    """Reads messages of ``store``.

    What a stranger sent is never shown by a browser: it is an attachment of an opaque type, with
    the headers of what is not a page.
    """

    store: StoredMessages
    intake: Intake

    async def read(self, stored: StoredMessage, work: Callable[[bytes], T]) -> T:
        """What ``work`` makes of all bytes of ``stored``, in a thread.

        Raises: ContentGone, Refused, and what ``work`` raises.
        """
        is_large = stored.size_bytes > SMALL_BYTES
        give_back = await self.intake.take_turn() if is_large else _nothing
        try:
            return await self.intake.executor.run(work, await whole(self.store, stored))
        finally:
            give_back()

    def raw(self, stored: StoredMessage) -> Response:
        """A message as it is stored."""
        body = blocks(self.store, stored)
        return _download(body, MESSAGE, stored.size_bytes, f"{stored.listed.id}.eml")

    async def part(self, stored: StoredMessage, path: Sequence[int]) -> Response:
        """Its part at ``path``, decoded.  Raises: NoSuchPart, ContentGone, Refused."""
        part, body = await self.decoded(stored, path)
        # A quoted-printable line without end is not decoded as its size was found.
        size = None if part.encoding == QUOTED_PRINTABLE else _size(part)
        return _download(body, OPAQUE, size, part.filename)

    async def decoded(
        self, stored: StoredMessage, path: Sequence[int]
    ) -> tuple[Part, AsyncIterator[bytes]]:
        """The part at ``path``, and its bytes as they are asked for.

        Raises: NoSuchPart, ContentGone, Refused; ContentGone while they are read.
        """
        part = await self.read(stored, partial(_part, path=path))
        return part, self._decoded(stored, part)

    async def _decoded(self, stored: StoredMessage, part: Part) -> AsyncIterator[bytes]:
        decoder = Decoder(part.encoding)
        async for block in blocks(self.store, stored, part.body_at, part.end):
            yield decoder.fed(block)
        yield decoder.ended()


def disposition(name: str) -> str:
    """Content-Disposition for a file that its sender calls ``name`` (RFC 6266 section 4)."""
    name = _UNFIT.sub("_", PurePosixPath(name.replace("\\", "/")).name)[:MOST_NAME_CHARACTERS]
    name = name.strip(" .") or "part"
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    # RFC 8187 section 3.2.1: for names beyond ASCII.
    extended = (
        "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    )
    return f'attachment; filename="{plain}"{extended}'


def _part(content: bytes, path: Sequence[int]) -> Part:
    return part_at(read_structure(content), path)


def _size(part: Part) -> int:
    return part.end - part.body_at if part.parts else part.decoded_size


def _download(
    body: AsyncIterator[bytes], content_type: str, size: int | None, name: str
) -> Response:
    headers = {"Content-Disposition": disposition(name), "Content-Security-Policy": POLICY}
    return Response(200, body, headers, content_type=content_type, length=size)


def _nothing() -> None:
    """Nothing is held."""


_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069<>:\"|?*/]")
