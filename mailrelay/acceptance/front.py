"""The fields that acceptance puts in front of what came.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.message.header import Header
from mailrelay.message.trace import Hop, date_field, message_id_field
from mailrelay.smtp.reply import printable


def hop_of(source: Source, envelope: Envelope, hostname: str, id_: int, now: float) -> Hop:
    """What Received tells of how the message came."""
    only = envelope.recipients[0].forward_path if len(envelope.recipients) == 1 else None
    hop = Hop(hostname, source.protocol, id_, now, tls=source.tls, recipient=only)
    if source.hide_peer:
        return hop
    return evolve(hop, helo=source.helo, peer_ip=source.peer_ip)


def missing_fields(
    source: Source, header: Header, hostname: str, token: Callable[[], str], now: float
) -> tuple[bytes, str | None]:
    """Date and Message-ID that a submission lacks (RFC 6409 section 8), and the Message-ID."""
    message_id = header.first("message-id")
    added = b""
    if source.needs_from and not message_id:
        message_id = f"<{token()}@{hostname}>"
        added += message_id_field(message_id)
    if source.needs_from and not header.count("date"):
        added += f"Date: {date_field(now)}\r\n".encode()
    return added, printable(message_id, 990) if message_id else None
