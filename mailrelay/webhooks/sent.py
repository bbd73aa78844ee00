"""What an account sent, as what comes back names it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


@frozen
class SentEntry:
    """An entry that may be answered to.  ``ended_as`` is its outcome, if a peer has it told."""

    entry_id: int
    message_id: int
    recipient: str
    ended_as: str = ""


class SentEntries(Protocol):
    """Entries of an account, living or retired.  Methods may fail with StoreUnavailable."""

    def by_from_id(self, account_id: int, from_id: str) -> Deferred[SentEntry | None]:
        """The entry that has the FromID."""

    def by_message(
        self, account_id: int, envid: str, message_id: str, recipients: Sequence[str]
    ) -> Deferred[SentEntry | None]:
        """The entry of one of ``recipients`` of a message that has the ENVID or Message-ID.

        Without recipients, its only one; None when it has several.
        """
