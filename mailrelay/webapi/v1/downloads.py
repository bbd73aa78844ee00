"""Received messages and their parts as files; and the route of links without a login."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen

from mailrelay.mailbox.access import AccountMessages, ContentGone, StoredMessage, StoredMessages
from mailrelay.message.structure import NoSuchPart
from mailrelay.policy.file_links import OF_THE_QUEUE, PATH, FileLinks
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.files import MessageFiles
from mailrelay.web.intake import Intake
from mailrelay.web.request import Request, Response, Route
from mailrelay.webapi.v1.problems import (
    NO_SUCH,
    STORE_UNAVAILABLE,
    WRONG_METHOD,
    Problem,
    as_problem,
    problem_response,
)

T = TypeVar("T")


@frozen
class Files:
    """Reads messages of ``store``: large ones in their turn, and off the reactor thread."""

    store: StoredMessages
    intake: Intake

    @property
    def _files(self) -> MessageFiles:
        return MessageFiles(self.store, self.intake)

    async def stored(self, account_id: int, id_: int) -> StoredMessage:
        """A message.  Raises: Problem."""
        stored = await self.store.get(account_id, id_)
        if stored is None:
            raise _no_such()
        return stored

    async def read(self, stored: StoredMessage, work: Callable[[bytes], T]) -> T:
        """What ``work`` makes of all bytes of ``stored``.  Raises: Problem, Refused."""
        try:
            return await self._files.read(stored, work)
        except ContentGone:
            raise _no_such() from None

    async def file(self, account_id: int, id_: int, path: Sequence[int] | None) -> Response:
        """A message as it is stored, or its part at ``path``, decoded.

        Raises: Problem, Refused.
        """
        stored = await self.stored(account_id, id_)
        if path is None:
            return self._files.raw(stored)
        try:
            return await self._files.part(stored, path)
        except NoSuchPart:
            raise Problem(NO_SUCH, "the message has no such part") from None
        except ContentGone:
            raise _no_such() from None


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


def _no_such() -> Problem:
    return Problem(NO_SUCH, "there is nothing of that id")
