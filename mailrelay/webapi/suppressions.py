"""The Suppression methods: the account's list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.policy.suppression import Suppressed, Suppression, base_address
from mailrelay.webapi import types
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import address_of, check_controls
from mailrelay.webapi.errors import APIError
from mailrelay.webhooks.gojson import go_time


class SuppressionStore(Protocol):
    """The accounts' lists.  Methods may fail with StoreUnavailable."""

    def listed(self, account_id: int) -> Deferred[list[Suppression]]:
        """The list, by base address."""

    def add(self, new: Suppression) -> Deferred[bool]:
        """Put an address on the list; False when it is there.  The id is given here."""

    def remove(self, account_id: int, base: str) -> Deferred[bool]:
        """Take a base address off the list; False when it is not there."""

    def present(self, account_id: int, base: str) -> Deferred[bool]:
        """Whether a base address is on the list."""


@frozen
class Suppressions:
    """What the Suppression methods need; the next entry finds ``in_memory`` changed."""

    store: SuppressionStore
    in_memory: Suppressed
    now: Callable[[], float]

    async def list(
        self, caller: Caller, request: types.SuppressionListRequest
    ) -> types.SuppressionListResult:
        """The whole list."""
        found = await self.store.listed(caller.account.id)
        return types.SuppressionListResult(
            suppressions=[_told(one, caller.account.name) for one in found]
        )

    async def add(self, caller: Caller, request: types.SuppressionAddRequest) -> types.Empty:
        """Put an address on the list.  Raises: APIError."""
        address = address_of("EmailAddress", request.email_address)
        check_controls("Reason", request.reason)
        new = Suppression(
            0,
            caller.account.id,
            base_address(address),
            str(address),
            self.now(),
            request.manual,
            request.reason,
        )
        if not await self.store.add(new):
            raise APIError("error", f"not unique: {new.base_address} is on the list")
        self.in_memory.add(new.account_id, address)
        return types.Empty()

    async def remove(self, caller: Caller, request: types.SuppressionRequest) -> types.Empty:
        """Take an address off the list.  Raises: APIError."""
        base = base_address(address_of("EmailAddress", request.email_address))
        if not await self.store.remove(caller.account.id, base):
            raise APIError("error", f"absent: {base} is not on the list")
        self.in_memory.remove(caller.account.id, base)
        return types.Empty()

    async def present(
        self, caller: Caller, request: types.SuppressionRequest
    ) -> types.SuppressionPresentResult:
        """Whether an address is on the list.  Raises: APIError."""
        base = base_address(address_of("EmailAddress", request.email_address))
        return types.SuppressionPresentResult(
            present=await self.store.present(caller.account.id, base)
        )


def _told(one: Suppression, account: str) -> types.Suppression:
    return types.Suppression(
        id=one.id,
        created=go_time(one.added_at),
        account=account,
        base_address=one.base_address,
        original_address=one.original_address,
        manual=one.manual,
        reason=one.reason,
    )
