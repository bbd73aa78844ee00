"""Sending a message again: what it says, to its recipients or to others, as a new message.

It has a new Message-ID; Bcc and signatures, which were of the first one, are left out, and links to
unsubscribe when it goes to others than the first one did; all else is as it was.  Whoever sends
again must be allowed to send it now: nothing here sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.history import AccountHistory
from mailrelay.message.again import without_own_fields
from mailrelay.message.header import MAX_HEADER_BYTES
from mailrelay.queue.entry import Content, Message
from mailrelay.smtp.address import Address, MalformedAddress

BLOCK_BYTES = 256 * 1024

MOST_RECIPIENT_CHARACTERS = 100_000


class SentContents(Protocol):
    """What is still there of the messages that accounts sent.  May fail with StoreUnavailable."""

    def find(self, account_id: int, message_id: int) -> Deferred[Content | None]:
        """The content: of what waits, is kept after it failed, or is in the account's mailboxes.

        None when it is nowhere there, or the message another's.
        """

    def copy(self, account_id: int, message_id: int) -> Deferred[int | None]:
        """The message in the account's mailboxes that has the same content, if there is one."""

    def reports(self, account_id: int, report_ids: Sequence[int]) -> Deferred[Mapping[int, int]]:
        """Where in the account's mailboxes DSNs are that were made for it, by their number."""

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """Some of a large body; empty behind its end."""


@frozen
class Again:
    """A message to be sent again: from whom, to whom, and what."""

    message: Message
    from_: Address
    recipients: Sequence[Address]
    content: Content
    is_to_others: bool = False


@frozen
class ResendControl:
    """What may be asked."""

    history: AccountHistory
    contents: SentContents

    async def again(self, account_id: int, id_: int, to: Sequence[Address] = ()) -> Again:
        """The account's message, for its recipients or ``to``.  Raises: NoSuch, Refusal."""
        sent = await self.history.message(account_id, id_)
        if sent is None:
            raise NoSuch("there is no such message, or its retention is over")
        content = await self.contents.find(account_id, id_)
        if content is None:
            raise Refusal(
                "the message is not kept any more: what failed is kept for a while, what was"
                " delivered in mailboxes only; send it anew"
            )
        if sent.message.reverse_path is None:
            raise Refusal("the message had no sender to whom failures go: it cannot be sent again")
        before = list(dict.fromkeys(view.entry.told_as for view in sent.entries))
        recipients = list(dict.fromkeys(to)) or before
        is_to_others = not set(recipients) <= set(before)
        return Again(sent.message, sent.message.reverse_path, recipients, content, is_to_others)

    async def pieces(self, again: Again) -> AsyncIterator[bytes]:
        """What is sent, piece by piece: as it came, without what was the first one's own."""
        head, is_passed, to_others = b"", False, again.is_to_others
        async for block in self._body(again.content):
            if is_passed:
                yield block
                continue
            head += block
            if len(head) > MAX_HEADER_BYTES:
                is_passed = True
                yield without_own_fields(head, to_others=to_others)
        if not is_passed:
            yield without_own_fields(head, to_others=to_others)

    async def _body(self, content: Content) -> AsyncIterator[bytes]:
        if content.body is not None:
            yield content.body
            return
        offset = 0
        while block := await self.contents.read_spool(
            content.spool_name or "", offset, BLOCK_BYTES
        ):
            yield block
            offset += len(block)


def read_recipients(text: str) -> Sequence[Address]:
    """Addresses with commas, blanks or new lines between them.  Raises: Refusal."""
    if len(text) > MOST_RECIPIENT_CHARACTERS:
        raise Refusal(f"the recipients have more than {MOST_RECIPIENT_CHARACTERS} characters")
    found = []
    for word in text.replace(",", " ").replace(";", " ").split():
        try:
            found.append(Address.parse(word))
        except MalformedAddress as error:
            raise Refusal(f"{word[:320]!r} is no address: {error}") from None
    return found
