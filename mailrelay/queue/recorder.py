"""Records what came of attempts, until it is recorded or the process ends.

Invariant: whatever fails, no claim of this node is left behind on an entry that nobody works on;
only a store that fails during the stop leaves some to the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailrelay.queue.clock_steps import ClockSteps
from mailrelay.queue.entry import Begun, Entry, NewMessage
from mailrelay.queue.report import Reporter, admitted
from mailrelay.queue.salvage import in_our_words, one_by_one
from mailrelay.queue.settle import Rules, Settlement, settle
from mailrelay.queue.store import ContentGone, QueueStore, StoreUnavailable
from mailrelay.queue.transport import Job, Result, without_lost

STORE_RETRY_AFTER = 2.0


@define(eq=False)
class Recorder:
    """What is handed outcomes; ``enqueue`` takes the DSNs of them as ``admit`` placed them."""

    clock: IReactorTime
    now: Callable[[], float]
    random: Random
    store: QueueStore
    reporter: Reporter
    steps: ClockSteps
    rules: Callable[[], Rules]
    is_running: Callable[[], bool]
    admit: Callable[[Entry], Entry]
    enqueue: Callable[[Sequence[Entry]], None]
    wake_after: Callable[[float], None]
    _log = Logger()

    async def finish(
        self, job: Job, result: Result, *, unbegun: bool = False, stepped: float | None = None
    ) -> None:
        """Record what came of ``job``; its entries' ages are of when ``stepped`` was the sum."""
        jitter = self.random.random()
        before = self.steps.total if stepped is None else stepped
        while job.entries:
            try:
                await self.steps.noticed()
                aged, now = job.aged(self.steps.total - before), self.now()
                settlement = settle(aged, result, self.rules(), now, jitter, unbegun=unbegun)
                unrecorded = await self._record(job, settlement)
            except StoreUnavailable:
                self._log.warn("an outcome cannot be recorded; trying again")
                await deferLater(self.clock, STORE_RETRY_AFTER)
                if not self.is_running():
                    return
            except Exception:
                await self._salvage(job, result, unbegun=unbegun, stepped=before)
                return
            else:
                if settlement.next_attempt_at is not None:
                    self.wake_after(settlement.next_attempt_at - self.now())
                if not any(unrecorded):
                    return
                job, result = without_lost(job, result, unrecorded)

    async def _record(self, job: Job, settlement: Settlement) -> Sequence[bool]:
        """Record ``settlement``; which entries are to be settled again."""
        tells = settlement.reports or settlement.list_reports
        made = await self._reports(job, settlement) if tells else ()
        reports = [admitted(report, self.admit) for report in made]
        recorded = await self.store.finish_attempts(settlement.finished, reports)
        if reports and not all(recorded):
            return recorded  # no DSN tells of what was lost
        for report in reports:
            self.enqueue(report.entries)
        return [False] * len(recorded)

    async def _reports(self, job: Job, settlement: Settlement) -> Sequence[NewMessage]:
        """The DSNs; without them rather than without the outcome, when one cannot be made."""
        try:
            return await self.reporter.of(job.message, settlement, settlement.next_attempt_at)
        except StoreUnavailable:
            raise
        except ContentGone:
            return []  # all its entries ended meanwhile, in another way
        except Exception:
            self._log.failure("no DSN could be made for message {id}", id=job.message.id)
            return []

    # Data that cannot be stored

    async def _salvage(self, job: Job, result: Result, *, unbegun: bool, stepped: float) -> None:
        """Record each entry's outcome alone, and in our own words where that fails, too."""
        self._log.failure(
            "an outcome for {key}, message {id}, cannot be stored as it is: please report this",
            key=job.destination.key,
            id=job.message.id,
        )
        if len(job.entries) > 1:
            for one, its in one_by_one(job, result):
                await self.finish(one, its, unbegun=unbegun, stepped=stepped)
        elif (plain := in_our_words(result)) != result:
            await self.finish(job, plain, unbegun=unbegun, stepped=stepped)
        else:
            await self._give_up(job.entries[0], unbegun=unbegun)

    async def _give_up(self, entry: Entry, *, unbegun: bool) -> None:
        """Give the claim of an entry up whose outcome cannot be recorded: it is tried again."""
        self._log.error(
            "entry {id} is tried again and may be delivered twice:"
            " `mailrelay queue hold {id}` stops that, `mailrelay queue drop {id}` ends it",
            id=entry.id,
        )
        now = self.now()
        try:
            if unbegun:  # nothing has put it off yet
                due = now + self.rules().profile.longest_after
                await self.store.begin_attempts([Begun(entry.id, entry.epoch, now, due)])
            await self.store.release_claims([entry.id])
        except StoreUnavailable:
            self._log.warn("the claim of entry {id} cannot be given up; trying again", id=entry.id)
            await deferLater(self.clock, STORE_RETRY_AFTER)
            if self.is_running():
                await self._give_up(entry, unbegun=unbegun)
