"""Suppression lists as operators and applications see and change them.

A list is an account's, or the server's, which holds for every account: where one is named, that
is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.policy.suppression import (
    MAX_EVIDENCE_CHARACTERS,
    Cause,
    Suppression,
    base_address,
    is_whole_domain,
    listed_as,
    whole_domain,
)
from mailrelay.smtp.address import Address, MalformedAddress

MAX_REASON_CHARACTERS = 500
LONGEST = 100 * 366 * 86400.0
"""How far ahead a suppression may end, in seconds."""

IMPORTED_AT_ONCE = 100
"""Addresses in one transaction: a long one would hold up the server's."""


@frozen
class SuppressionFilter:
    """Which suppressions, by id; without an account, all lists'.  All that is given must fit."""

    account: str | None = None
    limit: int = 1000
    after_id: int = 0
    is_servers: bool = False  # the server's list, of no account
    cause: Cause | None = None
    text: str | None = None  # within the address, in any case
    is_domain: bool | None = None
    has_ended: bool | None = None


@frozen
class ListedSuppression:
    """A suppression and whose it is: None for the server's.  ``has_ended`` when it was asked."""

    suppression: Suppression
    account: str | None
    has_ended: bool = False


@frozen
class NewSuppression:
    """An address that is to be suppressed, or its whole domain.  Times since the epoch."""

    address: Address
    added_at: float
    manual: bool = True
    reason: str = ""
    cause: Cause = Cause.MANUAL
    evidence: str = ""
    expires_at: float | None = None
    is_domain: bool = False

    @property
    def base_address(self) -> str:
        """What is compared."""
        return whole_domain(self.address.domain) if self.is_domain else base_address(self.address)


@frozen
class Why:
    """What is known of an address of an account: everything that suppresses it, or did."""

    base_address: str
    suppressions: Sequence[ListedSuppression]  # its own, then its domain's, then the server's
    failures_in_a_row: int  # of any account's mail to exactly this address

    @property
    def is_suppressed(self) -> bool:
        """Whether mail to it would not be sent."""
        return any(not one.has_ended for one in self.suppressions)

    @property
    def own(self) -> Suppression | None:
        """The account's own for this address, when it holds."""
        for one in self.suppressions:
            found = one.suppression
            if one.account is not None and found.base_address == self.base_address:
                return None if one.has_ended else found
        return None


class SuppressionRecords(Protocol):
    """The lists' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with NoSuch for an account that is not there, and with StoreUnavailable.
    """

    def find(self, wanted: SuppressionFilter) -> Deferred[Sequence[ListedSuppression]]:
        """Suppressions, by id."""

    def add(
        self,
        actor: str,
        account: str | None,
        new: Sequence[NewSuppression],
        *,
        replacing: bool = False,
    ) -> Deferred[Sequence[bool]]:
        """Put addresses on the list; which were not there, or took the place of what was.

        With ``replacing`` all do.
        """

    def remove(self, actor: str, account: str | None, base: str) -> Deferred[bool]:
        """Take a base address off the list; False when it is not there."""

    def why(self, account: str, base: str, address: Address) -> Deferred[Why]:
        """What is known of an address, which stands on lists as ``base``."""


@frozen
class SuppressionControl:
    """What may be asked of the lists, and by whom it was."""

    records: SuppressionRecords
    now: Callable[[], float]
    actor: str

    async def find(self, wanted: SuppressionFilter) -> Sequence[ListedSuppression]:
        """The suppressions that ``wanted`` fits.  Raises: NoSuch."""
        return await self.records.find(wanted)

    async def add(
        self,
        account: str | None,
        text: str,
        reason: str = "",
        *,
        cause: Cause = Cause.MANUAL,
        expires_at: float | None = None,
    ) -> str:
        """Suppress an address, or ``*@domain``; its base address.  Raises: Refusal."""
        now = self.now()
        check_end(expires_at, now)
        new = NewSuppression(
            _address(text),
            now,
            reason=checked_reason(reason),
            cause=cause,
            expires_at=expires_at,
            is_domain=is_whole_domain(text),
        )
        [added] = await self.records.add(self.actor, account, [new])
        if not added:
            raise AlreadyThere(
                f"{new.base_address} is on {whose(account)}: mailrelay suppression list"
                f" {option(account)} --address {new.base_address}"
            )
        return new.base_address

    async def remove(self, account: str | None, text: str) -> str:
        """Send to an address again; its base address.  Raises: Refusal."""
        base = _base(text)
        if not await self.records.remove(self.actor, account, base):
            raise NoSuch(
                f"{base} is not on {whose(account)}: mailrelay suppression list {option(account)}"
            )
        return base

    async def why(self, account: str, text: str) -> Why:
        """Whether an address is suppressed, and everything that does it.  Raises: Refusal."""
        return await self.records.why(account, _base(text), _address(text))

    async def import_all(
        self, account: str | None, new: Sequence[NewSuppression], *, replacing: bool = False
    ) -> Sequence[bool]:
        """Suppress many; which were not suppressed before, or were ``replacing`` what was.

        Raises: NoSuch.
        """
        added: list[bool] = []
        for at in range(0, len(new), IMPORTED_AT_ONCE):
            batch = new[at : at + IMPORTED_AT_ONCE]
            added += await self.records.add(self.actor, account, batch, replacing=replacing)
        return added

    async def everything(self, account: str | None) -> Sequence[ListedSuppression]:
        """A whole list.  Raises: NoSuch."""
        everything: list[ListedSuppression] = []
        after = 0
        while found := await self.find(
            SuppressionFilter(account, after_id=after, is_servers=account is None)
        ):
            everything += found
            after = found[-1].suppression.id
        return everything


def whose(account: str | None) -> str:
    """A list, in words."""
    return "the server's list" if account is None else f"the list of {account}"


def option(account: str | None) -> str:
    """A list, as commands name it."""
    return "--server" if account is None else f"--account {account}"


def check_end(expires_at: float | None, now: float) -> None:
    """Raises: Refusal, when a suppression cannot end then."""
    if expires_at is not None and not now < expires_at <= now + LONGEST:
        raise Refusal("the end must lie ahead, by a hundred years at the most")


def checked_reason(text: str) -> str:
    """``text`` when it can be a reason.  Raises: Refusal."""
    return _checked_line("reason", text, MAX_REASON_CHARACTERS)


def checked_evidence(text: str) -> str:
    """``text`` when it can be evidence.  Raises: Refusal."""
    return _checked_line("evidence", text, MAX_EVIDENCE_CHARACTERS)


def _checked_line(what: str, text: str, most: int) -> str:
    if len(text) > most or not text.isprintable():
        raise Refusal(f"the {what} must be one line of up to {most} printable characters")
    return text


def _base(text: str) -> str:
    _address(text)
    return listed_as(text)


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is no address: {error}") from None
