"""Received messages and their parts as files, streamed; and the route of links without a login.

What a stranger sent is never shown by a browser: it is an attachment of an opaque type, with the
headers of what is not a page.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import quote

from attrs import frozen

from mailrelay.mailbox.access import (
    AccountMessages,
    ContentGone,
    StoredMessage,
    StoredMessages,
    blocks,
    whole,
)
from mailrelay.message.encodings import QUOTED_PRINTABLE, Decoder
from mailrelay.message.structure import OPAQUE, NoSuchPart, Part, part_at, read_structure
from mailrelay.policy.file_links import OF_THE_QUEUE, PATH, FileLinks
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.intake import SMALL_BYTES, Intake
from mailrelay.web.request import Request, Response, Route
from mailrelay.webapi.v1.problems import (
    NO_SUCH,
    STORE_UNAVAILABLE,
    WRONG_METHOD,
    Problem,
    as_problem,
    problem_response,
)

MESSAGE = "message/rfc822"
MOST_NAME_CHARACTERS = 150

T = TypeVar("T")


@frozen
class Files:
    """Reads messages of ``store``: large ones in their turn, and off the reactor thread."""

    store: StoredMessages
    intake: Intake

    async def stored(self, account_id: int, id_: int) -> StoredMessage:
        """A message.  Raises: Problem."""
        stored = await self.store.get(account_id, id_)
        if stored is None:
            raise _no_such()
        return stored

    async def read(self, stored: StoredMessage, work: Callable[[bytes], T]) -> T:
        """What ``work`` makes of all bytes of ``stored``.  Raises: Problem, Refused."""
        is_large = stored.size_bytes > SMALL_BYTES
        give_back = await self.intake.take_turn() if is_large else _nothing
        try:
            return await self.intake.executor.run(work, await whole(self.store, stored))
        except ContentGone:
            raise _no_such() from None
        finally:
            give_back()

    async def file(self, account_id: int, id_: int, path: Sequence[int] | None) -> Response:
        """A message as it is stored, or its part at ``path``, decoded.

        Raises: Problem, Refused.
        """
        stored = await self.stored(account_id, id_)
        if path is None:
            body = blocks(self.store, stored)
            return _download(body, MESSAGE, stored.size_bytes, f"{id_}.eml")
        try:
            part = await self.read(stored, partial(_part, path=path))
        except NoSuchPart:
            raise Problem(NO_SUCH, "the message has no such part") from None
        # A quoted-printable line without end is not decoded as its size was found.
        size = None if part.encoding == QUOTED_PRINTABLE else _size(part)
        return _download(self._decoded(stored, part), OPAQUE, size, part.filename)

    async def _decoded(self, stored: StoredMessage, part: Part) -> AsyncIterator[bytes]:
        decoder = Decoder(part.encoding)
        async for block in blocks(self.store, stored, part.body_at, part.end):
            yield decoder.fed(block)
        yield decoder.ended()


@frozen
class Downloads(Files):
    """Reads what is in mailboxes."""

    store: AccountMessages
    intake: Intake


@frozen
class SignedFiles:
    """What links lead to, whoever has them.  A link that does not hold is as one that never was.

    ``waiting`` has what waits in the queue.
    """

    downloads: Files
    waiting: Files
    links: FileLinks
    now: Callable[[], float]

    def routes(self) -> Sequence[Route]:
        """Everything below PATH: the token is in no log, whatever is asked of it."""
        return [Route((), f"{PATH}*", self.get, is_secret=True, problem=as_problem)]

    async def get(self, request: Request) -> Response:
        """The file, or why not.  Raises: Refused."""
        file = self.links.read(request.params["*"], self.now())
        try:
            if request.method not in ("GET", "HEAD"):
                raise Problem(WRONG_METHOD, "a link is to be read", headers={"Allow": "GET, HEAD"})
            if file is None:
                raise _no_such()
            files = self.waiting if file.account_id == OF_THE_QUEUE else self.downloads
            return await files.file(file.account_id, file.id, file.part)
        except Problem as problem:
            return problem_response(problem)
        except StoreUnavailable:
            return problem_response(Problem(STORE_UNAVAILABLE, "try again later"))


def _part(content: bytes, path: Sequence[int]) -> Part:
    return part_at(read_structure(content), path)


def _size(part: Part) -> int:
    return part.end - part.body_at if part.parts else part.decoded_size


def _download(
    body: AsyncIterator[bytes], content_type: str, size: int | None, name: str
) -> Response:
    headers = {"Content-Disposition": disposition(name)}
    return Response(200, body, headers, content_type=content_type, length=size)


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


def _no_such() -> Problem:
    return Problem(NO_SUCH, "there is nothing of that id")


def _nothing() -> None:
    """Nothing is held."""


_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069<>:\"|?*/]")
