"""The Suppression methods: the account's list, as mox knows it.

Of that list they see what holds for single addresses.  Whole domains and the server's list are
what mox does not have: ``*@example.org`` is here a mailbox of that name.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from mailrelay.control.errors import NoSuch
from mailrelay.control.suppression import NewSuppression, SuppressionControl
from mailrelay.policy.suppression import (
    Cause,
    Listed,
    Suppressed,
    Suppression,
    base_address,
    is_whole_domain,
)
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
        told = [
            _told(one.suppression, caller.account.name)
            for one in sorted(found, key=lambda one: one.suppression.base_address)
            if not one.has_ended and not is_whole_domain(one.suppression.base_address)
        ]
        return types.SuppressionListResult(suppressions=told)

    async def add(self, caller: Caller, request: types.SuppressionAddRequest) -> types.Empty:
        """Put an address on the list.  Raises: APIError."""
        address = address_of("EmailAddress", request.email_address)
        check_controls("Reason", request.reason)
        cause = Cause.MANUAL if request.manual else Cause.BOUNCE
        new = NewSuppression(address, self.now(), request.manual, request.reason, cause)
        # As an import: a reason is of any length, and need not be somebody's own.
        [added] = await self._lists(caller).import_all(caller.account.name, [new])
        if not added:
            raise APIError("error", f"not unique: {base_address(address)} is on the list")
        self.in_memory.add(Listed(caller.account.id, new.base_address))
        return types.Empty()

    async def remove(self, caller: Caller, request: types.SuppressionRequest) -> types.Empty:
        """Take an address off the list.  Raises: APIError."""
        base = base_address(address_of("EmailAddress", request.email_address))
        try:
            await self._lists(caller).remove(caller.account.name, _mailbox(request.email_address))
        except NoSuch:
            raise APIError("error", f"absent: {base} is not on the list") from None
        self.in_memory.remove(caller.account.id, base)
        return types.Empty()

    async def present(
        self, caller: Caller, request: types.SuppressionRequest
    ) -> types.SuppressionPresentResult:
        """Whether an address is on the list.  Raises: APIError."""
        address_of("EmailAddress", request.email_address)
        known = await self._lists(caller).why(caller.account.name, _mailbox(request.email_address))
        return types.SuppressionPresentResult(present=known.own is not None)

    def _lists(self, caller: Caller) -> SuppressionControl:
        return self.control(caller.actor("webapi"))


def _mailbox(text: str) -> str:
    """An address that stands for no domain."""
    return f'"*"{text[1:]}' if is_whole_domain(text) else text


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
