"""What peers handed to us, as they may ask about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.queue import EntryView
from mailrelay.observe.events import Event


@frozen
class ToldEvent:
    """An event of a message that a peer calls ``msg_id``; ``extra`` came with that.

    ``webhook_url`` is where it wants to hear of it.
    """

    event: Event
    msg_id: str
    extra: Mapping[str, str] = field(factory=dict)
    webhook_url: str | None = None


@frozen
class PeerFeed:
    """Events of a peer's messages, in order.

    ``position`` is up to where was looked, and ``has_more`` when that is not yet the end.
    Nothing that was removed is behind ``oldest``.
    """

    events: Sequence[ToldEvent]
    position: int
    has_more: bool
    oldest: int = 0


@frozen
class PeerMessage:
    """A message of a peer's, and its entries as they stand."""

    id: int
    msg_id: str
    entries: Sequence[EntryView]


@frozen
class SuppressionChange:
    """What a peer says of an address.  ``base_address`` is what is compared; times are its own."""

    address: str
    base_address: str
    is_suppressed: bool
    reason: str
    changed_at: float


class PeerEvents(Protocol):
    """What becomes of peers' mail, and how far each was told.

    Methods may fail with StoreUnavailable.
    """

    def events(self, peer_id: int, account_id: int, after: int, limit: int) -> Deferred[PeerFeed]:
        """Of the account's next ``limit`` events behind ``after`` those of the peer's messages."""

    def position(self, peer_id: int) -> Deferred[int]:
        """Up to where the peer says that it has them."""

    def acknowledge(self, peer_id: int, position: int, at: float) -> Deferred[None]:
        """Note that the peer has the events up to ``position``; it never moves back."""


class PeerMail(PeerEvents, Protocol):
    """The store, for a peer that asks.  Methods may fail with StoreUnavailable."""

    def message(self, peer_id: int, message_id: int) -> Deferred[PeerMessage | None]:
        """A message that the peer handed to us; None of others'."""

    def suppress(
        self, peer_id: int, account_id: int, change: SuppressionChange, at: float
    ) -> Deferred[bool]:
        """Put an address on the account's list, or take it off, as the peer says.

        False when a newer change of that address is known; then nothing is done.
        """
