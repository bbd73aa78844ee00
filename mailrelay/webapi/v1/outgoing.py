"""What every way of sending has in common: what is answered, what is checked, how it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from attrs import evolve
from msgspec import Meta

from mailrelay.acceptance.copies import first_of_each
from mailrelay.message.draft import Unwritable
from mailrelay.queue.entry import Entry, Message
from mailrelay.smtp.address import Address
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.send import Sender
from mailrelay.webapi.v1.fields import Id, Line
from mailrelay.webapi.v1.operations import Strict
from mailrelay.webapi.v1.problems import (
    INVALID_FIELD,
    LIMIT_REACHED,
    NOT_ACCEPTED,
    NOT_ALLOWED,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    Problem,
)

LONGEST_WAIT = 366 * 86400.0
"""How far ahead ``send_at`` may be, in seconds."""

MOST_ENTRIES = 10_000


class Queued(Strict, frozen=True):
    """One recipient.  ``id`` is its entry's, by which events tell of it."""

    id: Id
    recipient: Line


class Sent(Strict, frozen=True):
    """A message that is ours now.  ``message_id`` is its header's."""

    id: Id
    message_id: Line
    entries: Annotated[list[Queued], Meta(max_length=MOST_ENTRIES)]


def queued(entries: Sequence[Entry]) -> list[Queued]:
    """A message's entries, as they are answered."""
    return [Queued(id=one.id, recipient=str(one.told_as)) for one in first_of_each(entries)]


def sent(message: Message, entries: Sequence[Entry]) -> Sent:
    """A message that was accepted, as it is answered."""
    return Sent(id=message.id, message_id=message.message_id or "", entries=queued(entries))


def as_sender(caller: Caller, from_: Address) -> Caller:
    """A key logs in as whom it sends for."""
    return caller if caller.login else evolve(caller, login=str(from_))


def check_sender(sender: Sender, caller: Caller, from_: Address, field: str) -> None:
    """Whether the login, or the key, may send as ``from_``.  Raises: Problem."""
    if not sender.directory().owns(caller.account, from_):
        text = "is no address that this login or key may send from"
        raise Problem(NOT_ALLOWED, text, field)


def check_recipients(
    sender: Sender, caller: Caller, recipients: Sequence[Address], before: int = 0
) -> None:
    """How many they may be, with ``before`` of the same request.  Raises: Problem."""
    if not recipients:
        raise Problem(INVALID_FIELD, "there is no recipient: to, cc and bcc are empty", "to")
    if len(recipients) > sender.max_recipients:
        text = f"a message has at most {sender.max_recipients} recipients"
        raise Problem(INVALID_FIELD, text, "to")
    if sender.over_daily_limit(caller.account, before + len(recipients)) is not None:
        text = "the account's messages for the last 24 hours are used up"
        raise Problem(LIMIT_REACHED, text, headers={"Retry-After": "3600"})


def release_at(send_at: datetime | None, now: float) -> float | None:
    """When the first attempt is asked for, seconds since the epoch.  Raises: Problem."""
    if send_at is None:
        return None
    try:
        at = send_at.timestamp()
    except (OverflowError, ValueError):
        raise Problem(INVALID_FIELD, "is no time that can be kept", "send_at") from None
    if at > now + LONGEST_WAIT:
        raise Problem(INVALID_FIELD, "is more than a year ahead", "send_at")
    return at


def json_bytes(message_bytes: int) -> int:
    """How long JSON may be that says a message of that size: base64, and escapes."""
    return message_bytes * 3 // 2 + 1024 * 1024


_KINDS = {
    "messageTooLarge": TOO_LARGE,
    "recipientLimitReached": LIMIT_REACHED,
    "server": STORE_UNAVAILABLE,
}


def problem_of_refusal(error: APIError) -> Problem:
    """What acceptance says, as the API does."""
    kind = _KINDS.get(error.code, NOT_ACCEPTED)
    headers = {"Retry-After": "5"} if kind is STORE_UNAVAILABLE else {}
    return Problem(kind, error.message, headers=headers)


def problem_of_unwritable(error: Unwritable) -> Problem:
    """A field that acceptance was not even asked about."""
    return Problem(INVALID_FIELD, error.text, error.field)
