"""Addresses that an account no longer sends to, and when a failure makes one.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from math import inf
from typing import TypeAlias

from attrs import frozen

from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, reply

SUPPRESSED = reply(550, "5.7.1", "recipient is on a suppression list")

_CODES = frozenset({521, 550, 551, 553, 556})
_STATUSES = frozenset({(1, 1), (1, 2), (1, 3), (1, 6), (2, 1), (7, 1)})
FAILURES_IN_A_ROW = 3

SERVER = 0
"""The account id of the server's own list, which holds for every account."""

UNWANTED = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list"})
"""Types of feedback that say that the recipient wants no more; RFC 5965 section 7.3 has others."""

MAX_EVIDENCE_CHARACTERS = 2000


class Cause(Enum):
    """Why an address is on a list; the values are stored and shown."""

    BOUNCE = "bounce"  # mail to it failed
    COMPLAINT = "complaint"  # a feedback report says that it is not wanted
    UNSUBSCRIBE = "unsubscribe"  # the recipient asked for it
    MANUAL = "manual"  # somebody put it there


@frozen
class Suppression:
    """One address, or domain, of one list.  Times are seconds since the epoch."""

    id: int
    account_id: int  # SERVER for every account
    base_address: str  # what is compared: see base_address() and whole_domain()
    original_address: str
    added_at: float
    manual: bool = False
    reason: str = ""
    cause: str = ""  # bounce, complaint, unsubscribe or manual; empty when it was not kept yet
    evidence: str = ""  # the reply, or what the report says
    entry_id: int | None = None  # whose outcome it was
    expires_at: float | None = None

    def holds(self, now: float) -> bool:
        """Whether it has not ended."""
        return self.expires_at is None or now < self.expires_at

    def gives_way_to(self, new: Suppression) -> bool:
        """Whether ``new`` takes its place: it lasts longer, or is what the recipient said.

        Who takes a failed address off the list because it works again must see that it wants no
        more mail.
        """
        if self.expires_at is not None and (new.expires_at or inf) > self.expires_at:
            return True
        said = (Cause.COMPLAINT.value, Cause.UNSUBSCRIBE.value)
        return self.cause in ("", Cause.BOUNCE.value) and new.cause in said and not self.manual


def whole_domain(domain: str) -> str:
    """What stands for every mailbox of a domain."""
    return f"*@{domain}"


def is_whole_domain(base: str) -> bool:
    """Whether ``base`` stands for more than a mailbox."""
    return base.startswith("*@")


def listed_as(text: str) -> str:
    """What an address stands for on a list, and ``*@domain``.

    Raises: MalformedAddress.
    """
    address = Address.parse(text)
    return whole_domain(address.domain) if is_whole_domain(text) else base_address(address)


def base_address(address: Address) -> str:
    """What stands for all spellings of a mailbox: no suffix, no dots, lower case.

    The same for every domain, since nobody outside knows how a domain reads its localparts.
    A mailbox that is called ``*`` is quoted: it stands for itself alone.
    """
    bare = address.localpart.split("+", 1)[0].split("-", 1)[0].replace(".", "")
    base = str(Address((bare or address.localpart).lower(), address.domain))
    return f'"*"{base[1:]}' if is_whole_domain(base) else base


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


@frozen
class Listed:
    """What is kept of a suppression in memory."""

    account_id: int
    base_address: str
    expires_at: float | None = None


Lists: TypeAlias = dict[int, dict[str, float]]


def lists_of(known: Iterable[Listed]) -> Lists:
    """By account, each base address and when it ends; made off the reactor's thread."""
    lists: Lists = {}
    for one in known:
        ends = inf if one.expires_at is None else one.expires_at
        lists.setdefault(one.account_id, {})[one.base_address] = ends
    return lists


class Suppressed:
    """Who is suppressed, in memory: asked for every entry on its way out.

    Changed in the reactor thread, after the commit that changed the list.
    """

    def __init__(self, now: Callable[[], float], lists: Lists | None = None) -> None:
        self._now = now
        self._lists = {} if lists is None else lists

    def replace(self, lists: Lists) -> None:
        """Take other lists, which become ours."""
        self._lists = lists

    def add(self, one: Listed) -> None:
        """One more."""
        ends = inf if one.expires_at is None else one.expires_at
        self._lists.setdefault(one.account_id, {})[one.base_address] = ends

    def remove(self, account_id: int, base: str) -> None:
        """One less."""
        self._lists.get(account_id, {}).pop(base, None)

    def __call__(self, account_id: int | None, recipient: Address) -> bool:
        """Whether ``account_id`` must not send to ``recipient``."""
        if account_id is None:
            return False
        own, servers = self._lists.get(account_id), self._lists.get(SERVER)
        if not own and not servers:
            return False
        base, domain = base_address(recipient), whole_domain(recipient.domain)
        return any(
            ends > self._now()
            for bases in (own, servers)
            if bases
            for ends in (bases.get(base), bases.get(domain))
            if ends is not None
        )
