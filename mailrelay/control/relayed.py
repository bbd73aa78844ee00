"""Mail that a peer handed to us and that can never be delivered: what is kept of it."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from mailrelay.observe.events import NewEvent
from mailrelay.queue.entry import NewMessage


class RelayedMail(Protocol):
    """What is kept of it.  Methods may fail with StoreUnavailable."""

    def add_failed(self, new: NewMessage, failed: NewEvent, keep_until: float) -> Deferred[None]:
        """Make a message ours that was refused for good: its one entry is retired by ``failed``.

        Its content is not kept.  Fails with NotStored as QueueStore.add does.
        """
