"""What is typed into the form for a message, and what is sent of it.  Pure.

Every field is bounded, and a mistake is told beside the field that it is in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TypeVar

from attrs import field, frozen

from mailrelay.message.mailboxes import NamedAddress, read_list
from mailrelay.message.words import CONTROLS
from mailrelay.smtp.address import Address, MalformedAddress

MOST_TEXT = 100_000
MOST_SUBJECT = 900
MOST_PEOPLE = 10_000
"""Characters of a list of addresses."""

LONGEST_WAIT = 60 * 86400.0
"""How far ahead a message may be sent, in seconds."""

MOST_FILES = 50

T = TypeVar("T")


class How(StrEnum):
    """What a message is to the one that it was made of."""

    REPLY = "reply"
    REPLY_ALL = "reply-all"
    FORWARD = "forward"


@frozen
class Letter:
    """The form as it was filled in.  ``made_of`` is the message that it answers or forwards.

    ``other_from`` is an address of a catch-all, which no list has; ``at`` is a time in UTC, as
    browsers write it; ``parts`` are the paths of what is forwarded along.
    """

    from_: str = ""
    other_from: str = ""
    to: str = ""
    cc: str = ""
    bcc: str = ""
    reply_to: str = ""
    subject: str = ""
    text: str = field(default="", repr=False)
    at: str = ""
    keeps_copy: bool = True
    made_of: int | None = None
    how: How | None = None
    parts: Sequence[str] = ()


@frozen
class Ready:
    """A letter that can be sent, but for its files.  ``at`` is seconds since the epoch."""

    from_: Address
    to: Sequence[NamedAddress]
    cc: Sequence[NamedAddress]
    bcc: Sequence[NamedAddress]
    reply_to: Sequence[NamedAddress]
    subject: str
    text: str = field(repr=False)
    at: float | None = None
    keeps_copy: bool = False
    references: Sequence[str] = ()


class NotSent(Exception):
    """The letter cannot be sent as it is: what is wrong, by the name of the field; "" for all."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


def ready_letter(letter: Letter, owns: Callable[[Address], bool], now: float) -> Ready:
    """What ``letter`` says; ``owns`` whether the account may send as an address.  Raises: NotSent.

    All mistakes are told at once.
    """
    problems: dict[str, str] = {}

    def checked(name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except ValueError as error:
            problems[name] = str(error)
            return otherwise

    written = {"to": letter.to, "cc": letter.cc, "bcc": letter.bcc, "reply_to": letter.reply_to}
    people: dict[str, list[NamedAddress]] = {
        name: checked(name, partial(_people, text), []) for name, text in written.items()
    }
    from_name = "other_from" if letter.other_from else "from"
    sender: Callable[[], Address | None] = partial(_sender, letter.other_from or letter.from_, owns)
    from_ = checked(from_name, sender, None)
    subject = checked("subject", lambda: _line(letter.subject, MOST_SUBJECT), "")
    text = checked("text", lambda: _text(letter.text), "")
    at = checked("at", lambda: _time(letter.at, now), None)
    if not problems and not (people["to"] or people["cc"] or people["bcc"]):
        problems["to"] = "To whom? Give an address here, in Cc or in Bcc."
    if problems or from_ is None:
        raise NotSent(problems)
    return Ready(
        from_=from_,
        to=people["to"],
        cc=people["cc"],
        bcc=people["bcc"],
        reply_to=people["reply_to"],
        subject=subject,
        text=text,
        at=at,
        keeps_copy=letter.keeps_copy,
    )


def _people(text: str) -> list[NamedAddress]:
    read = read_list(_line(text, MOST_PEOPLE))
    if read.missed:
        raise ValueError(
            f"“{read.missed[0][:100]}” is no address. Write ann@example.org, or"
            ' "Ann" <ann@example.org>, and a comma between two.'
        )
    return list(read.found)


def _sender(text: str, owns: Callable[[Address], bool]) -> Address:
    try:
        address = Address.parse(text)
    except MalformedAddress:
        raise ValueError("This is no address.") from None
    if not owns(address):
        raise ValueError("This account may not send as this address.")
    return address


def _line(text: str, most: int) -> str:
    if len(text) > most:
        raise ValueError(f"This is longer than {most} characters.")
    if CONTROLS.search(text):
        raise ValueError("This has a control character; write it anew.")
    return text


def _text(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > MOST_TEXT:
        raise ValueError(f"The text is longer than {MOST_TEXT} characters; attach it as a file.")
    return text.rstrip("\n") + "\n"


def _time(text: str, now: float) -> float | None:
    if not text:
        return None
    if not _TIME.fullmatch(text):
        raise ValueError("This is no time. Write it as 2026-11-22T09:30.")
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError("There is no such time.") from None
    if at < now - 60:
        raise ValueError("This time is over; leave it empty to send now.")
    if at > now + LONGEST_WAIT:
        raise ValueError("This is more than 60 days ahead.")
    return at


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?")
