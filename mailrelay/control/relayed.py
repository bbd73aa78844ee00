"""Mail that a peer handed to us, and how far the peer was told what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.observe.events import Event, NewEvent
from mailrelay.queue.entry import NewMessage


@frozen
class PeerEvent:
    """An event of a peer's message; ``msg_id`` is what the peer calls that."""

    event: Event
    msg_id: str
    webhook_url: str | None = None


@frozen
class PeerEvents:
    """Events in order; ``position`` is up to where was looked."""

    events: Sequence[PeerEvent]
    position: int


class RelayedMail(Protocol):
    """What is kept of it.  Methods may fail with StoreUnavailable."""

    def add_failed(self, new: NewMessage, failed: NewEvent, keep_until: float) -> Deferred[None]:
        """Make a message ours that was refused for good: its one entry is retired by ``failed``.

        Its content is not kept.  Fails with NotStored as QueueStore.add does.
        """

    def position(self, peer_id: int) -> Deferred[int]:
        """Up to where the peer was told, in positions of events."""

    def events(self, peer_id: int, account_id: int, after: int, limit: int) -> Deferred[PeerEvents]:
        """What became of its mail since: of the account's next ``limit`` events, those of it."""

    def told(self, peer_id: int, position: int, at: float) -> Deferred[None]:
        """The peer was told all up to ``position``; it never goes back."""
