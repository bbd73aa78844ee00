"""Accounts as a list of many, with what each has used; and who is logged in with one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch
from mailrelay.control.sessions import Session

MOST_LISTED = 1000
MOST_ADDRESSES = 5
"""Addresses that are listed with an account; of more, how many there are is told."""


@frozen
class AccountUse:
    """An account, and what it has used.  ``sent_today`` are recipients of the last 24 hours."""

    id: int
    name: str
    full_name: str
    login_disabled: bool
    addresses: Sequence[str]  # the first of them
    address_count: int
    used_bytes: int
    quota_bytes: int | None
    messages_per_day: int | None
    sent_today: int = 0


@frozen
class AccountQuery:
    """Which accounts: ``text`` is within a name, or an address."""

    text: str = ""
    after: str = ""  # the name that the page before ended with
    limit: int = 100


class AccountRecords(Protocol):
    """Accounts' rows.  Methods fail with Refusal's kinds, and with StoreUnavailable."""

    def listed(self, wanted: AccountQuery) -> Deferred[Sequence[AccountUse]]:
        """Accounts by name, MOST_LISTED at the most."""

    def use(self, name: str) -> Deferred[AccountUse]:
        """One of them.  Fails with NoSuch."""

    def sessions(self, name: str) -> Deferred[Sequence[Session]]:
        """Who is logged in on the pages, the newest use first.  Fails with NoSuch."""

    def end_sessions(self, actor: str, name: str) -> Deferred[int]:
        """Log everybody out who is; how many sessions that ended.  Fails with NoSuch."""


@frozen
class AccountsControl:
    """What may be asked of accounts in number.  ``used_today`` is told an account's id."""

    records: AccountRecords
    used_today: Callable[[int], int]
    actor: str

    async def listed(self, wanted: AccountQuery) -> Sequence[AccountUse]:
        """A page of them."""
        return [self._counted(one) for one in await self.records.listed(wanted)]

    async def use(self, name: str) -> AccountUse:
        """One of them.  Raises: NoSuch."""
        return self._counted(await self.records.use(name))

    async def sessions(self, name: str) -> Sequence[Session]:
        """Who is logged in on the pages.  Raises: NoSuch."""
        return await self.records.sessions(name)

    async def end_sessions(self, name: str) -> int:
        """Log everybody out.  Raises: NoSuch."""
        return await self.records.end_sessions(self.actor, name)

    def _counted(self, one: AccountUse) -> AccountUse:
        return evolve(one, sent_today=self.used_today(one.id))


def no_account(name: str) -> NoSuch:
    """There is none of that name."""
    return NoSuch(f"no account {name}: mailrelay account list")
