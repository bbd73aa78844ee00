"""The Suppression methods: the account's list."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from mailrelay.control.errors import NoSuch
from mailrelay.control.suppression import ListedSuppression, NewSuppression, SuppressionControl
from mailrelay.policy.suppression import Suppressed, base_address
from mailrelay.webapi import types
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import address_of, check_controls
from mailrelay.webapi.errors import APIError
from mailrelay.webhooks.gojson import go_time


@frozen
class Suppressions:
    """What the Suppression methods need; the next entry finds ``in_memory`` changed.

    ``control`` makes the lists' for whoever is named in the audit.
    """

    control: Callable[[str], SuppressionControl]
    in_memory: Suppressed
    now: Callable[[], float]

    async def list(
        self, caller: Caller, request: types.SuppressionListRequest
    ) -> types.SuppressionListResult:
        """The whole list."""
        found = await self._lists(caller).everything(caller.account.name)
        found = sorted(found, key=lambda one: one.suppression.base_address)
        return types.SuppressionListResult(suppressions=[_told(one) for one in found])

    async def add(self, caller: Caller, request: types.SuppressionAddRequest) -> types.Empty:
        """Put an address on the list.  Raises: APIError."""
        address = address_of("EmailAddress", request.email_address)
        check_controls("Reason", request.reason)
        new = NewSuppression(address, self.now(), request.manual, request.reason)
        # As an import: a reason is of any length, and need not be somebody's own.
        if not await self._lists(caller).import_all(caller.account.name, [new]):
            raise APIError("error", f"not unique: {base_address(address)} is on the list")
        self.in_memory.add(caller.account.id, address)
        return types.Empty()

    async def remove(self, caller: Caller, request: types.SuppressionRequest) -> types.Empty:
        """Take an address off the list.  Raises: APIError."""
        base = base_address(address_of("EmailAddress", request.email_address))
        try:
            await self._lists(caller).remove(caller.account.name, request.email_address)
        except NoSuch:
            raise APIError("error", f"absent: {base} is not on the list") from None
        self.in_memory.remove(caller.account.id, base)
        return types.Empty()

    async def present(
        self, caller: Caller, request: types.SuppressionRequest
    ) -> types.SuppressionPresentResult:
        """Whether an address is on the list.  Raises: APIError."""
        address_of("EmailAddress", request.email_address)
        known = await self._lists(caller).why(caller.account.name, request.email_address)
        return types.SuppressionPresentResult(present=known.suppression is not None)

    def _lists(self, caller: Caller) -> SuppressionControl:
        return self.control(f"webapi:{caller.login}")


def _told(listed: ListedSuppression) -> types.Suppression:
    one = listed.suppression
    return types.Suppression(
        id=one.id,
        created=go_time(one.added_at),
        account=listed.account,
        base_address=one.base_address,
        original_address=one.original_address,
        manual=one.manual,
        reason=one.reason,
    )
