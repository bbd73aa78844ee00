"""What rspamd answers about a message, read with bounds.  Pure.

Invariant: nothing of it becomes a field, a reply or a log line but through ``field_text``, or cut
and printable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
from attrs import frozen

from mailrelay.message.words import Folding
from mailrelay.smtp.reply import printable

MOST_SYMBOLS = 30
MOST_FIELDS = 20
MOST_MESSAGE = 200
MOST_VALUE = 2000
LONGEST_WORD = 200

OURS = ("x-spam", "x-spam-score", "x-spam-status", "x-spam-symbols")
"""Fields that we write: of others nobody may write them, rspamd included."""


class UnusableAnswer(Exception):
    """It is no answer of rspamd's; the text, one line, says why."""


class Action(Enum):
    """What rspamd says is to be done."""

    NONE = "no action"
    GREYLIST = "greylist"
    ADD_HEADER = "add header"
    REWRITE_SUBJECT = "rewrite subject"
    SOFT_REJECT = "soft reject"
    REJECT = "reject"

    @property
    def is_spam(self) -> bool:
        """Whether what is taken nonetheless belongs in Junk."""
        return self in (Action.ADD_HEADER, Action.REWRITE_SUBJECT, Action.REJECT)


@frozen
class RspamdAnswer:
    """``symbols`` are such as ``GTUBE(15.00)``, those that count most first.

    ``message`` is for the sender.  ``fields`` are to be added, ``removed`` names in lower case.
    """

    action: Action
    score: float
    required: float
    symbols: tuple[str, ...] = ()
    message: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for people."""
        symbols = f": {', '.join(self.symbols)}" if self.symbols else ""
        return f"rspamd says {self.action.value}, {self.score:.2f} of {self.required:.2f}{symbols}"


class _Symbol(msgspec.Struct):
    score: float = 0.0


class _Milter(msgspec.Struct):
    add_headers: dict[str, Any] = {}
    remove_headers: dict[str, Any] = {}


class _Answer(msgspec.Struct):
    action: str
    score: float
    required_score: float
    symbols: dict[str, _Symbol] = {}
    messages: dict[str, Any] = {}
    milter: _Milter | None = None


_decoder = msgspec.json.Decoder(_Answer)


def read_answer(body: bytes) -> RspamdAnswer:
    """The answer that ``body`` is.  Raises: UnusableAnswer."""
    try:
        answer = _decoder.decode(body)
        action = Action(answer.action)
    except (ValueError, RecursionError) as error:  # msgspec's errors, and bytes that are no UTF-8
        raise UnusableAnswer(f"no answer of rspamd's: {printable(str(error), 200)}") from None
    milter = answer.milter or _Milter()
    return RspamdAnswer(
        action,
        answer.score,
        answer.required_score,
        tuple(_symbols(answer.symbols)),
        _message(answer.messages),
        tuple(_added(milter.add_headers)),
        tuple(name.lower() for name in list(milter.remove_headers)[:MOST_FIELDS] if _may(name)),
    )


def _symbols(symbols: Mapping[str, _Symbol]) -> Iterator[str]:
    counting = sorted(symbols.items(), key=lambda one: (-abs(one[1].score), one[0]))
    for name, symbol in counting[:MOST_SYMBOLS]:
        yield f"{_word(name)}({symbol.score:.2f})"


def _message(messages: Mapping[str, Any]) -> str:
    said = messages.get("smtp_message")
    return printable(said, MOST_MESSAGE) if isinstance(said, str) else ""


def _word(text: str) -> str:
    """Printable ASCII without spaces."""
    return "".join(c if "!" <= c <= "~" else "?" for c in text[:60])


def _added(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields to be added: a text, an object with ``value``, or a list of them."""
    left = MOST_FIELDS
    for name, value in given.items():
        if not _may(name):
            continue
        for one in value if isinstance(value, list) else [value]:
            text = one.get("value") if isinstance(one, dict) else one
            if isinstance(text, str | int | float) and left:
                left -= 1
                yield name, str(text)[:MOST_VALUE]


_NAME = re.compile(r"[Xx]-[A-Za-z0-9-]{1,60}")
_NOT_THEIRS = ("x-mailrelay-", "x-mox-")


def _may(name: str) -> bool:
    """Whether rspamd may add and remove a field: X- ones that mean nothing to us."""
    low = name.lower()
    return bool(_NAME.fullmatch(name)) and low not in OURS and not low.startswith(_NOT_THEIRS)


def field_text(name: str, text: str) -> bytes:
    """A whole field, folded; what is no printable ASCII becomes a question mark."""
    folding = Folding(f"{name}:")
    for word in text.split():
        safe = "".join(c if "!" <= c <= "~" else "?" for c in word)
        for at in range(0, len(safe), LONGEST_WORD):
            folding.add(" ", safe[at : at + LONGEST_WORD])
    return f"{folding.text}\r\n".encode("ascii")


def fields_of(answer: RspamdAnswer) -> bytes:
    """What is told of an answer in the message's header."""
    verdict = "Yes" if answer.action.is_spam else "No"
    status = (
        f"{verdict}, score={answer.score:.2f} required={answer.required:.2f}"
        f" action={answer.action.value.replace(' ', '-')}"
    )
    made = [field_text("X-Spam-Status", status)]
    if answer.action.is_spam:
        made.append(field_text("X-Spam", "Yes"))
    if answer.symbols:
        made.append(field_text("X-Spam-Symbols", " ".join(answer.symbols)))
    return b"".join([*made, *(field_text(name, text) for name, text in answer.fields)])
