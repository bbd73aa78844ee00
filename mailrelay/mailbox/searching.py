"""Search in what messages say, which no index has: bounded, and carried on by a cursor."""

from __future__ import annotations

from attrs import evolve, frozen

from mailrelay.mailbox.access import (
    AccountMessages,
    ContentGone,
    MailboxPage,
    MailboxQuery,
    blocks,
)
from mailrelay.mailbox.model import MailboxMessage
from mailrelay.message.plain import plain_text
from mailrelay.message.structure import front_of_text, read_structure, shown_parts, walk
from mailrelay.net.threads import Executor

LOOKED_AT = 300
"""Messages whose content is read for one answer."""

LOOKED_AT_BYTES = 16 * 1024 * 1024
FRONT_BYTES = 256 * 1024
"""Of a message; what is behind is not looked at."""

TEXT_BYTES = 64 * 1024
"""Of a message's text, and of its HTML."""


@frozen
class ContentQuery:
    """What must be in a message: ``text`` within its text or HTML, whatever the case of letters."""

    text: str | None = None
    has_attachment: bool | None = None

    @property
    def asks_something(self) -> bool:
        """Whether contents have to be read at all."""
        return self.text is not None or self.has_attachment is not None


@frozen
class MailSearch:
    """Finds messages of ``store``; contents are read by ``executor``."""

    store: AccountMessages
    executor: Executor

    async def find(
        self, account_id: int, wanted: MailboxQuery, within: ContentQuery
    ) -> MailboxPage:
        """Messages that both fit, newest first.

        As AccountMessages.find: there may be more where few, or none, were found.
        """
        if not within.asks_something:
            return await self.store.find(account_id, wanted)
        found: list[MailboxMessage] = []
        size, before = 0, wanted.before_id
        page = await self.store.find(account_id, evolve(wanted, limit=LOOKED_AT))
        for one in page.messages:
            if len(found) == wanted.limit or size >= LOOKED_AT_BYTES:
                return MailboxPage(found, before)
            if await self._fits(account_id, one.id, within):
                found.append(one)
            size, before = size + min(one.size_bytes, FRONT_BYTES), one.id
        return MailboxPage(found, page.before_id)

    async def _fits(self, account_id: int, id_: int, within: ContentQuery) -> bool:
        try:
            stored = await self.store.get(account_id, id_)
            if stored is None:
                return False
            end = min(stored.size_bytes, FRONT_BYTES)
            pieces = [block async for block in blocks(self.store, stored, 0, end)]
        except ContentGone:  # removed meanwhile
            return False
        return await self.executor.run(fits, b"".join(pieces), within)


def fits(content: bytes, within: ContentQuery) -> bool:
    """Whether ``content`` has what is asked for.  Pure."""
    root = read_structure(content)
    text, html = shown_parts(root)
    if within.has_attachment is not None:
        leaves = (part for _, part in walk(root) if not part.parts)
        if any(part not in (text, html) for part in leaves) is not within.has_attachment:
            return False
    if within.text is None:
        return True
    said = front_of_text(content, text, TEXT_BYTES)[0]
    said += "\n" + plain_text(front_of_text(content, html, TEXT_BYTES)[0])
    return " ".join(within.text.casefold().split()) in " ".join(said.casefold().split())
