"""Addresses that an account no longer sends to, and when a failure makes one.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, reply

SUPPRESSED = reply(550, "5.7.1", "recipient is on the account's suppression list")

_CODES = frozenset({521, 550, 551, 553, 556})
_STATUSES = frozenset({(1, 1), (1, 2), (1, 3), (1, 6), (2, 1), (7, 1)})
FAILURES_IN_A_ROW = 3


@frozen
class Suppression:
    """One address of one account's list.  ``added_at`` is seconds since the epoch."""

    id: int
    account_id: int
    base_address: str  # what is compared: see base_address()
    original_address: str
    added_at: float
    manual: bool = False
    reason: str = ""
    cause: str = ""  # bounce, complaint, unsubscribe or manual; empty when it was not kept yet
    evidence: str = ""  # the reply, or what the report says
    entry_id: int | None = None  # whose outcome it was
    expires_at: float | None = None


def base_address(address: Address) -> str:
    """What stands for all spellings of a mailbox: no suffix, no dots, lower case.

    The same for every domain, since nobody outside knows how a domain reads its localparts.
    """
    bare = address.localpart.split("+", 1)[0].split("-", 1)[0].replace(".", "")
    return str(Address((bare or address.localpart).lower(), address.domain))


def is_immediate(answer: Reply) -> bool:
    """Whether one such refusal says that the mailbox will never take mail."""
    if answer.code in _CODES:
        return True
    status = answer.status
    if not answer.is_permanent or status is None:
        return False
    return (status.subject, status.detail) in _STATUSES


def reason_of(answer: Reply, source: str, *, in_a_row: bool) -> str:
    """Why an address came on the list; ``source`` is queue or DSN."""
    if in_a_row:
        return f"delivery failure from {source} and three consecutive failures"
    status = f"{answer.status.subject}.{answer.status.detail}" if answer.status else ""
    return f'delivery failure from {source} with smtp code {answer.code}, enhanced code "{status}"'


class Suppressed:
    """Who is suppressed, in memory: asked for every entry on its way out.

    Changed in the reactor thread, after the commit that changed the list.
    """

    def __init__(self, known: Iterable[tuple[int, str]] = ()) -> None:
        self._known = set(known)

    def replace(self, known: Iterable[tuple[int, str]]) -> None:
        """Take another list: account and base address."""
        self._known = set(known)

    def add(self, account_id: int, recipient: Address) -> None:
        """One more."""
        self._known.add((account_id, base_address(recipient)))

    def remove(self, account_id: int, base: str) -> None:
        """One less."""
        self._known.discard((account_id, base))

    def __call__(self, account_id: int | None, recipient: Address) -> bool:
        """Whether ``account_id`` must not send to ``recipient``."""
        if not self._known or account_id is None:
            return False
        return (account_id, base_address(recipient)) in self._known
