"""Values to rows and back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement

from mailrelay.message.edit import Edit, Stretch
from mailrelay.message.verdict import Verdict
from mailrelay.observe.events import Event, EventKind, NewEvent
from mailrelay.queue.entry import NULL_PATH, Content, Entry, EntryState, Message
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from mailrelay.storage import tables
from mailrelay.storage.statements import Row

_encode = msgspec.json.Encoder().encode
_verdict = msgspec.json.Decoder(Verdict).decode
_EIGHT_BIT, _SMTPUTF8, _REQUIRE_TLS, _AUTOMATIC, _URGENT = 1, 2, 4, 8, 16
_REPORT = 32


def message_row(message: Message) -> Row:
    """As ``tables.message`` has its columns."""
    flags = (
        (_EIGHT_BIT if message.eight_bit else 0)
        | (_SMTPUTF8 if message.smtputf8 else 0)
        | (_REQUIRE_TLS if message.require_tls else 0)
        | (_AUTOMATIC if message.is_automatic else 0)
        | (_URGENT if message.is_urgent else 0)
        | (_REPORT if message.is_report else 0)
    )
    return (
        message.id,
        message.account_id,
        str(message.reverse_path or ""),
        message.received_at,
        message.size_bytes,
        message.door,
        message.message_id,
        message.subject,
        flags,
        message.ret,
        message.envid,
        _encode(message.extra).decode() if message.extra else None,
        message.remote_ip,
        _encode(message.tags).decode() if message.tags else None,
        _encode(message.verdict).decode() if message.verdict else None,
    )


def tag_rows(message: Message) -> list[Row]:
    """As ``tables.message_tag`` has its columns: what finds the messages of an account by tag."""
    if not message.tags or message.account_id is None:
        return []
    return [(message.account_id, tag, message.id) for tag in message.tags]


def message_of(row: Row) -> Message:
    """The reverse of ``message_row``."""
    flags = row[8]
    return Message(
        id=row[0],
        account_id=row[1],
        reverse_path=stored_address(row[2]) if row[2] else None,
        received_at=row[3],
        size_bytes=row[4],
        door=row[5],
        message_id=row[6],
        subject=row[7],
        eight_bit=bool(flags & _EIGHT_BIT),
        smtputf8=bool(flags & _SMTPUTF8),
        require_tls=bool(flags & _REQUIRE_TLS),
        is_automatic=bool(flags & _AUTOMATIC),
        ret=row[9],
        envid=row[10],
        extra=msgspec.json.decode(row[11]) if row[11] else None,
        remote_ip=row[12],
        is_urgent=bool(flags & _URGENT),
        is_report=bool(flags & _REPORT),
        tags=tuple(msgspec.json.decode(row[13])) if row[13] else (),
        verdict=verdict_of(row[14]),
    )


def verdict_of(text: str | None) -> Verdict | None:
    """What was judged, as it is stored."""
    return _verdict(text) if text else None


def stored_address(text: str) -> Address:
    """An address as we stored it: what stands after the last @ is the domain.

    Not parsed: the rules may have changed since, and what was accepted stays deliverable.
    """
    localpart, _, domain = text.rpartition("@")
    if localpart.startswith('"'):
        return Address.parse(text)
    return Address(localpart, domain)


_NULL_PATH_TEXT = "<>"


def _path_text(path: Address) -> str:
    return _NULL_PATH_TEXT if path == NULL_PATH else str(path)


def _path_of(text: str) -> Address:
    return NULL_PATH if text == _NULL_PATH_TEXT else stored_address(text)


def _edit_bytes(edit: Edit) -> bytes:
    return msgspec.msgpack.encode((edit.front, edit.stretches))


def _edit_of(data: bytes) -> Edit:
    front, stretches = msgspec.msgpack.decode(data, type=tuple[bytes, tuple[Stretch, ...]])
    return Edit(front, stretches)


def content_row(message_id: int, content: Content) -> Row:
    """As ``tables.content`` has its columns."""
    return (message_id, content.body_size_bytes, content.spool_name, content.prefix, content.body)


def content_of(row: Row) -> Content:
    """The reverse of ``content_row``."""
    body = bytes(row[4]) if row[4] is not None else None
    return Content(bytes(row[3]), body, row[2], row[1])


def entry_row(entry: Entry, node_id: int) -> Row:
    """As ``tables.entry`` has its columns; claimed by ``node_id`` if the entry has an epoch."""
    return (
        entry.id,
        entry.message.id,
        entry.account_id,
        str(entry.recipient),
        int(entry.state),
        entry.queued_at,
        entry.next_attempt_at,
        entry.attempts,
        entry.last_attempt_at,
        entry.lane,
        node_id if entry.epoch else 0,
        entry.epoch,
        ",".join(sorted(n.value for n in entry.notify)),
        entry.orcpt,
        int(entry.delay_reported),
        None,
        None,
        entry.from_id,
        _path_text(entry.own_reverse_path) if entry.own_reverse_path else None,
        str(entry.alias) if entry.alias else None,
        _edit_bytes(entry.edit) if entry.edit else None,
        entry.member_of,
    )


NEVER_AT_FIRST = frozenset({"kept_until", "transport"})
"""Columns of contents and entries that are null until an operator, or a failure, sets them."""

ENTRY_COLUMNS: list[ColumnElement[Any]] = [
    tables.entry.c[name]
    for name in (
        "id",
        "recipient",
        "state",
        "queued_at",
        "next_attempt_at",
        "attempts",
        "last_attempt_at",
        "lane",
        "epoch",
        "notify",
        "orcpt",
        "delay_reported",
        "from_id",
        "reverse_path",
        "alias",
        "edit",
        "member_of",
        "transport",
    )
]


def entry_of(row: Row, message: Message) -> Entry:
    """From a row of ENTRY_COLUMNS and its message."""
    return Entry(
        id=row[0],
        message=message,
        recipient=stored_address(row[1]),
        queued_at=row[3],
        next_attempt_at=row[4],
        notify=frozenset(Notify(word) for word in row[9].split(",") if word),
        orcpt=row[10],
        state=EntryState(row[2]),
        attempts=row[5],
        last_attempt_at=row[6],
        delay_reported=bool(row[11]),
        lane=row[7],
        epoch=row[8],
        from_id=row[12],
        own_reverse_path=_path_of(row[13]) if row[13] else None,
        alias=stored_address(row[14]) if row[14] else None,
        edit=_edit_of(bytes(row[15])) if row[15] else None,
        member_of=row[16],
        transport=row[17],
    )


def event_row(event: NewEvent) -> Row:
    """As ``tables.event`` has its columns, without the position."""
    return (
        event.at,
        event.kind.value,
        event.message_id,
        event.entry_id,
        event.account_id,
        _encode(event.data),
    )


def event_of(row: Row) -> Event:
    """From a whole row of ``tables.event``."""
    return Event(
        position=row[0],
        at=row[1],
        kind=EventKind(row[2]),
        message_id=row[3],
        entry_id=row[4],
        account_id=row[5],
        data=msgspec.json.decode(bytes(row[6])),
    )
