"""The first line of what is handed to a peer, and what the peer answers.  Pure.  A.6.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mailrelay.control.peer_requests import Told
from mailrelay.queue.entry import Entry, Message
from mailrelay.smtp.reply import printable

MESSAGE_TYPE = "application/vnd.mailrelay.message"

DOOR = "relay"
"""By which messages came that a peer handed to us so."""

_TEXT_CHARACTERS = 300


class _Result(msgspec.Struct, frozen=True):
    rcpt: str
    state: str
    code: int = 0
    text: str = ""


class _Accepted(msgspec.Struct, frozen=True):
    id: str
    results: list[_Result]
    receipt: str = ""


class _Refused(msgspec.Struct, frozen=True):
    text: str = ""
    error: str = ""
    detail: str = ""


def meta_line(
    key: str, message: Message, entries: Sequence[Entry], hops: Sequence[str], expires_at: float
) -> bytes:
    """The meta of ``entries``; LF ends it.

    What is to wait waits here: there is no ``not_before``.
    """
    first = entries[0]
    meta: dict[str, Any] = {
        "v": 1,
        "msg_id": key,
        "mail_from": str(first.reverse_path or ""),
        "rcpt_to": [str(entry.recipient) for entry in entries],
        "hops": list(hops),
        "expires_at": expires_at,
    }
    wishes: dict[str, Any] = {
        "envid": message.envid,
        "ret": message.ret,
        "notify": _notify(entries),
        "orcpt": {str(entry.recipient): entry.orcpt for entry in entries if entry.orcpt},
        "require_tls": message.require_tls,
        "smtputf8": message.smtputf8,
        "priority": "urgent" if message.is_urgent else "",
    }
    meta |= {name: value for name, value in wishes.items() if value}
    return msgspec.json.encode(meta) + b"\n"


def _notify(entries: Sequence[Entry]) -> Mapping[str, Sequence[str]] | Sequence[str]:
    """One list where all recipients have the same, else one for each."""
    wishes = {str(e.recipient): sorted(one.value for one in e.notify) for e in entries}
    same = list(wishes.values())
    if all(one == same[0] for one in same):
        return same[0]
    return {recipient: wanted for recipient, wanted in wishes.items() if wanted}


def read_accepted(body: bytes, entries: Mapping[int, str]) -> tuple[str, Mapping[int, Told]] | None:
    """The peer's id and what it says of each entry; None when the answer cannot be read."""
    try:
        said = msgspec.json.decode(body, type=_Accepted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    by_recipient = {one.rcpt: one for one in said.results}
    found = {id_: by_recipient[to] for id_, to in entries.items() if to in by_recipient}
    results = {
        id_: Told(one.state, one.code, printable(one.text, _TEXT_CHARACTERS))
        for id_, one in found.items()
        if one.state in ("queued", "suppressed", "rejected")
    }
    return printable(said.id, 200), results


def refusal_text(body: bytes) -> str:
    """Why a peer refuses, in one line; empty when it does not say."""
    try:
        said = msgspec.json.decode(body, type=_Refused)
        text = said.text or said.detail or said.error
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:200].decode("utf-8", "replace")
    return printable(" ".join(text.split()), 200)
