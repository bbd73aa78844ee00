"""``/account/usage``: what an account uses of what it may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from attrs import frozen
from msgspec import Meta

from mailrelay.control.usage import UsageControl
from mailrelay.directory.keys import Scope
from mailrelay.webapi.v1.fields import LARGEST_ID
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict

Number = Annotated[int, Meta(ge=0, le=LARGEST_ID)]


class UsageOut(Strict, frozen=True):
    """A limit of null is none.  ``sent_of_day`` are recipients of the last 24 hours.

    ``waiting`` and ``held`` are entries; there may be more when ``is_all`` is false.
    """

    storage_bytes: Number
    storage_quota_bytes: Number | None
    sent_of_day: Number
    messages_per_day: Number | None
    waiting: Number
    held: Number
    is_all: bool


@frozen
class UsageOperations:
    """``/account/usage``."""

    control: UsageControl

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="account_usage",
                method="GET",
                path="/account/usage",
                about="What the account's mailboxes hold, what it sent today, and what waits.",
                work=self.get,
                answers={200: UsageOut},
                scope=Scope.READ,
            )
        ]

    async def get(self, call: Call) -> Answer:
        """How much of everything there is."""
        found = await self.control.usage(call.caller.account)
        return Answer(
            200,
            UsageOut(
                storage_bytes=max(0, found.storage_bytes),
                storage_quota_bytes=found.storage_quota_bytes,
                sent_of_day=found.sent_of_day,
                messages_per_day=found.messages_per_day,
                waiting=found.waiting.ready,
                held=found.waiting.held,
                is_all=found.waiting.is_all,
            ),
        )
