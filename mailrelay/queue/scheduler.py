"""The scheduler of mail: what is admitted to memory, what an attempt is, what comes of it.

Invariants:

- An entry is attempted only while this node holds its claim, and after the attempt is recorded.
- An outcome that cannot be recorded is tried to be recorded until it is, or the process ends.
- Every time that is stored is of the wall clock as it is: ClockSteps is waited for before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailrelay.queue.clock_steps import ClockSteps
from mailrelay.queue.destination import Backlog, Destination
from mailrelay.queue.entry import Begun, Entry, EntryState
from mailrelay.queue.outcome import Deferral, outcome_of_error
from mailrelay.queue.recorder import STORE_RETRY_AFTER, Recorder
from mailrelay.queue.report import Reporter
from mailrelay.queue.schedule import RetryProfile, longest_wait, next_attempt_at
from mailrelay.queue.settle import Rules
from mailrelay.queue.store import QueueStore, StoreUnavailable
from mailrelay.queue.transport import Attempt, Job, Result, Transport
from mailrelay.queue.window import Window, WindowSettings
from mailrelay.smtp.reply import EnhancedStatus, Reply


@frozen(kw_only=True)
class QueueSettings(WindowSettings):
    """``[queue]`` of the configuration.  Durations are seconds."""

    profile: RetryProfile = RetryProfile()
    retired_kept_for: float = 3 * 86400.0
    content_kept_for: float = 0.0


@frozen
class Outside:
    """What the scheduler is given: clocks, chance, where entries go and how."""

    clock: IReactorTime
    now: Callable[[], float]
    random: Random
    store: QueueStore
    route: Callable[[Entry], Destination]
    transport: Transport
    reporter: Reporter
    epoch: Callable[[], int]
    attempted: Callable[[Job, Result], None] = field(default=lambda job, result: None)
    is_held: Callable[[Entry], bool] = field(default=lambda entry: False)
    account_kept_for: Callable[[int | None], float | None] = field(default=lambda account_id: None)


class Scheduler(Window[Entry]):
    """Takes due entries, attempts them, records what came of it."""

    _log = Logger()

    def __init__(self, outside: Outside, settings: QueueSettings) -> None:
        super().__init__(outside.clock, outside.now, outside.store, settings)
        self._o, self._settings = outside, settings
        self._rules = self._rules_of(settings)
        self._steps = ClockSteps(
            outside.clock,
            outside.now,
            outside.store,
            lambda: longest_wait(self._settings.profile),
            self.age,
            self.wake,
        )
        self._recorder = Recorder(
            clock=outside.clock,
            now=outside.now,
            random=outside.random,
            store=outside.store,
            reporter=outside.reporter,
            steps=self._steps,
            rules=lambda: self._rules,
            is_running=lambda: bool(self.running),
            admit=self.admit,
            enqueue=self.enqueue,
            wake_after=self.wake_after,
        )

    # Lifecycle

    def startService(self) -> None:
        """Begin with what is due."""
        self._steps.start()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Fires when no attempt is under way; then what waits in memory is given back."""
        self.track(self._steps.stop())
        return super().stopService()

    async def before_claim(self) -> None:
        """Due is what the clock says now."""
        await self._steps.noticed()

    async def claim(self, limit: int, full_lanes: Sequence[int]) -> Sequence[Entry]:
        """Urgent entries before all others: there is room for them when there is for no other."""
        urgent = min(self.room(urgent=True), self._settings.claim_batch)
        if urgent <= 0:
            return []
        claimed = await self._o.store.claim_due(self._o.now(), limit, full_lanes, urgent)
        return [evolve(entry, destination=self._o.route(entry)) for entry in claimed]

    async def next_urgent_at(self) -> float | None:
        """See Window."""
        return await self._o.store.next_due_at(urgent=True)

    def reconfigure(self, settings: QueueSettings) -> None:
        """Go on with other settings; attempts under way keep theirs."""
        self._settings = settings
        self._rules = self._rules_of(settings)
        self.resize(settings)

    def _rules_of(self, settings: QueueSettings) -> Rules:
        return Rules(
            settings.profile,
            settings.retired_kept_for,
            self._o.account_kept_for,
            settings.content_kept_for,
        )

    # What acceptance asks

    def admit(self, entry: Entry) -> Entry:
        """``entry`` as it is to be stored: claimed when there is room for it in memory."""
        destination = self._o.route(entry)
        account, urgent = entry.account_id, entry.is_urgent
        lane = destination.lane(account, urgent=urgent)
        due = entry.next_attempt_at
        if self._o.is_held(entry):
            return entry.placed(EntryState.HELD, due, lane, entry.epoch, destination)
        now = self._o.now()
        epoch = 0
        if self.running and due <= now:
            backlog = self._backlogs.get(destination.key)
            suspended = backlog.suspended_until - self._o.clock.seconds() if backlog else 0.0
            if suspended > 0:
                due = now + suspended
            elif self.has_room(backlog, account, urgent=urgent):
                epoch = self._o.epoch()
        return entry.placed(entry.state, due, lane, epoch, destination)

    def enqueue(self, entries: Sequence[Entry]) -> None:
        """Take what was just committed, as ``admit`` placed it."""
        now = self._o.now()
        touched: dict[str, Backlog[Entry]] = {}
        for entry in entries:
            if entry.epoch:
                backlog = self.push(entry)
                touched[backlog.destination.key] = backlog
            elif entry.state is EntryState.HELD:
                continue
            elif entry.next_attempt_at <= now:
                to = entry.destination if isinstance(entry.destination, Destination) else None
                self.left_behind(to, urgent=entry.is_urgent)
            else:
                self.wake_after(entry.next_attempt_at - now)
        for backlog in touched.values():
            self.pump(backlog)

    def destination_of(self, entry: Entry) -> Destination:
        """Where acceptance placed it, or routing says now."""
        if isinstance(entry.destination, Destination):
            return entry.destination
        return self._o.route(entry)

    # Attempts

    def put_off(self, backlog: Backlog[Entry]) -> None:
        """Put off what waits, as if each had been tried: its sender is to hear of it."""
        by_message: dict[int, list[Entry]] = {}
        for entry in backlog.pop_all():
            by_message.setdefault(entry.message.id, []).append(entry)
        said = backlog.last_reply
        text = f"delivery temporarily suspended: {said.text if said else 'host does not answer'}"
        deferral = Deferral(Reply(451, text, EnhancedStatus(4, 4, 1)))
        for group in by_message.values():
            now = self._o.now()
            job = Job(backlog.destination, group[0].message, group)
            result = Result([deferral] * len(group), Attempt(now, now))
            self.start(backlog, self._recorder.finish(job, result, unbegun=True), group)

    async def attempt(self, backlog: Backlog[Entry], group: Sequence[Entry]) -> None:
        """See Window."""
        # Without a peer there is nobody to hammer: attempt and outcome are recorded together.
        unbegun = backlog.destination.is_local
        stepped = self._steps.total
        entries = group if unbegun else await self._begin(group)
        if not entries:
            return
        job = Job(backlog.destination, entries[0].message, entries)
        started = self._o.now()
        try:
            result = await self._o.transport.attempt(job)
        except Exception as error:
            self._log.failure("transport failed for {key}", key=backlog.destination.key)
            outcome = outcome_of_error(error)
            result = Result([outcome] * len(entries), Attempt(started, self._o.now()))
        if result.host_failed:
            now = self._o.clock.seconds()
            if backlog.host_failed(self._settings.back_off, now, result.outcomes[0].reply):
                self._log.warn("{key} does not answer: suspended", key=backlog.destination.key)
        else:
            backlog.host_answered()
        self._o.attempted(job, result)
        await self._recorder.finish(job, result, unbegun=unbegun, stepped=stepped)

    async def _begin(self, group: Sequence[Entry]) -> Sequence[Entry]:
        """Record the attempts; the entries that may be made."""
        try:
            await self._steps.noticed()
            now = self._o.now()
            begun = [Begun(e.id, e.epoch, now, self._retry_at(e, now)) for e in group]
            allowed = await self._o.store.begin_attempts(begun)
        except StoreUnavailable:
            # Nothing was attempted.  The claims are still ours: wait with them.
            await deferLater(self._clock, STORE_RETRY_AFTER)
            if self.running:
                for entry in group:
                    self.push(entry)
            return []
        return [entry for entry, may in zip(group, allowed, strict=True) if may]

    def _retry_at(self, entry: Entry, now: float) -> float:
        profile = self._settings.profile
        due = next_attempt_at(
            profile, entry.queued_at, now, entry.attempts + 1, self._o.random.random()
        )
        # A last attempt that a crash interrupts is made once more, as late as any.
        return due if due is not None else now + profile.longest_after
