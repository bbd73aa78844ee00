"""What an account may change of itself.  Its limits and addresses are the operator's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import frozen

from mailrelay.control.account import Unset, checked_logins, checked_retention
from mailrelay.control.directory import AccountDetails, DirectoryControl
from mailrelay.control.directory_checks import checked_full_name
from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Account


@frozen
class OwnDetails:
    """What becomes of an account; None leaves a value as it is."""

    full_name: str | None = None
    from_id_logins: Sequence[str] | None = None  # all of them
    retired_kept_for: float | Unset | None = None  # seconds
    calls_kept_for: float | Unset | None = None


class MalformedDetail(Refusal):
    """``field`` of what is wanted cannot be."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@contextmanager
def _of_field(field: str) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        raise MalformedDetail(field, str(refusal)) from None


@frozen
class OwnAccount:
    """An account that changes itself."""

    control: DirectoryControl
    account: Account

    async def change(self, details: OwnDetails) -> None:
        """Raises: Refusal, MalformedDetail."""
        if details.full_name is not None:
            with _of_field("full_name"):
                checked_full_name(details.full_name)
        for name in ("retired_kept_for", "calls_kept_for"):
            given = getattr(details, name)
            if given is not None:
                with _of_field(name):
                    checked_retention(name, given)
        if details.from_id_logins is not None:
            with _of_field("from_id_logins"):
                directory = await self.control.records.load()
                checked_logins(directory, self.account.name, details.from_id_logins)
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
