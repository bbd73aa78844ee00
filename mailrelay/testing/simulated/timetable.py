"""When an entry may be attempted next, as the store was told; and whether that is its schedule."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.clock_steps import STEP_NOTICED
from mailrelay.queue.entry import Entry
from mailrelay.queue.schedule import RetryProfile
from mailrelay.testing.simulated.submitters import Submitters
from mailrelay.testing.simulated.world import World

JITTER = 0.05
TOLERANCE = 0.001
LONGEST_TRANSACTION = 60.0
"""Seconds from a recipient to the end of the content."""
"""Seconds: what a time loses as a number of seconds since the epoch."""

LONGEST_UNDER_WAY = 5.0
"""Seconds between a time that is recorded and our seeing it, unless the clock was set meanwhile."""


@frozen
class _Due:
    """Known since when, due when; ``least`` is how long after it the schedule may be."""

    since: float
    at: float
    least: float


@define(eq=False)
class Timetable:
    """Watches attempts and what is recorded of them.  Times are monotonic seconds."""

    world: World
    profile: RetryProfile
    submitters: Submitters
    _due: dict[int, _Due] = field(factory=dict)
    _released: set[int] = field(factory=set)

    def attempt_begins(self, entry: Entry) -> None:
        """Nothing is attempted before its time: neither a retry nor what is held for the future."""
        now = self.world.seconds()
        due = self._due.pop(entry.id, None)
        if due is not None:
            self._check_due(entry, due, now)
        elif entry.attempts == 0 and entry.id not in self._released:
            self._check_held_for(entry)

    def _check_due(self, entry: Entry, due: _Due, now: float) -> None:
        steps = [step for at, step in self.world.forward_steps if due.since <= at <= now]
        has_ended = any(due.since <= at <= now for at in self.world.ends)
        # Small steps go unnoticed, and so does what is set just before a life ends.
        if any(step <= STEP_NOTICED for step in steps) or (steps and has_ended):
            return
        # Of an outcome that is recorded just before a crash we do not hear: its jitter is its own.
        early = (due.since + due.least if has_ended else due.at) - now
        if early > TOLERANCE:
            self.world.violated(f"entry {entry.id} is attempted {early:.3f} s early")

    def _check_held_for(self, entry: Entry) -> None:
        """FUTURERELEASE (RFC 4865): the wall clock says when, however it was set."""
        recipient = str(entry.recipient)
        wanted = self.submitters.tried.get(recipient, 0.0)
        tried_at = self.submitters.tried_at.get(recipient, 0.0)
        # The time begins when the content is taken, by a clock that was set back meanwhile.
        for at, step in self.world.back_steps:
            if tried_at <= at <= tried_at + LONGEST_TRANSACTION:
                wanted -= step
        early = wanted - self.world.latest_now()
        if early > TOLERANCE:
            self.world.violated(f"entry {entry.id} is attempted {early:.3f} s before its release")

    def begun(self, entry: Entry, at: float, due: float) -> None:
        """An attempt is recorded, with the time of the next if a crash interrupts it."""
        self._put_off(entry.id, entry.attempts + 1, at, due, last=self.profile.longest_after)

    def heard(self, events: Sequence[NewEvent]) -> None:
        """Outcomes are recorded."""
        for event in events:
            due = event.data.get("next_attempt_at")
            if due is None and "peer" in event.data:
                continue  # the peer's own attempt
            if event.kind is EventKind.DELAYED and event.entry_id is not None:
                assert isinstance(due, float)
                number = int(str(event.data["attempt"]))
                self._put_off(event.entry_id, number, event.at, due)

    def released(self, entry_ids: Sequence[int]) -> None:
        """An operator wants these attempted now."""
        self._released |= set(entry_ids)
        for id_ in entry_ids:
            self._due[id_] = _Due(self.world.seconds(), self.world.seconds(), 0.0)

    def _put_off(
        self, entry_id: int, number: int, at: float, due: float, last: float | None = None
    ) -> None:
        gap, profile = due - at, self.profile
        wanted = min(profile.first_after * 2 ** (number - 1), profile.longest_after)
        on_time = wanted - TOLERANCE <= gap <= wanted * (1 + JITTER) + TOLERANCE
        if not on_time and (last is None or abs(gap - last) > TOLERANCE):
            self.world.violated(f"attempt {number} of entry {entry_id} is followed after {gap} s")
        under_way = self.world.now() - at
        if not 0 <= under_way <= LONGEST_UNDER_WAY:
            under_way = LONGEST_UNDER_WAY
        began = self.world.seconds() - under_way
        self._due[entry_id] = _Due(began, began + gap, min(gap, wanted))
