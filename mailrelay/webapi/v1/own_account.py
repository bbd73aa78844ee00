"""``/account/settings``: what an account may change of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

from attrs import evolve, frozen
from msgspec import UNSET, Meta, UnsetType

from mailrelay.control.account import LONGEST_RETENTION, Unset
from mailrelay.control.accounts import AccountUse
from mailrelay.control.answers import Inside
from mailrelay.control.directory import DirectoryControl
from mailrelay.control.errors import Refusal
from mailrelay.control.own_account import MalformedDetail, OwnAccount, OwnDetails
from mailrelay.directory.keys import Scope
from mailrelay.directory.model import Account
from mailrelay.webapi.v1.fields import Bytes, Position
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import CONFLICT, INVALID_FIELD, Problem

MOST_LOGINS = 1000

FullName: TypeAlias = Annotated[str, Meta(max_length=255)]
Kept: TypeAlias = Annotated[float, Meta(ge=0, le=LONGEST_RETENTION)]
Login: TypeAlias = Annotated[str, Meta(max_length=512)]
Logins: TypeAlias = Annotated[list[Login], Meta(max_length=MOST_LOGINS)]


class SettingsChange(Strict, frozen=True):
    """What is to be changed; what is left out stays.

    Times are seconds, null for the server's own; ``from_id_logins`` are all of those whose mail
    gets FromIDs.
    """

    full_name: FullName | UnsetType = UNSET
    retired_kept_for: Kept | UnsetType | None = UNSET
    calls_kept_for: Kept | UnsetType | None = UNSET
    from_id_logins: Logins | UnsetType = UNSET


class SettingsView(Strict, frozen=True):
    """What the account is set to, and what its operator allows it: null is no limit."""

    full_name: FullName
    retired_kept_for: Kept | None
    calls_kept_for: Kept | None
    from_id_logins: Logins
    quota_bytes: Bytes | None
    used_bytes: Bytes
    messages_per_day: Position | None
    new_recipients_per_day: Position | None
    sent_today: Position


@frozen
class OwnAccountOperations:
    """``/account/settings``.  ``load_directory`` fires when the server knows what was changed.

    ``account`` tells how one of that number is now; ``control`` makes the directory's for whoever
    is named in the audit; ``use`` tells what an account has used up.
    """

    account: Callable[[int], Account]
    control: Callable[[str], DirectoryControl]
    use: Callable[[str], Awaitable[AccountUse]]
    load_directory: Callable[[], Awaitable[object]]

    def operations(self) -> list[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="settings_get",
                method="GET",
                path="/account/settings",
                about="What the account is set to, its limits, and what it has used of them.",
                work=self.get,
                answers={200: SettingsView},
                scope=Scope.READ,
            ),
            Operation(
                name="settings_change",
                method="PATCH",
                path="/account/settings",
                about="Change what an account may change of itself.",
                work=self.change,
                answers={204: None},
                scope=Scope.MANAGE,
                body=SettingsChange,
                problems=[CONFLICT],
            ),
        ]

    async def get(self, call: Call) -> Answer:
        """All of it."""
        account = self.account(call.caller.account.id)
        use = await self.use(account.name)
        return Answer(
            200,
            SettingsView(
                full_name=account.full_name,
                retired_kept_for=account.retired_kept_for,
                calls_kept_for=account.calls_kept_for,
                from_id_logins=sorted(account.from_id_logins)[:MOST_LOGINS],
                quota_bytes=account.quota_bytes,
                used_bytes=max(0, use.used_bytes),
                messages_per_day=account.messages_per_day,
                new_recipients_per_day=account.new_recipients_per_day,
                sent_today=use.sent_today,
            ),
        )

    async def change(self, call: Call) -> Answer:
        """What was named."""
        body: SettingsChange = call.body

        def told(done: Any, inside: Inside) -> Answer:
            return Answer(204)

        control = self.control(call.caller.actor("api"))
        control = evolve(control, records=call.with_answer(control.records, told))
        details = OwnDetails(
            None if body.full_name is UNSET else body.full_name,
            None if body.from_id_logins is UNSET else body.from_id_logins,
            _kept(body.retired_kept_for),
            _kept(body.calls_kept_for),
        )
        try:
            await OwnAccount(control, call.caller.account).change(details)
        except MalformedDetail as error:
            raise Problem(INVALID_FIELD, str(error), error.field) from None
        except Refusal as error:
            raise Problem(CONFLICT, str(error)) from None
        await self.load_directory()
        return Answer(204)


def _kept(given: float | UnsetType | None) -> float | Unset | None:
    if given is UNSET:
        return None
    return Unset.SERVERS if given is None else given
