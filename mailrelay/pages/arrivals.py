"""Pages that wait for a new message: server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from attrs import field, frozen

from mailrelay.mailbox.access import AccountMessages, MailboxQuery
from mailrelay.observe.bell import Bell
from mailrelay.pages.door import Asked, Doors
from mailrelay.web.request import Response, Route

LOOK_EVERY = 1.0
"""Seconds between two looks for a new message while a page waits for one."""
KEEP_ALIVE_EVERY = 20.0
MOST_STREAMS, MOST_OF_ACCOUNT = 200, 20


async def newest_id(store: AccountMessages, account_id: int) -> int:
    """The id of an account's newest message, 0 without one."""
    found = await store.find(account_id, MailboxQuery(limit=1))
    return found.messages[0].id if found.messages else 0


@frozen
class Arrivals:
    """``/mail/arrivals``."""

    doors: Doors
    store: AccountMessages
    bell: Bell
    _waiting: list[int] = field(factory=list)  # whose pages wait for a new message

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.account("/mail/arrivals", self.arrivals)]

    async def arrivals(self, asked: Asked) -> Response:
        """Tells, as server-sent events, that there is a newer message than the one named."""
        waiting = self._waiting
        is_full = waiting.count(asked.account_id) >= MOST_OF_ACCOUNT
        if is_full or len(waiting) >= MOST_STREAMS:
            return Response.text(503, "503 - too many pages are open\n", Retry_After="60")
        known = asked.number("newest")
        parts = self._arrivals(asked.account_id, asked.visitor.token, known)
        headers = {"X-Accel-Buffering": "no"}
        return Response(200, parts, headers, "text/event-stream; charset=utf-8", is_endless=True)

    async def _arrivals(
        self, account_id: int, token: str, known: int | None
    ) -> AsyncIterator[bytes]:
        self._waiting.append(account_id)
        try:
            said_at = asked_at = self.bell.clock.seconds()
            newest = await newest_id(self.store, account_id) if known is None else known
            yield b"retry: 3000\n\n"
            while not self.bell.is_closed:
                found, at = await newest_id(self.store, account_id), self.bell.clock.seconds()
                if at - asked_at >= KEEP_ALIVE_EVERY:
                    if await self.doors.sessions.find(token) is None:
                        return
                    asked_at = at
                if found != newest:
                    newest, said_at = found, at
                    yield b"event: arrived\ndata: %d\n\n" % newest
                elif at - said_at >= KEEP_ALIVE_EVERY:
                    said_at = at
                    yield b": waiting\n\n"
                await self.bell.wait(account_id, LOOK_EVERY)
        finally:
            self._waiting.remove(account_id)
