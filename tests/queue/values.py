"""Values for the queue's unit tests, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, Message
from mailrelay.smtp.address import Address

SENDER = Address("s", "example.org")


def message(id_: int = 1, **changes: Any) -> Message:
    """A message."""
    given: dict[str, Any] = {
        "account_id": None,
        "reverse_path": SENDER,
        "received_at": 0.0,
        "size_bytes": 100,
        "door": "smtp",
    }
    return Message(id_, **given | changes)


def entry(id_: int = 11, of: Message | None = None, **changes: Any) -> Entry:
    """An entry of message ``of``."""
    given: dict[str, Any] = {
        "message": of or message(),
        "recipient": Address(f"r{id_}", "example.net"),
        "queued_at": 0.0,
        "next_attempt_at": 0.0,
    }
    return Entry(id_, **given | changes)


def destination(key: str = "mx:example.net") -> Destination:
    """A destination."""
    return Destination(key, None)
