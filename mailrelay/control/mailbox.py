"""Local mailboxes as operators see them: list, show, export, import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.mailbox.model import MailboxMessage


@frozen
class MessageFilter:
    """Which messages; None is any."""

    account: str | None = None
    mailbox: str | None = None
    ids: Sequence[int] | None = None
    limit: int = 1000
    after_id: int = 0


@frozen
class Imported:
    """A message that is to be put in a mailbox as it is."""

    account: str
    mailbox: str
    content: bytes
    received_at: float
    flags: Sequence[str] = ()


class OverQuota(Refusal):
    """The account's quota does not allow it."""


class MailboxRecords(Protocol):
    """The mailboxes' rows.  Methods may fail with StoreUnavailable."""

    def find(self, wanted: MessageFilter) -> Deferred[Sequence[tuple[str, MailboxMessage]]]:
        """Account name and message, by id."""

    def content(self, id_: int) -> Deferred[bytes | None]:
        """A message's bytes whole, its own prefix included; None when there is none."""

    def add(self, new: Imported, *, actor: str = "", now: float = 0.0) -> Deferred[int]:
        """Put a message in a mailbox; its id.  Audited when there is an ``actor``.

        Fails with NoSuch, OverQuota.
        """


@frozen
class MailboxControl:
    """What may be asked of the mailboxes."""

    records: MailboxRecords
    now: Callable[[], float]
    actor: str

    async def find(self, wanted: MessageFilter) -> Sequence[tuple[str, MailboxMessage]]:
        """The messages that ``wanted`` fits, by id."""
        return await self.records.find(wanted)

    async def content(self, id_: int) -> bytes:
        """A message whole.  Raises: NoSuch."""
        found = await self.records.content(id_)
        if found is None:
            raise NoSuch(f"no message {id_} in a mailbox: mailrelay message list")
        return found

    async def add(self, new: Imported) -> int:
        """Import a message.  Raises: Refusal."""
        return await self.records.add(new, actor=self.actor, now=self.now())
