"""Messages in mailboxes, and what is asked of their store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from mailrelay.observe.events import NewEvent
from mailrelay.smtp.address import Address

INBOX, JUNK = "Inbox", "Junk"
DEFAULT_MAILBOXES = (INBOX, "Sent", "Archive", "Trash", "Drafts", JUNK)


@frozen
class Incoming:
    """A message to be put in a mailbox.  Its content is the queue message's, under ``prefix``."""

    id: int
    account_id: int
    mailbox: str
    message_id: int
    entry_id: int | None
    reverse_path: Address | None
    recipient: Address
    received_at: float
    size_bytes: int
    subject: str
    prefix: bytes
    flags: Sequence[str] = ()
    remote_ip: str | None = None
    event: NewEvent | None = None  # of an entry that this message answers, stored with it
    payload: bytes | None = field(default=None, repr=False)  # of the call that tells of it
    signed_payload: bytes | None = field(default=None, repr=False)  # ... to a signed endpoint

    @property
    def is_told(self) -> bool:
        """Whether somebody is to be called."""
        return self.payload is not None or self.signed_payload is not None


@frozen
class MailboxMessage:
    """A message as listed.  ``received_at`` is seconds since the epoch."""

    id: int
    account_id: int
    mailbox: str
    uid: int
    message_id: int
    flags: Sequence[str]
    reverse_path: str
    recipient: str
    received_at: float
    size_bytes: int
    subject: str


class OverQuota(Exception):
    """The account's mailboxes are full."""


class MailboxStore(Protocol):
    """Durable mailboxes."""

    def new_id(self) -> int:
        """See QueueStore."""

    def deliver(self, incoming: Incoming) -> Deferred[bool]:
        """Store ``incoming`` once: what its entry has delivered before is not delivered again.

        False when the account's quota does not allow it, and when its entry is held or has ended
        by now, whatever was known when the attempt began; once true it survives a crash.
        Fails with StoreUnavailable.
        """
