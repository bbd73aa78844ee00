"""What an account may change of itself.  Its limits and addresses are the operator's."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.control.account import Unset
from mailrelay.control.directory import AccountDetails, DirectoryControl
from mailrelay.directory.model import Account


@frozen
class OwnDetails:
    """What becomes of an account; None leaves a value as it is."""

    full_name: str | None = None
    from_id_logins: Sequence[str] | None = None  # all of them
    retired_kept_for: float | Unset | None = None  # seconds
    calls_kept_for: float | Unset | None = None


@frozen
class OwnAccount:
    """An account that changes itself."""

    control: DirectoryControl
    account: Account

    async def change(self, details: OwnDetails) -> None:
        """Raises: Refusal."""
        changed = AccountDetails(
            full_name=details.full_name,
            from_id_logins=details.from_id_logins,
            retired_kept_for=details.retired_kept_for,
            calls_kept_for=details.calls_kept_for,
        )
        await self.control.set_account(self.account.name, changed)

    async def change_password(self, password: str) -> None:
        """Which ends what was logged in with the old one.  Raises: Refusal.

        Whoever asks has proved the old one.  A SCRAM verifier stays where there was one.
        """
        keeps_verifier = self.account.scram_verifier is not None
        changed = AccountDetails(password=password, scram=keeps_verifier)
        await self.control.set_account(self.account.name, changed)
