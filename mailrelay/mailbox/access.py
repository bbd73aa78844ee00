"""An account's own view of its mailboxes: every question carries the account (threat 28)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.mailbox.model import MailboxMessage
from mailrelay.message.verdict import Verdict
from mailrelay.queue.entry import Content

BLOCK_BYTES = 256 * 1024

UNREAD_AMONG = 10_000
"""Of an account's messages, the newest: a count may not take long."""


@frozen
class MailboxQuery:
    """Which messages; None is any.  Times are seconds since the epoch.

    ``sender``, ``recipient`` and ``subject`` are within the envelope's and the subject, whatever
    the case of their letters.
    """

    mailbox: str | None = None
    since: float | None = None
    until: float | None = None
    sender: str | None = None
    recipient: str | None = None
    subject: str | None = None
    flag: str | None = None
    without_flag: str | None = None
    larger_than: int | None = None  # bytes
    smaller_than: int | None = None
    before_id: int | None = None
    limit: int = 50


@frozen
class MailboxPage:
    """Messages found; those before ``before_id`` were not looked at, None when all were."""

    messages: Sequence[MailboxMessage]
    before_id: int | None


@frozen
class StoredMessage:
    """A message with its bytes: ``prefix``, then ``content``.  It came to us by ``door``."""

    listed: MailboxMessage
    door: str
    remote_ip: str | None
    prefix: bytes
    content: Content
    verdict: Verdict | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes in all."""
        return len(self.prefix) + self.content.size_bytes


@frozen
class Beside:
    """The ids of the messages next to one in its list, None at its ends."""

    newer: int | None
    older: int | None


class NoSuchMailbox(Exception):
    """The account has no mailbox of that name."""


class AlreadyInMailbox(Exception):
    """The message is there."""


class ContentGone(Exception):
    """The message was removed while its bytes were read."""


class StoredMessages(Protocol):
    """Messages and their bytes.  Methods may fail with StoreUnavailable."""

    def get(self, account_id: int, id_: int) -> Deferred[StoredMessage | None]:
        """A message; large content is read with ``read_spool``."""

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore."""


class AccountMessages(StoredMessages, Protocol):
    """One account's messages.  Methods may fail with StoreUnavailable.

    What another account has is not there.
    """

    def find(self, account_id: int, wanted: MailboxQuery) -> Deferred[MailboxPage]:
        """Messages that ``wanted`` fits, newest first.

        Only so many are looked at that an answer comes soon: there may be more where few, or
        none, were found.
        """

    def mailboxes(self, account_id: int) -> Deferred[Sequence[str]]:
        """The names of the account's mailboxes."""

    def unread(self, account_id: int, mailbox: str | None) -> Deferred[int]:
        """How many are not seen among the newest UNREAD_AMONG, or those of them in ``mailbox``."""

    def beside(self, account_id: int, id_: int, mailbox: str) -> Deferred[Beside]:
        """What is next to a message in ``mailbox``, as far as it is looked for."""

    def delete_all(self, account_id: int, ids: Sequence[int]) -> Deferred[int]:
        """Remove messages for good, in one transaction: some 50 at the most; how many."""

    def change_all(
        self,
        account_id: int,
        ids: Sequence[int],
        change: Callable[[Sequence[str]], Sequence[str]],
    ) -> Deferred[int]:
        """``change_flags`` of all in one transaction: some 100 at the most; how many."""

    def delete(self, account_id: int, id_: int) -> Deferred[bool]:
        """Remove a message for good; False when there is none."""

    def change_flags(
        self, account_id: int, id_: int, change: Callable[[Sequence[str]], Sequence[str]]
    ) -> Deferred[bool]:
        """Set the flags that ``change`` makes of those there; False when there is no message."""

    def move(self, account_id: int, id_: int, mailbox: str) -> Deferred[bool]:
        """Move a message; its id stays, its junk flags follow.  False when there is none.

        Fails with NoSuchMailbox, AlreadyInMailbox.
        """


async def blocks(
    store: StoredMessages, stored: StoredMessage, start: int = 0, end: int | None = None
) -> AsyncIterator[bytes]:
    """The bytes of ``stored`` from ``start`` to ``end``, in pieces of BLOCK_BYTES at most.

    Raises: ContentGone.
    """
    content = stored.content
    front = stored.prefix + content.prefix
    at, end = start, stored.size_bytes if end is None else end
    while at < end:
        size, behind = min(BLOCK_BYTES, end - at), at - len(front)
        if behind < 0:
            block = front[at : min(at + size, len(front))]
        elif content.body is not None:
            block = content.body[behind : behind + size]
        else:
            block = await store.read_spool(
                content.spool_name or "", content.body_from + behind, size
            )
        if not block:
            raise ContentGone(f"message {stored.listed.id} was removed")
        yield block
        at += len(block)


async def whole(store: StoredMessages, stored: StoredMessage) -> bytes:
    """All bytes of ``stored``.  Raises: ContentGone."""
    return b"".join([block async for block in blocks(store, stored)])
