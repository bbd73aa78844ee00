"""Many suppressions in one call: a list that comes from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from attrs import frozen
from msgspec import Meta, field

from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import (
    NewSuppression,
    SuppressionControl,
    checked_evidence,
    checked_reason,
)
from mailrelay.directory.keys import Scope
from mailrelay.policy.suppression import Cause, Listed, Suppressed, is_whole_domain
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem
from mailrelay.webapi.v1.suppression_fields import (
    CauseName,
    Mailbox,
    Reason,
    Told,
    checked_address,
    checked_end,
    seconds_of,
)
from mailrelay.webapi.v1.times import Time

MOST_IMPORTED = 1000
MOST_BODY_BYTES = 8 * 1024 * 1024


class ImportedIn(Strict, frozen=True):
    """As ``SuppressionOut`` tells it elsewhere; ``added_at`` is now when it is not given."""

    address: Mailbox
    reason: Reason = ""
    cause: CauseName = "manual"
    evidence: Told = ""
    added_at: Time | None = None
    expires_at: Time | None = None


class ImportIn(Strict, frozen=True):
    """What is to be put on the list."""

    suppressions: Annotated[list[ImportedIn], Meta(min_length=1, max_length=MOST_IMPORTED)]


class ImportedOut(Strict, frozen=True):
    """``present``: it was there, and stays as it was; ``invalid``: ``detail`` says why."""

    result: Literal["added", "present", "invalid"]
    base_address: Told = ""
    field_: Told = field(name="field", default="")
    detail: Told = ""


class ImportOut(Strict, frozen=True):
    """One result for each that was given, in their order."""

    results: Annotated[list[ImportedOut], Meta(max_length=MOST_IMPORTED)]


@frozen
class SuppressionImport:
    """``/suppressions/import``."""

    control: Callable[[str], SuppressionControl]
    in_memory: Suppressed

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="suppression_import",
                method="POST",
                path="/suppressions/import",
                about="Put many addresses on the list; what is wrong keeps no other off it.",
                work=self.work,
                answers={200: ImportOut},
                scope=Scope.MANAGE,
                body=ImportIn,
                most_body_bytes=MOST_BODY_BYTES,
            )
        ]

    async def work(self, call: Call) -> Answer:
        """All of them."""
        body: ImportIn = call.body
        account = call.caller.account
        control = self.control(call.caller.actor("api"))
        read = [_read(number, one, control.now()) for number, one in enumerate(body.suppressions)]
        new = [one for one in read if isinstance(one, NewSuppression)]
        added = iter(await control.import_all(account.name, new))
        results = []
        for one in read:
            if isinstance(one, ImportedOut):
                results.append(one)
                continue
            is_new = next(added)
            if is_new:
                self.in_memory.add(Listed(account.id, one.base_address, one.expires_at))
            results.append(
                ImportedOut(result="added" if is_new else "present", base_address=one.base_address)
            )
        return Answer(200, ImportOut(results=results))


def _read(number: int, given: ImportedIn, now: float) -> NewSuppression | ImportedOut:
    place = f"suppressions[{number}]"
    try:
        address = checked_address(f"{place}.address", given.address)
        expires_at = seconds_of(f"{place}.expires_at", given.expires_at)
        checked_end(f"{place}.expires_at", expires_at, now)
        added_at = seconds_of(f"{place}.added_at", given.added_at)
        return NewSuppression(
            address,
            now if added_at is None else added_at,
            given.cause == Cause.MANUAL.value,
            _line(f"{place}.reason", checked_reason, given.reason),
            Cause(given.cause),
            _line(f"{place}.evidence", checked_evidence, given.evidence),
            expires_at,
            is_whole_domain(given.address),
        )
    except Problem as problem:
        return ImportedOut(result="invalid", field_=problem.field, detail=problem.detail)


def _line(place: str, checked: Callable[[str], str], text: str) -> str:
    try:
        return checked(text)
    except Refusal as refusal:
        raise Problem(INVALID_FIELD, str(refusal), place) from None
