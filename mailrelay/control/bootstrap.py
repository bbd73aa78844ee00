"""The first account of a fresh server."""

from __future__ import annotations

from contextlib import suppress

from attrs import field, frozen

from mailrelay.control.directory import ADMIN_PASSWORD_HASH, AccountDetails, DirectoryControl
from mailrelay.control.errors import AlreadyThere
from mailrelay.directory.credentials import hash_password

EVERYTHING_TO = "everything_to_account"
POSTMASTER = "postmaster_account"


@frozen
class FirstAccount:
    """Domain, address and passwords to begin with."""

    name: str
    domain: str
    localpart: str
    password: str = field(repr=False)
    admin_password: str = field(repr=False)
    everything: bool = False  # mail for all unknown recipients is this account's (localserve)
    kept_for: float | None = None  # its retired messages and calls, in seconds
    messages_per_day: int | None = None
    new_recipients_per_day: int | None = None


async def bootstrap(
    control: DirectoryControl,
    first: FirstAccount,
    password: str | None = None,
    admin_password: str | None = None,
) -> None:
    """Make what is missing; ``password`` and ``admin_password`` replace what is there."""
    fresh = first.name not in {a.name for a in (await control.records.load()).accounts.values()}
    if fresh:
        await _make(control, first)
    if password is not None:
        await control.set_account(first.name, AccountDetails(password=password))
    wanted = admin_password or (first.admin_password if fresh else None)
    if wanted is not None:
        hashed = await control.executor.run(hash_password, wanted)
        await control.records.set_setting(control.actor, ADMIN_PASSWORD_HASH, hashed)


async def _make(control: DirectoryControl, first: FirstAccount) -> None:
    with suppress(AlreadyThere):  # a start that was interrupted here goes on
        await control.add_domain(first.domain)
    kept_for = first.kept_for
    details = AccountDetails(
        password=first.password,
        messages_per_day=first.messages_per_day,
        retired_kept_for=kept_for,
        calls_kept_for=kept_for,
        new_recipients_per_day=first.new_recipients_per_day,
    )
    await control.add_account(first.name, details)
    await control.add_address(f"{first.localpart}@{first.domain}", first.name)
    accounts = (await control.records.load()).accounts.values()
    account = next(a for a in accounts if a.name == first.name)
    names = [POSTMASTER, EVERYTHING_TO] if first.everything else [POSTMASTER]
    for name in names:
        if await control.records.setting(name) is None:
            await control.records.set_setting(control.actor, name, str(account.id))
