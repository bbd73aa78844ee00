"""Values for the storage tests, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Content, Entry, Finished, Message, NewMessage
from mailrelay.queue.store import QueueStore
from mailrelay.smtp.address import Address

BODY = b"Subject: hello\r\n\r\nhello\r\n"
PREFIX = b"Received: here\r\n"


def new_message(
    store: QueueStore,
    recipients: int = 1,
    *,
    content: Content | None = None,
    message: dict[str, Any] | None = None,
    **entry: Any,
) -> NewMessage:
    """A message for ``recipients``; ``entry`` and ``message`` are fields that differ."""
    content = content or Content(PREFIX, BODY, None, len(BODY))
    plain = Message(
        store.new_id(), None, Address("a", "client.test"), 50.0, content.size_bytes, "smtp"
    )
    shared = evolve(plain, **(message or {}))
    entries = [
        evolve(
            Entry(store.new_id(), shared, Address(f"user{i}", "example.org"), 50.0, 100.0), **entry
        )
        for i in range(recipients)
    ]
    event = NewEvent(EventKind.ACCEPTED, 50.0, shared.id, None, None, {"door": "smtp"})
    return NewMessage(shared, content, entries, [event])


def delivered(entry: Entry, **changes: Any) -> Finished:
    """``entry`` was delivered at 200 and is kept until 1000."""
    event = NewEvent(EventKind.DELIVERED, 200.0, entry.message.id, entry.id, None, {"code": 250})
    return evolve(Finished(entry.id, entry.epoch, 200.0, event, retired_until=1000.0), **changes)


def put_off(entry: Entry, until: float, **changes: Any) -> Finished:
    """``entry`` is to be attempted again at ``until``."""
    event = NewEvent(EventKind.DELAYED, 200.0, entry.message.id, entry.id, None, {"code": 451})
    return evolve(Finished(entry.id, entry.epoch, until, event), **changes)
