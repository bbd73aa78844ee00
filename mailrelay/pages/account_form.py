"""An account's settings as a form has them: units that people think in, empty for no limit."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from mailrelay.control.account import Unset
from mailrelay.control.directory import AccountDetails
from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Account
from mailrelay.pages.door import Asked

MEGABYTE = 1_000_000
HOUR = 3600.0
MOST_DIGITS = 16


def details_of(asked: Asked) -> AccountDetails:
    """What the form says of the account.  Raises: Refusal."""
    logins = {line.strip() for line in asked.value("from_id_logins").splitlines()}
    return AccountDetails(
        full_name=asked.value("full_name"),
        quota_bytes=int(_amount(asked, "quota", "the quota") * MEGABYTE),
        messages_per_day=int(_amount(asked, "messages_per_day", "the messages a day")),
        new_recipients_per_day=int(_amount(asked, "new_recipients_per_day", "new recipients")),
        login_disabled=asked.value("login_disabled") == "1",
        from_id_logins=sorted(logins - {""}),
        retired_kept_for=_hours(asked, "retired_kept_for", "how long messages are kept"),
        calls_kept_for=_hours(asked, "calls_kept_for", "how long calls are kept"),
    )


def fields_of(account: Account) -> Mapping[str, str]:
    """What the form has of an account to begin with."""
    quota = account.quota_bytes
    return {
        "full_name": account.full_name,
        "quota": "" if quota is None else f"{Decimal(quota) / MEGABYTE:f}",
        "messages_per_day": _shown(account.messages_per_day),
        "new_recipients_per_day": _shown(account.new_recipients_per_day),
        "retired_kept_for": _shown_hours(account.retired_kept_for),
        "calls_kept_for": _shown_hours(account.calls_kept_for),
        "from_id_logins": "\n".join(sorted(account.from_id_logins)),
    }


def _amount(asked: Asked, name: str, what: str) -> Decimal:
    """A number of the form; 0 when the field is empty.  Raises: Refusal."""
    text = asked.value(name)
    try:
        amount = Decimal(text or "0")
    except InvalidOperation:
        raise Refusal(f"{what}: {text[:40]!r} is no number") from None
    if len(text) > MOST_DIGITS or not amount.is_finite() or amount < 0:
        raise Refusal(f"{what}: give a number from 0 on, of {MOST_DIGITS} digits at the most")
    return amount


def _hours(asked: Asked, name: str, what: str) -> float | Unset:
    """Seconds of a field in hours; an empty one is the server's."""
    return float(_amount(asked, name, what)) * HOUR if asked.value(name) else Unset.SERVERS


def _shown(limit: int | None) -> str:
    return "" if limit is None else str(limit)


def _shown_hours(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / HOUR:.10g}"
