"""One-click unsubscribing (RFC 8058): links that we sign, and what following one does.

Invariant: what a link does is recorded once: the event and the suppression in one transaction.
Who takes the address off the list may send again, until the link is used again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.links import Links
from mailrelay.smtp.address import Address

PURPOSE = "unsubscribe"
VALID_FOR = 400 * 86400.0
"""How long after its message a link can be used, in seconds."""


@frozen
class Subscription:
    """Who gets an account's mail: the recipient of one entry, on a list that has a name or none."""

    account_id: int
    message_id: int
    entry_id: int
    recipient: Address
    list_name: str = ""


@frozen
class UnsubscribeLinks:
    """Makes and reads links below ``public_url``, which is empty where there are none."""

    links: Links
    public_url: str

    def url(self, of: Subscription, sent_at: float) -> str:
        """A link for a message that is sent then, in seconds since the epoch."""
        fields = (
            *(str(of.account_id), str(of.message_id), str(of.entry_id)),
            *(str(of.recipient), of.list_name),
        )
        token = self.links.token(fields, sent_at + VALID_FOR)
        return f"{self.public_url.rstrip('/')}/unsubscribe/{token}"

    def read(self, token: str, now: float) -> Subscription | None:
        """What a link of ours is for; None for what is none, or has ended."""
        fields = self.links.read(token, now)
        if fields is None:
            return None
        account_id, message_id, entry_id, recipient, list_name = fields
        return Subscription(
            int(account_id), int(message_id), int(entry_id), Address.parse(recipient), list_name
        )


class UnsubscribeRecords(Protocol):
    """What is stored of it.  Methods may fail with StoreUnavailable."""

    def record(self, event: NewEvent) -> Deferred[bool]:
        """Record that the recipient of ``event`` wants no more, and suppress it for the account.

        False when that was done before and holds, or the account is gone.
        """


@frozen
class Unsubscribing:
    """What a link does."""

    links: UnsubscribeLinks
    records: UnsubscribeRecords
    now: Callable[[], float]

    def read(self, token: str) -> Subscription | None:
        """What a link is for; None when it is for nothing."""
        return self.links.read(token, self.now())

    async def end(self, of: Subscription) -> bool:
        """The recipient wants no more; whether that is news.  Raises: StoreUnavailable."""
        data: dict[str, object] = {"recipient": str(of.recipient)}
        if of.list_name:
            data["list"] = of.list_name
        event = NewEvent(
            EventKind.UNSUBSCRIBED, self.now(), of.message_id, of.entry_id, of.account_id, data
        )
        return await self.records.record(event)
