"""Trace and identification fields that we add (RFC 5321 section 4.4, RFC 5322 section 3.6)."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from attrs import frozen

from mailrelay.smtp.address import Address


@frozen
class Hop:
    """How a message came to us.  ``helo`` and ``peer_ip`` are None where they must not be told."""

    by: str
    protocol: str  # a WITH keyword: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP..., HTTP, LOCAL
    queue_id: int
    at: float
    helo: str | None = None
    peer_ip: str | None = None
    tls: str | None = None
    recipient: Address | None = None


def date_field(at: float) -> str:
    """``at``, seconds since the epoch, as RFC 5322 section 3.3 writes it, in UTC."""
    return _date_of(int(at // 1))


@lru_cache(maxsize=16)
def _date_of(second: int) -> str:
    return formatdate(second).removesuffix("-0000") + "+0000"


def with_protocol(*, esmtp: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """The WITH keyword of RFC 3848 and RFC 6531 section 4.3."""
    if not esmtp:
        return "SMTP"
    base = "UTF8SMTP" if smtputf8 else "ESMTP"
    return base + ("S" if tls else "") + ("A" if authenticated else "")


def received_field(hop: Hop) -> bytes:
    """The Received field, CRLF included.

    A single recipient is named; more are not, so that none learns of another (RFC 5321
    section 7.2).
    """
    parts = []
    if hop.helo is not None:
        literal = _literal(hop.peer_ip)
        parts.append(f"from {hop.helo}{f' ({literal})' if literal else ''}")
    parts.append(f"by {hop.by}")
    if hop.tls:
        parts.append(f"({hop.tls})")
    parts.append(f"with {hop.protocol} id {hop.queue_id}")
    if hop.recipient is not None:
        parts.append(f"for <{hop.recipient}>")
    fold = "\r\n\t"
    return f"Received: {fold.join(parts)};{fold}{date_field(hop.at)}\r\n".encode()


def _literal(ip: str | None) -> str:
    if not ip:
        return ""
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def message_id_field(message_id: str) -> bytes:
    """The Message-ID field for ``message_id``, given with its angle brackets."""
    return f"Message-ID: {message_id}\r\n".encode()


def delivery_fields(reverse_path: Address | None, recipient: Address) -> bytes:
    """What final delivery puts on top: Return-Path (RFC 5321 section 4.4) and Delivered-To."""
    return f"Return-Path: <{reverse_path or ''}>\r\nDelivered-To: {recipient}\r\n".encode()
