"""Destinations: what is tried together, throttled together, and counted together."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from attrs import define, evolve, field, frozen

from mailrelay.smtp.reply import Reply

URGENT_LANES = 1 << 32
"""From here on, lane numbers are of urgent entries."""


@frozen
class Destination:
    """Next hop, credentials and TLS level as one ``key``; ``way`` is what routing decided."""

    key: str
    way: object = field(eq=False)
    is_local: bool = False  # no peer: an attempt needs not be recorded before it is made
    concurrency: int | None = None  # attempts at once; the setting's when None
    together: int | None = None  # entries in one attempt; the setting's when None
    because: str = field(default="", eq=False)  # why routing chose it, in a word, for the history
    route: int | None = field(default=None, eq=False)  # ... and the number of the route that fits

    def chosen(self, because: str, route: int | None) -> Destination:
        """This one, with why it was; once for each entry, so evolve would cost too much."""
        return Destination(
            self.key, self.way, self.is_local, self.concurrency, self.together, because, route
        )

    def lane(self, account_id: int | None, *, urgent: bool = False) -> int:
        """A stable number for this destination and account; collisions do no harm."""
        number = zlib.crc32(f"{self.key}\0{account_id}".encode())
        return number + URGENT_LANES if urgent else number


@frozen
class BackOff:
    """How a destination is treated whose host fails; seconds."""

    failures: int = 3  # host failures in a row before it is suspended
    first_after: float = 60.0
    longest_after: float = 3600.0


class Waiting(Protocol):
    """What a backlog asks of its entries, of whatever kind; they are values of attrs."""

    @property
    def id(self) -> int:
        """Its id."""

    @property
    def account_id(self) -> int | None:
        """Whose it is."""

    @property
    def is_urgent(self) -> bool:
        """Whether it goes before what else is its account's."""

    @property
    def queued_at(self) -> float:
        """When its life began."""

    def goes_with(self, other: Any) -> bool:
        """Whether one attempt can carry both."""


E = TypeVar("E", bound=Waiting)


@define
class Backlog(Generic[E]):
    """The entries in memory for one destination, taken fairly between accounts.

    Accounts take turns, whatever is urgent; in an account's turn its urgent entries go first.

    Invariant: an entry is in exactly one of: here, under attempt, or not in memory.
    """

    destination: Destination
    active: int = 0
    suspended_until: float = 0.0  # monotonic seconds
    last_reply: Reply | None = None
    failures: int = 0
    failed_at: float = 0.0  # monotonic seconds
    _by_account: dict[int | None, deque[E]] = field(factory=dict)
    _urgent: dict[int | None, deque[E]] = field(factory=dict)
    _turns: deque[int | None] = field(factory=deque)  # who is in either
    size: int = 0
    urgent_size: int = 0

    def push(self, entry: E) -> None:
        """Put ``entry`` behind its account's others, urgent or not as it is."""
        account, lanes = entry.account_id, self._by_account
        if entry.is_urgent:
            lanes = self._urgent
            self.urgent_size += 1
        own = lanes.get(account)
        if own is None:
            if account not in self._by_account and account not in self._urgent:
                self._turns.append(account)
            own = lanes[account] = deque()
        own.append(entry)
        self.size += 1

    def lane_size(self, account_id: int | None, *, urgent: bool = False) -> int:
        """How many entries of one account, urgent or others, wait here."""
        own = (self._urgent if urgent else self._by_account).get(account_id)
        return len(own) if own else 0

    def pop_group(self, most: int) -> list[E]:
        """The next account's first entry, and those behind it that go with it, up to ``most``."""
        account = self._turns.popleft()
        is_urgent = account in self._urgent
        lanes = self._urgent if is_urgent else self._by_account
        own = lanes[account]
        group = [own.popleft()]
        while own and len(group) < most and own[0].goes_with(group[0]):
            group.append(own.popleft())
        if not own:
            del lanes[account]
        if own or account in self._by_account:
            self._turns.append(account)
        self.size -= len(group)
        if is_urgent:
            self.urgent_size -= len(group)
        return group

    def pop_all(self) -> list[E]:
        """Everything that waits."""
        entries = [entry for own in self._all_lanes() for entry in own]
        self._by_account.clear()
        self._urgent.clear()
        self._turns.clear()
        self.size = self.urgent_size = 0
        return entries

    def _all_lanes(self) -> Iterable[deque[E]]:
        return chain(self._urgent.values(), self._by_account.values())

    def move_times(self, step: float) -> None:
        """The wall clock was set by ``step`` seconds: what waits here is not older for it."""
        for own in self._all_lanes():
            moved = [aged(entry, step) for entry in own]
            own.clear()
            own.extend(moved)

    def lanes(self) -> Iterable[tuple[int | None, bool, int]]:
        """Account, whether it is of urgent entries, and how many wait."""
        for is_urgent, lanes in ((True, self._urgent), (False, self._by_account)):
            for account, own in lanes.items():
                yield account, is_urgent, len(own)

    def host_failed(self, rules: BackOff, now: float, reply: Reply) -> bool:
        """Count a host failure at monotonic ``now``; True when this suspends the destination."""
        self.failures += 1
        self.failed_at = now
        self.last_reply = reply
        beyond = self.failures - rules.failures
        if beyond < 0 or now < self.suspended_until:
            return False
        delay = min(rules.first_after * 2 ** min(beyond, 10), rules.longest_after)
        self.suspended_until = now + delay
        return True

    def is_over(self, rules: BackOff, now: float) -> bool:
        """Nothing waits or is under attempt, and what failed is so long ago that it says nothing.

        Until then the next that comes finds a host that is known to fail.
        """
        if self.size or self.active:
            return False
        last = max(self.failed_at, self.suspended_until)
        return not self.failures or now > last + rules.longest_after

    def host_answered(self) -> None:
        """The host is well: forget its failures."""
        self.failures = 0
        self.suspended_until = 0.0


def aged(entry: E, step: float) -> E:
    """``entry`` as old as it was before the wall clock was set by ``step``."""
    old: Any = entry
    moved: E = evolve(old, queued_at=entry.queued_at + step)
    return moved
