"""What was handed in by HTTPS, as the database is asked for it.

A request may be taken in rounds, when some of its recipients could not be then; each has a note.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.queue.entry import Content, Message, StoredAnswer

NOTED_FOR = 7 * 86400.0
NOBODY = 0
"""The account that the notes are kept under."""

SETTLED, UNDER_WAY = 200, 202


class NoteStore(Protocol):
    """The notes.  Methods may fail with StoreUnavailable."""

    def find(self, account_id: int, key: str) -> Deferred[StoredAnswer | None]:
        """The note of that key; None when there is none, or no more."""


class Note(msgspec.Struct, frozen=True):
    """One round: of a message, for ``recipients``; ``served`` have it of those that remain."""

    message: int
    recipients: list[str]
    served: list[str] = []


@frozen
class Asked:
    """What tells one request from another: ``key`` whether it is the same, ``content`` that it is.

    ``content`` of two requests of one key differs when the caller used a key twice.
    """

    key: str
    content: bytes

    def note(self, round_: int, status: int, note: Note, now: float) -> StoredAnswer:
        """What is kept of a round."""
        encoded = msgspec.json.encode(note)
        key = f"{self.key}/{round_}"
        return StoredAnswer(NOBODY, key, self.content, status, encoded, now + NOTED_FOR)


@frozen
class Standing:
    """What became of a round.  ``waits`` while an attempt is to be waited for.

    ``given_back`` says what kept the rest from being delivered, None when there is no rest.
    """

    waits: bool = False
    given_back: str | None = None


class RoundStore(Protocol):
    """Entries and notes of rounds.  Methods may fail with StoreUnavailable."""

    def settle(
        self, asked: Asked, round_: int, note: Note, now: float, *, at_once: bool = False
    ) -> Deferred[Standing]:
        """End a round whose entries have all been tried, and give back what was put off.

        The note says then who has the message; without anybody it is gone.  With ``at_once``
        entries that nobody has tried do not count as waiting.
        """


class QuarantineStore(Protocol):
    """Mailboxes, for what is in no queue."""

    def new_id(self) -> int:
        """See QueueStore."""

    def put_aside(
        self, account_id: int, mailbox: str, new: Message, content: Content, note: StoredAnswer
    ) -> Deferred[bool]:
        """Put a message in a mailbox, and keep the note with it; False when it has no room.

        Fails with AnsweredBefore when there is a note of that key, and StoreUnavailable.
        """
