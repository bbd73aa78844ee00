"""An account's own view of its mailboxes: every question carries the account (threat 28)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.mailbox.model import MailboxMessage
from mailrelay.queue.entry import Content


@frozen
class StoredMessage:
    """A message with its bytes: ``prefix``, then ``content``.  It came to us by ``door``."""

    listed: MailboxMessage
    door: str
    remote_ip: str | None
    prefix: bytes
    content: Content


class NoSuchMailbox(Exception):
    """The account has no mailbox of that name."""


class AlreadyInMailbox(Exception):
    """The message is there."""


class AccountMessages(Protocol):
    """One account's messages.  Methods may fail with StoreUnavailable.

    What another account has is not there.
    """

    def get(self, account_id: int, id_: int) -> Deferred[StoredMessage | None]:
        """A message; large content is read with ``read_spool``."""

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore."""

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
