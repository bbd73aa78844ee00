"""The account's suppression list: whom it does not send to, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from attrs import evolve, frozen
from msgspec import Meta

from mailrelay.control.answers import Inside, settled
from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.suppression import (
    ListedSuppression,
    SuppressionControl,
    SuppressionFilter,
    Why,
)
from mailrelay.directory.keys import Scope
from mailrelay.policy.suppression import Cause, Listed, Suppressed
from mailrelay.webapi.v1.fields import Id, Limit, Position, Word
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, NO_SUCH, Kind, Problem
from mailrelay.webapi.v1.suppression_fields import (
    CauseName,
    Mailbox,
    Reason,
    Told,
    checked_address,
    checked_end,
    seconds_of,
)
from mailrelay.webapi.v1.suppression_import import SuppressionImport
from mailrelay.webapi.v1.times import Time, time_at

ALREADY_THERE = Kind("already_there", 409, "It is there already")


class SuppressionIn(Strict, frozen=True):
    """An address that is not to be sent to, in any spelling; ``*@example.org``: the whole domain.

    With ``expires_at`` it is sent to again from then on.
    """

    address: Mailbox
    reason: Reason = ""
    cause: CauseName = "manual"
    expires_at: Time | None = None


class SuppressionOut(Strict, frozen=True):
    """``base_address`` stands for all spellings, or as ``*@example.org`` for a whole domain.

    ``scope`` is whose it is: ``server`` holds for every account, and is lifted by its operators.
    ``cause`` is empty when it was not kept; ``evidence`` is the reply, or what a report says, of
    the entry ``entry_id``.
    """

    id: Id
    scope: Literal["account", "server"]
    address: Told
    base_address: Told
    reason: Told
    cause: Word
    evidence: Told
    entry_id: Id | None
    is_manual: bool
    added_at: Time
    expires_at: Time | None
    is_expired: bool


class SuppressionsQuery(Strict, frozen=True):
    """Those behind the cursor that all fits.

    ``address`` is a part of it; ``is_domain``: only whole domains, or none; ``expired``: only
    those that have ended, which are kept for 30 days, or none.
    """

    cause: CauseName | None = None
    address: Mailbox | None = None
    is_domain: bool | None = None
    expired: bool | None = None
    cursor: Position = 0
    limit: Limit = 50


class SuppressionPage(Strict, frozen=True):
    """By id.  ``next_cursor`` is for those that follow, null when there are none."""

    suppressions: Annotated[list[SuppressionOut], Meta(max_length=100)]
    next_cursor: Id | None


class WhyQuery(Strict, frozen=True):
    """The address, in any spelling, or ``*@example.org``."""

    address: Mailbox


class WhyOut(Strict, frozen=True):
    """All that stands on lists for the address, its domain too: the account's, then the server's.

    ``failures_in_a_row`` are of anybody's mail to exactly this address; three suppress it.
    """

    base_address: Told
    is_suppressed: bool
    suppressions: Annotated[list[SuppressionOut], Meta(max_length=4)]
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
                about="Put an address, or a whole domain, on the list.",
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
                about="Whether mail to an address is sent, and everything that stands against it.",
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
            *SuppressionImport(self.control, self.in_memory).operations(),
        ]

    async def list(self, call: Call) -> Answer:
        """A page of the list."""
        query: SuppressionsQuery = call.query
        wanted = SuppressionFilter(
            call.caller.account.name,
            query.limit,
            query.cursor,
            cause=Cause(query.cause) if query.cause is not None else None,
            text=query.address,
            is_domain=query.is_domain,
            has_ended=query.expired,
        )
        found = await self._control(call).find(wanted)
        more = len(found) == query.limit
        page = SuppressionPage(
            suppressions=[suppression_out(one) for one in found],
            next_cursor=found[-1].suppression.id if more else None,
        )
        return Answer(200, page)

    async def add(self, call: Call) -> Answer:
        """One more."""
        body: SuppressionIn = call.body
        account = call.caller.account
        checked_address("address", body.address)
        expires_at = seconds_of("expires_at", body.expires_at)
        control = self._keeping(call, 201, body.address, any)
        checked_end("expires_at", expires_at, control.now())
        try:
            base = await control.add(
                account.name,
                body.address,
                body.reason,
                cause=Cause(body.cause),
                expires_at=expires_at,
            )
        except AlreadyThere:
            raise Problem(ALREADY_THERE, "the address is on the list", "address") from None
        except Refusal as refusal:
            raise Problem(INVALID_FIELD, str(refusal), "reason") from None
        self.in_memory.add(Listed(account.id, base, expires_at))
        return call.kept or Answer(201, await self._why(call, body.address))

    async def remove(self, call: Call) -> Answer:
        """One less."""
        body: WhyQuery = call.body
        checked_address("address", body.address)
        account = call.caller.account
        try:
            control = self._keeping(call, 200, body.address, bool)
            base = await control.remove(account.name, body.address)
        except NoSuch:
            raise Problem(NO_SUCH, "the address is not on the list", "address") from None
        self.in_memory.remove(account.id, base)
        return call.kept or Answer(200, await self._why(call, body.address))

    async def why(self, call: Call) -> Answer:
        """What is known of an address."""
        query: WhyQuery = call.query
        checked_address("address", query.address)
        return Answer(200, await self._why(call, query.address))

    async def _why(self, call: Call, text: str) -> WhyOut:
        return _why_out(await self._control(call).why(call.caller.account.name, text))

    def _keeping(
        self, call: Call, status: int, text: str, is_done: Callable[[Any], bool]
    ) -> SuppressionControl:
        """What keeps its answer: how the list is after the change."""
        control, account = self._control(call), call.caller.account.name

        def told(done: Any, inside: Inside) -> Answer | None:
            if not is_done(done):
                return None
            there = evolve(control, records=inside(control.records))
            return Answer(status, _why_out(settled(there.why(account, text))))

        return evolve(control, records=call.with_answer(control.records, told))

    def _control(self, call: Call) -> SuppressionControl:
        return self.control(call.caller.actor("api"))


def _why_out(known: Why) -> WhyOut:
    return WhyOut(
        base_address=known.base_address,
        is_suppressed=known.is_suppressed,
        suppressions=[suppression_out(one) for one in known.suppressions],
        failures_in_a_row=known.failures_in_a_row,
    )


def suppression_out(listed: ListedSuppression) -> SuppressionOut:
    """As it is told to the account."""
    known = listed.suppression
    return SuppressionOut(
        id=known.id,
        scope="server" if listed.account is None else "account",
        address=known.original_address,
        base_address=known.base_address,
        reason=known.reason,
        cause=known.cause,
        evidence=known.evidence,
        entry_id=known.entry_id,
        is_manual=known.manual,
        added_at=time_at(known.added_at),
        expires_at=time_at(known.expires_at) if known.expires_at is not None else None,
        is_expired=listed.has_ended,
    )
