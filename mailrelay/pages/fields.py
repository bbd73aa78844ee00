"""What is typed into forms, and what is wrong with it.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import frozen

from mailrelay.control.errors import Refusal

MOST_TIME_CHARACTERS = 30


class BadField(Refusal):
    """What was typed into ``field`` cannot be taken."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@frozen
class Trouble:
    """Why a form was not taken: shown in it, at ``field`` if it is one field's."""

    form: str
    text: str
    field: str = ""


def trouble_of(form: str, error: Refusal) -> Trouble:
    """What people are told of a refusal, some of which name a field, as ``senders[1]``."""
    text = str(error)
    field = str(getattr(error, "field", "")).partition("[")[0]
    return Trouble(form, text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."), field)


def time_of(field: str, text: str) -> float | None:
    """A time in UTC as an input of ``datetime-local`` gives it; None for nothing.

    Raises: BadField.
    """
    if not text:
        return None
    try:
        if len(text) > MOST_TIME_CHARACTERS:
            raise ValueError
        seconds = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        raise BadField(field, "a time is written as 2026-11-22T09:30") from None
    return seconds


def number_of(field: str, text: str) -> int | None:
    """A number; None for nothing.  Raises: BadField."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise BadField(field, "a number has digits only")
    return int(text)


def words_of(text: str) -> list[str]:
    """What stands in lines, or between commas."""
    return [word for word in text.replace(",", "\n").split() if word]


def local_text(at: float | None) -> str:
    """The reverse of ``time_of``."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M")
