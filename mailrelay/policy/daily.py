"""How many messages an account may send in 24 hours, counted per recipient."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from mailrelay.directory.model import Account
from mailrelay.smtp.reply import Reply, reply

OVER_DAILY_LIMIT = reply(451, "4.7.1", "the account's messages for the last 24 hours are used up")
OVER_NEW_RECIPIENTS = reply(
    451, "4.7.1", "the account's new recipients for the last 24 hours are used up"
)
HOUR = 3600.0


@define
class DailyCount:
    """Recipients per account and hour.  Starts from what the store counted at ``load``."""

    now: Callable[[], float]
    _hours: dict[int, dict[int, int]] = field(factory=dict)

    def load(self, counts: Iterable[tuple[int, int, int]]) -> None:
        """Take (account id, hour since the epoch, recipients) from before the start."""
        for account_id, hour, count in counts:
            self._hours.setdefault(account_id, {})[hour] = count

    def sent(self, account_id: int, recipients: int) -> None:
        """Count an accepted message."""
        hours = self._hours.setdefault(account_id, {})
        hour = int(self.now() // HOUR)
        hours[hour] = hours.get(hour, 0) + recipients
        for old in [h for h in hours if h < hour - 24]:
            del hours[old]

    def refuse(self, account: Account, more: int) -> Reply | None:
        """The reply when ``more`` recipients would be too many."""
        if account.messages_per_day is None:
            return None
        used = self.used(account.id)
        return OVER_DAILY_LIMIT if used + more > account.messages_per_day else None

    def used(self, account_id: int) -> int:
        """Recipients of the last 24 hours."""
        first = int(self.now() // HOUR) - 23
        hours = self._hours.get(account_id, {})
        return sum(count for hour, count in hours.items() if hour >= first)
