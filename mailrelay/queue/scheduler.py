"""The scheduler: a bounded window of due entries in memory, by destination; the store is the truth.

Invariants:

- An entry is attempted only while this node holds its claim, and after the attempt is recorded.
- An entry in memory is in one backlog or under one attempt, never both.
- An outcome that cannot be recorded is tried to be recorded until it is, or the process ends.
- One timer to wake, at most 300 seconds ahead.
- Every time that is stored is of the wall clock as it is: ClockSteps is waited for before.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mailrelay.queue.clock_steps import ClockSteps
from mailrelay.queue.destination import Backlog, BackOff, Destination
from mailrelay.queue.entry import Begun, Entry, EntryState
from mailrelay.queue.outcome import Deferral, outcome_of_error
from mailrelay.queue.recorder import STORE_RETRY_AFTER, Recorder
from mailrelay.queue.report import Reporter
from mailrelay.queue.schedule import RetryProfile, longest_wait, next_attempt_at
from mailrelay.queue.settle import Rules
from mailrelay.queue.store import QueueStore, StoreUnavailable
from mailrelay.queue.transport import Attempt, Job, Result, Transport
from mailrelay.smtp.reply import EnhancedStatus, Reply

LONGEST_SLEEP = 300.0


@frozen
class QueueSettings:
    """``[queue]`` of the configuration.  Durations are seconds."""

    profile: RetryProfile = RetryProfile()
    retired_kept_for: float = 3 * 86400.0
    concurrency: int = 10  # attempts at once per destination
    recipients_per_attempt: int = 100
    window: int = 10_000  # entries in memory
    window_per_lane: int = 1_000  # ... of one account for one destination
    claim_batch: int = 500
    back_off: BackOff = BackOff()


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


class Scheduler(Service):
    """Takes due entries, attempts them, records what came of it."""

    _log = Logger()

    def __init__(self, outside: Outside, settings: QueueSettings) -> None:
        self._o, self._settings = outside, settings
        self._rules = self._rules_of(settings)
        self._backlogs: dict[str, Backlog] = {}
        self._in_memory = 0  # waiting or under attempt
        # Why due entries may wait in the store alone: no room in memory, or not in their lane.
        self._window_was_full = False
        self._full_destinations: set[str] = set()
        self._filling = False
        self._fill_again = False  # asked for while filling
        self._timer: IDelayedCall | None = None
        self._wakes_at = 0.0  # monotonic
        self._running_attempts: set[Deferred[None]] = set()
        self._steps = ClockSteps(
            outside.clock,
            outside.now,
            outside.store,
            lambda: longest_wait(self._settings.profile),
            self._age,
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
            wake_after=self._wake_after,
        )

    # Lifecycle

    def startService(self) -> None:
        """Begin with what is due."""
        super().startService()
        self._steps.start()
        self.wake()

    def stopService(self) -> Deferred[None]:
        """Fires when no attempt is under way; then what waits in memory is given back."""
        super().stopService()
        self._cancel_timer()
        waiting = [entry.id for b in self._backlogs.values() for entry in b.pop_all()]
        ended: Deferred[Any] = DeferredList([*self._running_attempts, self._steps.stop()])
        ended.addCallback(
            lambda _: self._o.store.release_claims(waiting) if waiting else succeed(None)
        )
        ended.addErrback(lambda failure: failure.trap(StoreUnavailable))
        return ended.addCallback(lambda _: None)

    # What acceptance asks

    def admit(self, entry: Entry) -> Entry:
        """``entry`` as it is to be stored: claimed when there is room for it in memory."""
        destination = self._o.route(entry)
        account = entry.message.account_id
        lane = destination.lane(account)
        if self._o.is_held(entry):
            return evolve(entry, lane=lane, state=EntryState.HELD, destination=destination)
        now = self._o.now()
        due = entry.next_attempt_at
        epoch = 0
        if self.running and due <= now:
            backlog = self._backlogs.get(destination.key)
            suspended = backlog.suspended_until - self._o.clock.seconds() if backlog else 0.0
            if suspended > 0:
                due = now + suspended
            elif self._has_room(backlog, account):
                epoch = self._o.epoch()
        return evolve(entry, lane=lane, next_attempt_at=due, epoch=epoch, destination=destination)

    def _has_room(self, backlog: Backlog | None, account_id: int | None) -> bool:
        in_lane = backlog.account_size(account_id) if backlog is not None else 0
        return in_lane < self._settings.window_per_lane and self._in_memory < self._settings.window

    def enqueue(self, entries: Sequence[Entry]) -> None:
        """Take what was just committed, as ``admit`` placed it."""
        now = self._o.now()
        touched: dict[str, Backlog] = {}
        for entry in entries:
            if entry.epoch:
                backlog = self._push(entry)
                touched[backlog.destination.key] = backlog
            elif entry.state is EntryState.HELD:
                continue
            elif entry.next_attempt_at <= now:
                self._left_behind(entry)
            else:
                self._wake_after(entry.next_attempt_at - now)
        for backlog in touched.values():
            self._pump(backlog)

    def wake(self) -> None:
        """Look at the store now: something there changed, or may have."""
        self._wake_after(0.0)

    def _left_behind(self, entry: Entry) -> None:
        """A due entry stays in the store: remember what it waits for."""
        if self._in_memory >= self._settings.window:
            self._window_was_full = True
        elif isinstance(entry.destination, Destination):
            self._full_destinations.add(entry.destination.key)
        else:
            self._wake_after(0.0)

    def reconfigure(self, settings: QueueSettings) -> None:
        """Go on with other settings; attempts under way keep theirs."""
        self._settings = settings
        self._rules = self._rules_of(settings)

    def _rules_of(self, settings: QueueSettings) -> Rules:
        return Rules(settings.profile, settings.retired_kept_for, self._o.account_kept_for)

    # What operators ask

    def backlogs(self) -> Sequence[Backlog]:
        """The destinations with entries or a state in memory."""
        return list(self._backlogs.values())

    @property
    def in_memory(self) -> int:
        """Entries in memory, waiting or under attempt."""
        return self._in_memory

    # The window

    def _push(self, entry: Entry) -> Backlog:
        destination = entry.destination
        if not isinstance(destination, Destination):
            destination = self._o.route(entry)
        backlog = self._backlogs.get(destination.key)
        if backlog is None:
            backlog = self._backlogs[destination.key] = Backlog(destination)
        else:
            backlog.destination = destination  # the configuration may have changed
        backlog.push(entry)
        self._in_memory += 1
        return backlog

    def _forget(self, backlog: Backlog, count: int) -> None:
        self._in_memory -= count
        self._drop_if_over(backlog)
        window_free = self._in_memory <= self._settings.window // 2
        lane_free = backlog.size <= self._settings.window_per_lane // 2
        if (self._window_was_full and window_free) or (
            lane_free and backlog.destination.key in self._full_destinations
        ):
            self._fill()

    def _drop_if_over(self, backlog: Backlog) -> None:
        if backlog.is_over(self._settings.back_off, self._o.clock.seconds()):
            self._backlogs.pop(backlog.destination.key, None)

    def _fill(self) -> None:
        if self._filling:
            self._fill_again = True
        if self._filling or not self.running:
            return
        self._filling, self._fill_again = True, False
        filling = Deferred.fromCoroutine(self._fill_window())

        def ended(_: object) -> None:
            self._filling = False
            if self._fill_again:
                self._fill()

        filling.addErrback(self._fill_failed).addBoth(ended)
        self._track(filling)

    def _fill_failed(self, failure: object) -> None:
        self._log.warn("the queue cannot be read; trying again", failure=failure)
        self._wake_after(STORE_RETRY_AFTER)

    async def _fill_window(self) -> None:
        self._window_was_full = False
        self._full_destinations.clear()
        while self.running:
            await self._steps.noticed()
            room = self._settings.window - self._in_memory
            batch = min(room, self._settings.claim_batch)
            if batch <= 0:
                self._window_was_full = True
                break
            full = self._full_lanes()
            claimed = await self._o.store.claim_due(self._o.now(), batch, full)
            for entry in claimed:
                self._push(entry)
            if len(claimed) < batch:
                break
        for backlog in list(self._backlogs.values()):
            self._pump(backlog)
            self._drop_if_over(backlog)
        due_at = await self._o.store.next_due_at()
        if due_at is not None and self.running:
            delay = due_at - self._o.now()
            if delay <= 0 and (self._window_was_full or self._full_destinations):
                delay = LONGEST_SLEEP  # it waits for room, and is taken when there is some
            self._wake_after(max(delay, 0.05))  # it may have come due since the claim
        elif self.running:
            self._wake_after(LONGEST_SLEEP)

    def _full_lanes(self) -> list[int]:
        full = []
        for backlog in self._backlogs.values():
            for account, size in backlog.accounts():
                if size >= self._settings.window_per_lane:
                    full.append(backlog.destination.lane(account))
                    self._full_destinations.add(backlog.destination.key)
        return full

    def _age(self, step: float) -> None:
        """The wall clock was set by ``step`` seconds: nothing here is older for it."""
        for backlog in self._backlogs.values():
            backlog.move_times(step)

    # Attempts

    def _pump(self, backlog: Backlog) -> None:
        if not self.running:
            return
        if backlog.suspended_until > self._o.clock.seconds():
            if backlog.size:
                self._suspend(backlog)
            return
        down = backlog.failures >= self._settings.back_off.failures
        most = 1 if down else self._settings.concurrency
        while backlog.size and backlog.active < most:
            group = backlog.pop_group(self._settings.recipients_per_attempt)
            self._start(backlog, self._attempt(backlog, group), len(group))

    def _suspend(self, backlog: Backlog) -> None:
        """Its host does not answer: everything that waits for it is put off, unattempted."""
        entries = backlog.pop_all()
        by_message: dict[int, list[Entry]] = {}
        for entry in entries:
            by_message.setdefault(entry.message.id, []).append(entry)
        said = backlog.last_reply
        text = f"delivery temporarily suspended: {said.text if said else 'host does not answer'}"
        deferral = Deferral(Reply(451, text, EnhancedStatus(4, 4, 1)))
        for group in by_message.values():
            now = self._o.now()
            job = Job(backlog.destination, group[0].message, group)
            result = Result([deferral] * len(group), Attempt(now, now))
            self._start(backlog, self._recorder.finish(job, result, unbegun=True), len(group))

    def _start(self, backlog: Backlog, work: Coroutine[Any, Any, None], count: int) -> None:
        backlog.active += 1
        attempt = Deferred.fromCoroutine(work)

        def ended(_: object) -> None:
            backlog.active -= 1
            self._pump(backlog)
            self._forget(backlog, count)

        attempt.addErrback(lambda failure: self._log.failure("an attempt broke off", failure))
        self._track(attempt.addCallback(ended))

    def _track(self, running: Deferred[None]) -> None:
        self._running_attempts.add(running)
        running.addBoth(lambda _: self._running_attempts.discard(running))

    async def _attempt(self, backlog: Backlog, group: Sequence[Entry]) -> None:
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
            await self._recorder.pause()
            if self.running:
                for entry in group:
                    self._push(entry)
            return []
        return [entry for entry, may in zip(group, allowed, strict=True) if may]

    def _retry_at(self, entry: Entry, now: float) -> float:
        profile = self._settings.profile
        due = next_attempt_at(
            profile, entry.queued_at, now, entry.attempts + 1, self._o.random.random()
        )
        # A last attempt that a crash interrupts is made once more, as late as any.
        return due if due is not None else now + profile.longest_after

    # Time

    def _wake_after(self, delay: float) -> None:
        """Wake at the latest ``delay`` seconds from now."""
        if not self.running:
            return
        delay = min(max(0.0, delay), LONGEST_SLEEP)
        at = self._o.clock.seconds() + delay
        if self._timer is not None and self._timer.active():
            if self._wakes_at <= at:
                return
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._o.clock.callLater(delay, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._fill()

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
