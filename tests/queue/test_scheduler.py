"""The scheduler on a Clock, over a real store whose threads are the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.threads import AtOnce
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.destination import BackOff, Destination
from mailrelay.queue.entry import Begun, Content, Entry, Message, NewMessage
from mailrelay.queue.outcome import Deferral, Delivered, Outcome, PermanentFailure
from mailrelay.queue.report import Reporter
from mailrelay.queue.schedule import RetryProfile
from mailrelay.queue.scheduler import Outside, QueueSettings, Scheduler
from mailrelay.queue.store import StoreUnavailable
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.queue.window import BROKEN_OFF_RETRY
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import reply
from mailrelay.storage import clock_steps
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.stores import Threads, open_stores

START = 1_000_000.0
OK = Delivered(reply(250, "2.0.0", "ok"))
LATER = Deferral(reply(451, "4.2.0", "later"))
SENDER = Address("sender", "client.test")
NEVER = PermanentFailure(reply(550, "5.1.1", "no such user"))


@define
class ScriptedTransport:
    """Answers what ``outcome`` says; keeps every job.  ``parked`` jobs wait for the test."""

    clock: Clock
    outcome: Callable[[Entry], Outcome] = lambda entry: OK
    host_failed: bool = False
    park: bool = False
    jobs: list[Job] = field(factory=list)
    parked: list[tuple[Job, Deferred[Result]]] = field(factory=list)

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        self.jobs.append(job)
        if self.park:
            waiting: Deferred[Result] = Deferred()
            self.parked.append((job, waiting))
            return waiting
        return succeed(self.result(job))

    def result(self, job: Job) -> Result:
        """What the job came to."""
        now = START + self.clock.seconds()
        outcomes = [self.outcome(entry) for entry in job.entries]
        return Result(outcomes, Attempt(now, now, host="peer.test"), self.host_failed)

    def finish_one(self) -> None:
        """Let the oldest parked job end."""
        job, waiting = self.parked.pop(0)
        waiting.callback(self.result(job))


class SchedulerCase(SynchronousTestCase):
    """A test of a scheduler."""

    def setUp(self) -> None:
        """A scheduler over a fresh database."""
        self.clock, self.offset = Clock(), 0.0
        self.transport = ScriptedTransport(self.clock)
        self.data_dir = Path(os.path.abspath(self.mktemp()))
        self.data_dir.mkdir()
        self.settings = QueueSettings(
            profile=RetryProfile(), concurrency=2, back_off=BackOff(failures=3)
        )
        self.open()

    def open(self) -> None:
        """Open the store and a scheduler, as a process does when it starts."""
        executor = AtOnce()
        tokens = iter(range(1_000_000))
        threads = Threads(executor, executor, lambda: f"{next(tokens):032x}")
        self.stores = open_stores("sqlite:///q.db", self.data_dir, "main", threads, START)
        self.addCleanup(self.stores.database.engine.dispose)
        self.store: DatabaseQueueStore = self.stores.queue
        self.events: list[NewEvent] = []
        self.store.committed = self.events.extend
        self.scheduler = Scheduler(
            Outside(
                clock=self.clock,
                now=self.now,
                random=Random(1),
                store=self.store,
                route=lambda entry: Destination(f"mx:{entry.recipient.domain}", None),
                transport=self.transport,
                reporter=Reporter(
                    "mx.test",
                    self.store,
                    self.now,
                    lambda: "0f" * 16,
                ),
                epoch=lambda: self.stores.node.epoch,
            ),
            self.settings,
        )

    def now(self) -> float:
        """The wall clock, which can be set."""
        return START + self.clock.seconds() + self.offset

    def message(
        self,
        account: int | None,
        recipients: Sequence[str],
        *,
        urgent: bool = False,
        delay: float = 0.0,
    ) -> Sequence[Entry]:
        """Accept a message from ``account``; its entries as they were stored."""
        now = self.now()
        due = now + delay
        message = Message(
            self.store.new_id(), account, SENDER, now, 30, "submission", is_urgent=urgent
        )
        entries = [
            self.scheduler.admit(
                Entry(self.store.new_id(), message, Address.parse(recipient), due, due)
            )
            for recipient in recipients
        ]
        content = Content(b"", b"Subject: x\r\n\r\nhello\r\n", None, 21)
        event = NewEvent(EventKind.ACCEPTED, now, message.id)
        self.successResultOf(self.store.add(NewMessage(message, content, entries, [event])))
        self.scheduler.enqueue(entries)
        return entries

    def start(self) -> None:
        """Start, and let the first look at the store happen."""
        self.scheduler.startService()
        self.clock.advance(0)

    def kinds(self, entry: Entry) -> list[str]:
        """What happened to ``entry``, in order."""
        return [event.kind.value for event in self.events if event.entry_id == entry.id]


class SchedulerTests(SchedulerCase):
    """Due entries are attempted fairly, recorded first, and never lost."""

    def test_fresh_entry_goes_straight_out(self) -> None:
        """What was just accepted is attempted without a timer."""
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.assertEqual(self.kinds(entry), ["delivered"])

    def test_entries_of_a_message_go_together(self) -> None:
        """Recipients of one message at one destination share an attempt; others do not."""
        self.start()
        self.message(1, ["a@one.test", "b@two.test", "c@one.test"])
        attempted = sorted(
            sorted(str(entry.recipient) for entry in job.entries) for job in self.transport.jobs
        )
        self.assertEqual(attempted, [["a@one.test", "c@one.test"], ["b@two.test"]])

    def test_deferral_is_repeated_when_due(self) -> None:
        """A deferred entry is attempted again after the first wait, and not before."""
        self.transport.outcome = lambda entry: LATER
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.clock.advance(440)
        self.assertEqual(len(self.transport.jobs), 1)
        self.transport.outcome = lambda entry: OK
        self.clock.advance(40)
        self.assertEqual(self.kinds(entry), ["delayed", "delivered"])

    def test_attempt_is_recorded_before_it_is_made(self) -> None:
        """A process that dies within an attempt does not repeat it before its time."""
        self.transport.park = True
        self.start()
        self.message(1, ["a@one.test"])
        self.open()  # the first process is dead: its attempt never ends
        self.start()
        self.clock.advance(400)
        self.assertEqual(len(self.transport.jobs), 1)
        self.clock.advance(100)
        self.assertEqual(len(self.transport.jobs), 2)
        [again] = self.transport.jobs[1].entries
        self.assertEqual(again.attempts, 1)

    def test_attempt_that_breaks_off(self) -> None:
        """What raises anything unexpected keeps no claim: the entry is tried again soon."""
        broken: Deferred[Sequence[bool]] = fail(ZeroDivisionError())
        patched = self.patch(self.store, "begin_attempts", lambda begun: broken)
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        patched.restore()
        self.clock.advance(BROKEN_OFF_RETRY - 1)
        self.assertEqual((self.kinds(entry), self.scheduler.in_memory), ([], 0))
        self.clock.advance(1.1)
        self.assertEqual(self.kinds(entry), ["delivered"])

    def test_stop_after_an_attempt_broke_off(self) -> None:
        """The claims are given back by a stop, too."""
        broken: Deferred[Sequence[bool]] = fail(ZeroDivisionError())
        self.patch(self.store, "begin_attempts", lambda begun: broken)
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.flushLoggedErrors(ZeroDivisionError)
        self.successResultOf(self.scheduler.stopService())
        [again] = self.successResultOf(self.store.claim_due(self.now(), 10, [], 10))
        self.assertEqual(again.id, entry.id)

    def test_claimed_and_not_to_be_routed(self) -> None:
        """An entry that cannot be routed keeps none of those from memory that came after it."""
        [bad] = self.message(1, ["a@bad.test"])
        [good] = self.message(1, ["a@one.test"])

        def destination_of(entry: Entry) -> Destination:
            if entry.id == bad.id:
                raise ZeroDivisionError
            return Destination("mx:one.test", None)

        self.patch(self.scheduler, "destination_of", destination_of)
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.kinds(bad), self.kinds(good)), ([], ["delivered"]))

    def test_one_message_behind_many_of_another_account(self) -> None:
        """Behind 3,000 entries of one account, another's leaves within the next 50 attempts."""
        self.transport.park = True
        self.start()
        for _ in range(30):
            self.message(1, [f"u{i}@one.test" for i in range(100)])
        self.settings = evolve(self.settings, entries_per_attempt=1)
        self.scheduler.reconfigure(self.settings)
        [mine] = self.message(2, ["me@one.test"])
        before = len(self.transport.jobs)
        for _ in range(50):
            self.transport.finish_one()
        attempted = [e.id for job in self.transport.jobs[before:] for e in job.entries]
        self.assertIn(mine.id, attempted)

    def test_concurrency_per_destination(self) -> None:
        """No more attempts run at once than configured; another destination has its own."""
        self.transport.park = True
        self.start()
        for _ in range(5):
            self.message(1, ["a@one.test"])
        self.message(1, ["a@two.test"])
        running = [job.destination.key for job, _ in self.transport.parked]
        self.assertEqual(sorted(running), ["mx:one.test", "mx:one.test", "mx:two.test"])

    def test_failing_host_is_suspended_and_others_are_not(self) -> None:
        """After three host failures its other entries wait unattempted, with a reason."""
        self.transport.outcome = lambda entry: (
            LATER if entry.recipient.domain == "dead.test" else OK
        )
        self.transport.host_failed = True
        self.start()
        entries = [self.message(1, ["a@dead.test"])[0] for _ in range(10)]
        self.assertEqual(len(self.transport.jobs), 3)
        self.assertEqual(entries[5].next_attempt_at, START + 60)
        self.transport.host_failed = False
        [well] = self.message(1, ["a@well.test"])
        self.assertEqual(self.kinds(well), ["delivered"])
        self.transport.outcome = lambda entry: OK
        self.clock.pump([30.0] * 20)
        self.assertEqual([self.kinds(entry)[-1] for entry in entries], ["delivered"] * 10)

    def test_resumed(self) -> None:
        """A host's failures are forgotten when an operator says so: it is tried at once."""
        self.start()
        self.transport.outcome, self.transport.host_failed = (lambda entry: LATER), True
        for _ in range(3):
            self.message(1, ["u@dead.test"])
        [backlog] = self.scheduler.backlogs()
        self.assertGreater(backlog.suspended_until, self.clock.seconds())
        self.assertEqual(self.scheduler.at_once(backlog), 1)
        self.scheduler.resume("mx:elsewhere.test")
        self.scheduler.resume("mx:dead.test")
        self.assertEqual(self.scheduler.backlogs(), [])
        self.transport.host_failed, before = False, len(self.transport.jobs)
        self.message(1, ["u@dead.test"])
        self.assertEqual(len(self.transport.jobs), before + 1)

    def test_permanent_failure_is_reported_to_the_sender(self) -> None:
        """A refused recipient makes a DSN that is itself delivered."""
        self.transport.outcome = lambda entry: NEVER if entry.recipient.domain == "no.test" else OK
        self.start()
        [entry] = self.message(1, ["a@no.test"])
        self.assertEqual(self.kinds(entry), ["failed"])
        report = self.transport.jobs[-1]
        self.assertEqual(str(report.entries[0].recipient), "sender@client.test")
        self.assertIsNone(report.message.reverse_path)

    def test_report_tells_of_nothing_that_was_not_recorded(self) -> None:
        """A recipient that was canceled during its attempt is not told of with the others."""
        self.transport.park = True
        self.transport.outcome = lambda entry: NEVER if entry.recipient.domain == "no.test" else OK
        self.start()
        kept, canceled = self.message(1, ["a@no.test", "b@no.test"])
        records = DatabaseQueueRecords(
            self.stores.database, lambda: self.stores.node, lambda names: None
        )
        self.successResultOf(records.drop("op", [canceled.id], START, START + 1))
        self.transport.finish_one()
        self.assertEqual((self.kinds(kept), self.kinds(canceled)), (["failed"], []))
        [report] = self.transport.parked
        content = self.successResultOf(self.store.content(report[0].message.id))
        assert content.body is not None
        self.assertIn(b"Final-Recipient: rfc822; a@no.test", content.body)
        self.assertNotIn(b"b@no.test", content.body)

    def test_failing_dsn_makes_no_other(self) -> None:
        """A DSN that cannot be delivered ends there."""
        self.transport.outcome = lambda entry: NEVER
        self.start()
        self.message(1, ["a@no.test"])
        self.clock.advance(1)
        self.assertEqual(len(self.transport.jobs), 2)

    def test_outcome_is_recorded_when_the_store_is_back(self) -> None:
        """A store that fails does not make a delivered message be sent twice."""
        failing = [True, True, True]
        record = self.store.finish_attempts

        def unsteady(*arguments: object) -> Deferred[Sequence[bool]]:
            if failing:
                failing.pop()
                broken: Deferred[Sequence[bool]] = Deferred()
                broken.errback(Failure(StoreUnavailable("full")))
                return broken
            return record(*arguments)  # type: ignore[arg-type]

        self.patch(self.store, "finish_attempts", unsteady)
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.assertEqual(self.kinds(entry), [])
        self.clock.pump([2.0] * 4)
        self.assertEqual((self.kinds(entry), len(self.transport.jobs)), (["delivered"], 1))

    def test_store_that_cannot_record_an_attempt_prevents_it(self) -> None:
        """Nothing is sent that could not be recorded first; it is sent when it can."""
        failing = [True]
        begin = self.store.begin_attempts

        def unsteady(begun: Sequence[Begun]) -> Deferred[Sequence[bool]]:
            if failing:
                failing.pop()
                broken: Deferred[Sequence[bool]] = Deferred()
                broken.errback(Failure(StoreUnavailable("full")))
                return broken
            return begin(begun)

        self.patch(self.store, "begin_attempts", unsteady)
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.assertEqual(len(self.transport.jobs), 0)
        self.clock.advance(2.0)
        self.assertEqual(self.kinds(entry), ["delivered"])

    def test_reclaimed(self) -> None:
        """What waits in memory goes where it is sent now; what is under way is left alone."""
        self.start()
        self.transport.park = True
        entries = [self.message(1, [f"u{i}@peer.test"])[0] for i in range(4)]
        lanes = {entry.id: 1 for entry in entries[2:]}
        records = DatabaseQueueRecords(
            self.stores.database, lambda: self.stores.node, lambda names: None
        )
        self.successResultOf(records.send_by("op", lanes, self.now(), "hub"))
        self.scheduler.reclaim()
        self.assertEqual(self.scheduler.in_memory, 2)
        self.clock.advance(0.1)
        self.assertEqual(self.scheduler.in_memory, 4)
        self.transport.park = False
        while self.transport.parked:
            self.transport.finish_one()
        sent = [(e.id, e.transport) for job in self.transport.jobs for e in job.entries]
        self.assertEqual(
            sorted(sent), [(e.id, None if i < 2 else "hub") for i, e in enumerate(entries)]
        )

    def test_more_than_the_window_holds(self) -> None:
        """Entries that found no room in memory are taken from the store as it drains."""
        self.settings = evolve(
            self.settings, window=20, window_per_lane=10, entries_per_attempt=1, claim_batch=7
        )
        self.scheduler.reconfigure(self.settings)
        self.transport.park = True
        self.start()
        entries = [self.message(n % 3, ["a@one.test"])[0] for n in range(100)]
        self.assertLessEqual(self.scheduler.in_memory, 20)
        while self.transport.parked:
            self.transport.finish_one()
            self.assertLessEqual(self.scheduler.in_memory, 20)
        self.assertEqual({kind for e in entries for kind in self.kinds(e)}, {"delivered"})
        self.assertEqual(len(self.transport.jobs), 100)

    def test_stop_waits_and_leaves_nothing_claimed(self) -> None:
        """stopService fires when the attempts have ended; what waited is free for others."""
        self.transport.park = True
        self.start()
        entries = [self.message(1, ["a@one.test"])[0] for _ in range(4)]
        stopped = self.scheduler.stopService()
        self.assertNoResult(stopped)
        self.transport.finish_one()
        self.transport.finish_one()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        free = self.successResultOf(self.store.claim_due(START, 10, []))
        self.assertEqual([e.id for e in free], [e.id for e in entries[2:]])

    def test_clock_set_forward_by_a_year_expires_nothing(self) -> None:
        """A step of the wall clock moves the retry times with it."""
        self.transport.outcome = lambda entry: LATER
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        self.offset = 365 * 86400.0
        self.clock.pump([10.0] * 60)
        self.assertNotIn("failed", self.kinds(entry))
        self.assertLessEqual(len(self.transport.jobs), 3)

    def test_clock_set_forward_after_a_small_step_back(self) -> None:
        """A retry put further ahead than any wait by a slewed clock is not taken for another's."""
        profile = RetryProfile(first_after=200.0, longest_after=200.0)
        self.scheduler.reconfigure(evolve(self.settings, profile=profile))
        self.transport.outcome = lambda entry: LATER
        self.start()
        self.message(1, ["a@one.test"])
        self.offset = -30.0
        self.clock.advance(10.0)
        self.offset += 1000.0
        self.clock.pump([10.0] * 15)
        self.assertEqual(len(self.transport.jobs), 1)
        self.clock.pump([10.0] * 8)
        self.assertEqual(len(self.transport.jobs), 2)

    def test_clock_set_back_stalls_nothing(self) -> None:
        """What was put off without an attempt, behind a host that failed, is not a day late."""
        self.transport.outcome, self.transport.host_failed = (lambda entry: LATER), True
        self.start()
        for _ in range(3):
            self.message(1, ["a@dead.test"])
        [waiting] = self.message(1, ["b@dead.test"])
        self.assertGreater(waiting.next_attempt_at, self.now())
        self.transport.outcome, self.transport.host_failed = (lambda entry: OK), False
        self.offset = -86400.0
        self.clock.pump([10.0] * 12)
        self.assertEqual(self.kinds(waiting), ["delivered"])

    def test_clock_set_back_while_the_store_is_read(self) -> None:
        """A due time that was read by the old clock arms no timer of the new one."""
        profile = RetryProfile(first_after=20.0, longest_after=20.0)
        self.scheduler.reconfigure(evolve(self.settings, profile=profile))
        self.transport.outcome = lambda entry: LATER
        self.start()
        [entry] = self.message(1, ["a@one.test"])
        real, read = self.store.next_due_at, Deferred[None]()
        self.patch(
            self.store,
            "next_due_at",
            lambda: real().addCallback(lambda due: read.addCallback(lambda _: due)),
        )
        self.scheduler.wake()
        self.clock.advance(0)
        self.scheduler._cancel_timer()  # nothing else is to wake it
        self.patch(self.store, "next_due_at", real)
        self.offset = -3600.0
        self.transport.outcome = lambda entry: OK
        self.message(1, ["b@two.test"])  # its attempt notices
        read.callback(None)
        self.clock.pump([5.0] * 6)
        self.assertEqual(self.kinds(entry), ["delayed", "delivered"])

    def test_move_that_a_crash_broke_off(self) -> None:
        """The next life moves what is left before it attempts anything."""
        self.transport.outcome = lambda entry: LATER
        self.start()
        entries = [self.message(1, ["a@one.test"])[0] for _ in range(5)]
        self.patch(clock_steps, "BATCH", 2)
        self.successResultOf(self.store.step_times(86400.0, self.now() + 86400.0))
        self.successResultOf(self.store.move_times(self.now() + 86400.0, 1e5))
        self.offset = 86400.0
        self.open()
        self.transport.outcome = lambda entry: OK
        self.start()
        self.assertEqual(len(self.transport.jobs), 5)
        self.clock.pump([10.0] * 50)
        self.assertEqual([self.kinds(entry) for entry in entries], [["delivered"]] * 5)

    def test_step_is_noticed_while_nothing_happens(self) -> None:
        """An idle server notices a step within seconds: what is asked for later is not moved."""
        self.transport.outcome = lambda entry: LATER
        self.start()
        self.message(1, ["a@one.test"])
        self.offset = 3600.0
        self.clock.advance(5.0)
        due = self.successResultOf(self.store.next_due_at())
        assert due is not None
        self.assertGreater(due, START + 3600.0 + 400.0)

    def test_step_that_cannot_be_recorded_is_not_forgotten(self) -> None:
        """A store that fails while times move goes on with them later, once each."""
        self.transport.outcome = lambda entry: LATER
        self.start()
        self.message(1, ["a@one.test"])
        before = self.successResultOf(self.store.next_due_at())
        moving, answers = self.store.move_times, iter([False, False])

        def unsteady(now: float, longest_wait: float) -> Deferred[bool]:
            if next(answers, True):
                return moving(now, longest_wait)
            return fail(StoreUnavailable("full"))

        self.patch(self.store, "move_times", unsteady)
        self.offset = 3600.0
        self.clock.pump([5.0] * 4)
        due = self.successResultOf(self.store.next_due_at())
        assert before is not None
        self.assertEqual(due, before + 3600.0)

    def test_dead_destinations_are_forgotten(self) -> None:
        """A domain that never answered takes no memory once nothing waits for it."""
        profile = RetryProfile(most_attempts=1)
        self.scheduler.reconfigure(evolve(self.settings, profile=profile))
        self.transport.outcome, self.transport.host_failed = (lambda entry: LATER), True
        self.start()
        for n in range(5):
            self.message(1, [f"a@dead{n}.test"])
        self.assertGreaterEqual(len(self.scheduler.backlogs()), 5)
        self.clock.pump([100.0] * 10)
        self.assertGreaterEqual(len(self.scheduler.backlogs()), 5)
        self.transport.host_failed = False
        self.clock.pump([100.0] * 40)
        self.assertEqual(list(self.scheduler.backlogs()), [])
