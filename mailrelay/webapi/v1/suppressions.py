"""The account's suppression list: whom it does not send to, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from attrs import frozen
from msgspec import Meta

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.suppression import (
    MAX_REASON_CHARACTERS,
    ListedSuppression,
    SuppressionControl,
    SuppressionFilter,
)
from mailrelay.directory.keys import Scope
from mailrelay.policy.suppression import Suppressed
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webapi.v1.fields import Id, Limit, Position
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, NO_SUCH, Kind, Problem
from mailrelay.webapi.v1.times import Time, time_at

ALREADY_THERE = Kind("already_there", 409, "It is there already")

Mailbox = Annotated[str, Meta(min_length=3, max_length=512)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$")]
Told = Annotated[str, Meta(max_length=2000)]


class SuppressionIn(Strict, frozen=True):
    """An address that is not to be sent to, in any spelling."""

    address: Mailbox
    reason: Reason = ""


class SuppressionOut(Strict, frozen=True):
    """``base_address`` stands for all spellings; ``is_manual`` when no failure put it there."""

    id: Id
    address: Told
    base_address: Told
    reason: Told
    is_manual: bool
    added_at: Time


class SuppressionsQuery(Strict, frozen=True):
    """Those behind the cursor."""

    cursor: Position = 0
    limit: Limit = 50


class SuppressionPage(Strict, frozen=True):
    """By id.  ``next_cursor`` is for those that follow, null when there are none."""

    suppressions: Annotated[list[SuppressionOut], Meta(max_length=100)]
    next_cursor: Id | None


class WhyQuery(Strict, frozen=True):
    """The address, in any spelling."""

    address: Mailbox


class WhyOut(Strict, frozen=True):
    """``failures_in_a_row`` are of anybody's mail to exactly this address; three suppress it."""

    base_address: Told
    suppression: SuppressionOut | None
    failures_in_a_row: Annotated[int, Meta(ge=0, le=1_000_000)]


@frozen
class SuppressionOperations:
    """``/suppressions``; the next message finds ``in_memory`` changed."""

    control: Callable[[str], SuppressionControl]
    in_memory: Suppressed

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="suppression_list",
                method="GET",
                path="/suppressions",
                about="The addresses that the account does not send to.",
                work=self.list,
                answers={200: SuppressionPage},
                scope=Scope.READ,
                query=SuppressionsQuery,
            ),
            Operation(
                name="suppression_add",
                method="POST",
                path="/suppressions",
                about="Put an address on the list.",
                work=self.add,
                answers={201: WhyOut},
                scope=Scope.MANAGE,
                body=SuppressionIn,
                problems=[ALREADY_THERE],
            ),
            Operation(
                name="suppression_why",
                method="GET",
                path="/suppressions/why",
                about="Whether an address is on the list, and why.",
                work=self.why,
                answers={200: WhyOut},
                scope=Scope.READ,
                query=WhyQuery,
            ),
            Operation(
                name="suppression_remove",
                method="POST",
                path="/suppressions/remove",
                about="Take an address off the list: it is sent to again.",
                work=self.remove,
                answers={200: WhyOut},
                scope=Scope.MANAGE,
                body=WhyQuery,
                problems=[NO_SUCH],
            ),
        ]

    async def list(self, call: Call) -> Answer:
        """A page of the list."""
        query: SuppressionsQuery = call.query
        wanted = SuppressionFilter(call.caller.account.name, query.limit, query.cursor)
        found = await self._control(call).find(wanted)
        more = len(found) == query.limit
        page = SuppressionPage(
            suppressions=[_out(one) for one in found],
            next_cursor=found[-1].suppression.id if more else None,
        )
        return Answer(200, page)

    async def add(self, call: Call) -> Answer:
        """One more."""
        body: SuppressionIn = call.body
        address, account = _address(body.address), call.caller.account
        try:
            await self._control(call).add(account.name, body.address, body.reason)
        except AlreadyThere:
            raise Problem(ALREADY_THERE, "the address is on the list", "address") from None
        except Refusal as refusal:
            raise Problem(INVALID_FIELD, str(refusal), "reason") from None
        self.in_memory.add(account.id, address)
        return Answer(201, await self._why(call, body.address))

    async def remove(self, call: Call) -> Answer:
        """One less."""
        body: WhyQuery = call.body
        _address(body.address)
        account = call.caller.account
        try:
            base = await self._control(call).remove(account.name, body.address)
        except NoSuch:
            raise Problem(NO_SUCH, "the address is not on the list", "address") from None
        self.in_memory.remove(account.id, base)
        return Answer(200, await self._why(call, body.address))

    async def why(self, call: Call) -> Answer:
        """What is known of an address."""
        query: WhyQuery = call.query
        _address(query.address)
        return Answer(200, await self._why(call, query.address))

    async def _why(self, call: Call, text: str) -> WhyOut:
        account = call.caller.account.name
        known = await self._control(call).why(account, text)
        listed = known.suppression and ListedSuppression(known.suppression, account)
        return WhyOut(
            base_address=known.base_address,
            suppression=_out(listed) if listed else None,
            failures_in_a_row=known.failures_in_a_row,
        )

    def _control(self, call: Call) -> SuppressionControl:
        return self.control(f"api:{call.caller.login}")


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, f"is no address: {error}", "address") from None


def _out(one: ListedSuppression) -> SuppressionOut:
    known = one.suppression
    return SuppressionOut(
        id=known.id,
        address=known.original_address,
        base_address=known.base_address,
        reason=known.reason,
        is_manual=known.manual,
        added_at=time_at(known.added_at),
    )
