"""Events of a message that was just accepted."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.acceptance.copies import told_as
from mailrelay.acceptance.envelope import Source
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Entry, EntryState, Message


def accepted_event(source: Source, message: Message, entries: Sequence[Entry]) -> NewEvent:
    """That a message is ours."""
    told, submitter = told_as(entries), source.submitter
    account = submitter.account
    key = account.key if account is not None else None
    data: dict[str, object] = {
        "door": source.door,
        "protocol": source.protocol,
        "reverse_path": str(message.reverse_path or ""),
        "size_bytes": message.size_bytes,
        "message_id": message.message_id,
        "recipients": told[:100],
        "recipient_count": len(told),
        "peer_ip": source.peer_ip,
        "helo": source.helo,
        "tls": source.tls,
        "login": submitter.login if key is None else None,
        "key": key.id if key is not None else None,
        **_judged(message),
    }
    return NewEvent(
        EventKind.ACCEPTED,
        message.received_at,
        message.id,
        None,
        message.account_id,
        {name: value for name, value in data.items() if value is not None},
    )


def _judged(message: Message) -> dict[str, object]:
    verdict = message.verdict
    if verdict is None:
        return {}
    return {
        "spf": verdict.spf,
        "dmarc": verdict.dmarc,
        "junk": verdict.junk or None,
        "judged": list(verdict.reasons),
    }


def held_events(message: Message, entries: Sequence[Entry]) -> list[NewEvent]:
    """The events of entries that a hold rule keeps."""
    return [
        NewEvent(
            EventKind.HELD,
            message.received_at,
            message.id,
            entry.id,
            entry.account_id,
            {"by": "hold rule", "recipient": str(entry.told_as)},
        )
        for entry in entries
        if entry.state is EntryState.HELD
    ]
