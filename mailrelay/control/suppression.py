"""Suppression lists as operators see and change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.policy.suppression import Suppression, base_address
from mailrelay.smtp.address import Address, MalformedAddress

MAX_REASON_CHARACTERS = 500
IMPORTED_AT_ONCE = 100
"""Addresses in one transaction: a long one would hold up the server's."""


@frozen
class SuppressionFilter:
    """Which suppressions, by id; without an account, all accounts'."""

    account: str | None = None
    limit: int = 1000
    after_id: int = 0


@frozen
class ListedSuppression:
    """A suppression and whose it is."""

    suppression: Suppression
    account: str


@frozen
class NewSuppression:
    """An address that is to be suppressed.  ``added_at`` is seconds since the epoch."""

    address: Address
    added_at: float
    manual: bool = True
    reason: str = ""


@frozen
class Why:
    """What is known of an address of an account."""

    base_address: str
    suppression: Suppression | None
    failures_in_a_row: int  # of any account's mail to exactly this address


class SuppressionRecords(Protocol):
    """The lists' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with NoSuch for an account that is not there, and with StoreUnavailable.
    """

    def find(self, wanted: SuppressionFilter) -> Deferred[Sequence[ListedSuppression]]:
        """Suppressions, by id."""

    def add(self, actor: str, account: str, new: Sequence[NewSuppression]) -> Deferred[int]:
        """Put addresses on the list; how many were not there."""

    def remove(self, actor: str, account: str, base: str) -> Deferred[bool]:
        """Take a base address off the list; False when it is not there."""

    def why(self, account: str, address: Address) -> Deferred[Why]:
        """What is known of an address."""


@frozen
class SuppressionControl:
    """What may be asked of the lists, and by whom it was."""

    records: SuppressionRecords
    now: Callable[[], float]
    actor: str

    async def find(self, wanted: SuppressionFilter) -> Sequence[ListedSuppression]:
        """The suppressions that ``wanted`` fits.  Raises: NoSuch."""
        return await self.records.find(wanted)

    async def add(self, account: str, text: str, reason: str = "") -> str:
        """Suppress an address; its base address.  Raises: Refusal."""
        new = NewSuppression(_address(text), self.now(), reason=checked_reason(reason))
        base = base_address(new.address)
        if not await self.records.add(self.actor, account, [new]):
            raise AlreadyThere(
                f"{base} is on the list of {account}:"
                f" mailrelay suppression why {text} --account {account}"
            )
        return base

    async def remove(self, account: str, text: str) -> str:
        """Send to an address again; its base address.  Raises: Refusal."""
        base = base_address(_address(text))
        if not await self.records.remove(self.actor, account, base):
            raise NoSuch(
                f"{base} is not on the list of {account}:"
                f" mailrelay suppression list --account {account}"
            )
        return base

    async def why(self, account: str, text: str) -> Why:
        """Whether an address is suppressed, and why.  Raises: Refusal."""
        return await self.records.why(account, _address(text))

    async def import_all(self, account: str, new: Sequence[NewSuppression]) -> int:
        """Suppress many; how many were not suppressed before.  Raises: NoSuch."""
        added = 0
        for at in range(0, len(new), IMPORTED_AT_ONCE):
            batch = new[at : at + IMPORTED_AT_ONCE]
            added += await self.records.add(self.actor, account, batch)
        return added

    async def everything(self, account: str) -> Sequence[ListedSuppression]:
        """An account's whole list.  Raises: NoSuch."""
        everything: list[ListedSuppression] = []
        page = SuppressionFilter(account)
        while found := await self.find(page):
            everything += found
            page = SuppressionFilter(account, after_id=found[-1].suppression.id)
        return everything


def checked_reason(text: str) -> str:
    """``text`` when it can be a reason.  Raises: Refusal."""
    if len(text) > MAX_REASON_CHARACTERS or not text.isprintable():
        raise Refusal(
            f"the reason must be one line of up to {MAX_REASON_CHARACTERS} printable characters"
        )
    return text


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"{text!r} is no address: {error}") from None
