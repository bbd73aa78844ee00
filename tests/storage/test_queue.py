"""What a queue's store must do on every database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import func, select, text
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.queue import EntryFilter
from mailrelay.message.edit import Edit
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.destination import URGENT_LANES
from mailrelay.queue.entry import Begun, Content, Entry, EntryState, NewMessage
from mailrelay.queue.store import ContentGone
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.due import IS_NOT_URGENT, IS_URGENT, due_query
from mailrelay.storage.nodes import register
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.queue_records import BATCH, DatabaseQueueRecords
from mailrelay.storage.spool import RowSpool
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on, ids_of
from tests.storage.values import BODY, PREFIX, delivered, new_message, put_off


class QueueStoreContract(Base):
    """What a QueueStore must do on every database.  Subclasses say only how to make one."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Open two nodes on one database, and the operators' side."""
        self.database: Database = database_on(self, self.make_engine())
        self.removed: list[str] = []
        self.store = self.make_store("first")
        self.other = self.make_store("second")
        with self.database.engine.begin() as connection:
            command = register(connection, "command")
        self.records = DatabaseQueueRecords(self.database, lambda: command, self.removed.extend)

    def make_store(self, name: str) -> DatabaseQueueStore:
        """The store as the node called ``name``."""
        with self.database.engine.begin() as connection:
            node = register(connection, name)
        tokens = (f"{n:032x}" for n in range(1000))
        spool = RowSpool(self.database, lambda: next(tokens))
        return DatabaseQueueStore(self.database, ids_of(self.database), node, spool)

    def retry(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """Have entries attempted now."""
        return self.records.reschedule(actor, ids, now, now)

    async def claimed(self, count: int = 1) -> Sequence[Entry]:
        """``count`` entries, stored and claimed by the first node."""
        await self.store.add(new_message(self.store, count))
        return await self.store.claim_due(100.0, count, [])

    async def kinds(self, message_id: int) -> list[str]:
        """What happened to a message, in order."""
        return [event.kind.value for event in await self.records.events(message_id)]

    async def entry(self, id_: int) -> Entry:
        """An entry as stored, living or retired."""
        found = [
            view.entry
            for retired in (False, True)
            for view in await self.records.find(EntryFilter(ids=[id_], retired=retired), 0.0)
        ]
        return found[0]

    # Adding and claiming

    async def test_entry_comes_back_as_it_was(self) -> None:
        """Everything known of a message and its recipient survives the store."""
        new = new_message(
            self.store,
            message={
                "reverse_path": Address("jürgen", "bücher.example"),
                "message_id": "<1@x>",
                "subject": "grüße",
                "eight_bit": True,
                "smtputf8": True,
                "require_tls": True,
                "is_automatic": True,
                "is_report": True,
                "ret": "HDRS",
                "envid": "abc",
                "extra": {"user": "ü", "a": ""},
                "remote_ip": "2001:db8::1",
            },
            from_id="BJt8g280KHlLHkyxDofFnA",
            own_reverse_path=Address("jürgen+BJt8g280KHlLHkyxDofFnA", "bücher.example"),
            notify=frozenset({Notify.SUCCESS, Notify.DELAY}),
            orcpt="rfc822;x",
            recipient=Address("a b", "example.org"),
            lane=7,
            edit=Edit(b"X: \xff\r\n", ((0, 3, b"y"), (5, 9, b""))),
        )
        await self.store.add(new)
        [entry] = await self.store.claim_due(100.0, 10, [])
        self.assertEqual(entry, evolve(new.entries[0], epoch=self.store.epoch))

    async def test_null_reverse_path_comes_back_null(self) -> None:
        """A bounce's null reverse-path stays null: it must never be answered."""
        await self.store.add(new_message(self.store, message={"reverse_path": None}))
        [entry] = await self.store.claim_due(100.0, 10, [])
        self.assertIsNone(entry.message.reverse_path)

    async def test_earliest_first_and_no_more_than_asked(self) -> None:
        """A claim takes the entries that are due longest, up to its limit, and only due ones."""
        for due in (90.0, 70.0, 101.0, 80.0):
            await self.store.add(new_message(self.store, next_attempt_at=due))
        first = await self.store.claim_due(100.0, 2, [])
        rest = await self.store.claim_due(100.0, 10, [])
        self.assertEqual([e.next_attempt_at for e in first], [70.0, 80.0])
        self.assertEqual([e.next_attempt_at for e in rest], [90.0])

    async def test_full_lanes_are_left(self) -> None:
        """Entries of a lane that has no room stay in the store, and are due as before."""
        await self.store.add(new_message(self.store, lane=1))
        await self.store.add(new_message(self.store, lane=2))
        taken = await self.store.claim_due(100.0, 10, [1])
        self.assertEqual([e.lane for e in taken], [2])
        later = await self.store.claim_due(100.0, 10, [])
        self.assertEqual([e.lane for e in later], [1])

    async def test_urgent_first(self) -> None:
        """What is urgent comes before what is due for longer, beyond the limit, and for itself."""
        urgent: dict[str, Any] = {"lane": URGENT_LANES + 7}
        for due_at in (10.0, 20.0):
            await self.store.add(new_message(self.store, next_attempt_at=due_at))
        for due_at in (30.0, 40.0, 500.0):
            await self.store.add(new_message(self.store, next_attempt_at=due_at, **urgent))
        self.assertEqual(await self.store.next_due_at(urgent=True), 30.0)
        none = await self.store.claim_due(100.0, 0, [URGENT_LANES + 7], 5)
        self.assertEqual(list(none), [])
        due = [
            [entry.next_attempt_at for entry in await self.store.claim_due(100.0, limit, [], most)]
            for limit, most in ((0, 1), (2, 5), (9, 5), (9, 0))
        ]
        self.assertEqual(due, [[30.0], [40.0, 10.0], [20.0], []])
        self.assertEqual(await self.store.next_due_at(urgent=True), 500.0)

    async def test_claimed_once(self) -> None:
        """What one node claimed no node claims again, that node included."""
        await self.claimed()
        self.assertEqual(list(await self.store.claim_due(1e9, 10, [])), [])
        self.assertEqual(list(await self.other.claim_due(1e9, 10, [])), [])

    async def test_admitted_entry_is_claimed(self) -> None:
        """An entry that is stored with an epoch belongs to the node that stored it."""
        new = new_message(self.store, epoch=self.store.epoch)
        await self.store.add(new)
        self.assertEqual(list(await self.other.claim_due(1e9, 10, [])), [])
        [entry] = new.entries
        begun = Begun(entry.id, entry.epoch, 100.0, 500.0)
        self.assertEqual(list(await self.store.begin_attempts([begun])), [True])

    async def test_next_due(self) -> None:
        """The earliest time counts only entries that are ready and nobody's."""
        self.assertIsNone(await self.store.next_due_at())
        await self.store.add(new_message(self.store, next_attempt_at=300.0))
        await self.store.add(new_message(self.store, next_attempt_at=200.0))
        self.assertEqual(await self.store.next_due_at(), 200.0)
        [entry] = await self.store.claim_due(200.0, 10, [])
        self.assertEqual(await self.store.next_due_at(), 300.0)
        await self.store.release_claims([entry.id])
        await self.records.hold("x", [entry.id], 1.0)
        self.assertEqual(await self.store.next_due_at(), 300.0)

    # Attempts

    async def test_begun_attempt_is_counted_before_it_is_made(self) -> None:
        """After a crash right after the record, the entry waits for its retry time."""
        [entry] = await self.claimed()
        begun = Begun(entry.id, entry.epoch, 100.0, 500.0)
        self.assertEqual(list(await self.store.begin_attempts([begun])), [True])
        again = self.make_store("first")  # the same node's next life
        self.assertEqual(list(await again.claim_due(499.0, 10, [])), [])
        [retried] = await again.claim_due(500.0, 10, [])
        self.assertEqual((retried.attempts, retried.last_attempt_at), (1, 100.0))

    async def test_lost_claim_is_not_attempted(self) -> None:
        """A node that lost its claim is told so, each entry by itself, and changes nothing."""
        mine, lost = await self.claimed(2)
        await self.store.release_claims([lost.id])
        [theirs] = await self.other.claim_due(100.0, 10, [])
        begun = [Begun(e.id, e.epoch, 100.0, 500.0) for e in (lost, mine)]
        self.assertEqual(list(await self.store.begin_attempts(begun)), [False, True])
        own = Begun(theirs.id, theirs.epoch, 100.0, 500.0)
        self.assertEqual(list(await self.other.begin_attempts([own])), [True])
        self.assertEqual((await self.entry(lost.id)).attempts, 1)

    async def test_claim_of_an_earlier_life_is_worth_nothing(self) -> None:
        """What a node claimed before it was restarted is neither begun nor finished by it."""
        [entry] = await self.claimed()
        self.make_store("first")
        begun = Begun(entry.id, entry.epoch, 100.0, 500.0)
        self.assertEqual(list(await self.store.begin_attempts([begun])), [False])
        self.assertEqual(list(await self.store.finish_attempts([delivered(entry)], [])), [False])
        self.assertEqual(await self.kinds(entry.message.id), ["accepted"])

    async def test_held_entry_is_not_begun_and_its_claim_is_gone(self) -> None:
        """An entry held while it waited in memory is not attempted, and free when released."""
        [entry] = await self.claimed()
        await self.records.hold("op", [entry.id], 110.0)
        begun = Begun(entry.id, entry.epoch, 120.0, 500.0)
        self.assertEqual(list(await self.store.begin_attempts([begun])), [False])
        await self.records.release("op", [entry.id], 130.0)
        [again] = await self.other.claim_due(130.0, 10, [])
        self.assertEqual((again.id, again.attempts), (entry.id, 0))

    async def test_finish_retires_with_its_event(self) -> None:
        """A delivered entry is retired, with its outcome and its event, and is due no more."""
        [entry] = await self.claimed()
        self.assertEqual(list(await self.store.finish_attempts([delivered(entry)], [])), [True])
        [view] = await self.records.find(EntryFilter(ids=[entry.id], retired=True), 0.0)
        self.assertEqual(view.entry.state, EntryState.RETIRED)
        self.assertEqual(
            (view.outcome, view.keep_until, view.claimed), ("delivered", 1000.0, False)
        )
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "delivered"])
        self.assertEqual(list(await self.store.claim_due(1e9, 10, [])), [])

    async def test_finish_puts_off(self) -> None:
        """A deferral gives the claim up and makes the entry due at its new time."""
        [entry] = await self.claimed()
        await self.store.begin_attempts([Begun(entry.id, entry.epoch, 100.0, 900.0)])
        finished = put_off(entry, 300.0, delay_reported=True)
        self.assertEqual(list(await self.store.finish_attempts([finished], [])), [True])
        self.assertEqual(list(await self.other.claim_due(299.0, 10, [])), [])
        [again] = await self.other.claim_due(300.0, 10, [])
        self.assertEqual((again.attempts, again.delay_reported), (1, True))
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "delayed"])

    async def test_outcome_of_an_attempt_that_was_not_begun(self) -> None:
        """It counts the attempt, and is refused when the entry was held meanwhile."""
        first, second = await self.claimed(2)
        await self.records.hold("op", [second.id], 150.0)
        finished = [put_off(first, 300.0, unbegun=True), delivered(second, unbegun=True)]
        self.assertEqual(list(await self.store.finish_attempts(finished, [])), [True, False])
        entry = await self.entry(first.id)
        self.assertEqual((entry.attempts, entry.last_attempt_at), (1, 200.0))
        self.assertEqual((await self.entry(second.id)).state, EntryState.HELD)

    async def test_lost_outcome_leaves_no_event(self) -> None:
        """An outcome whose claim was lost changes nothing and records no event."""
        mine, lost = await self.claimed(2)
        await self.store.release_claims([lost.id])
        told = await self.store.finish_attempts([delivered(lost), delivered(mine)], [])
        self.assertEqual(list(told), [False, True])
        self.assertEqual((await self.entry(lost.id)).state, EntryState.READY)
        self.assertEqual(await self.kinds(mine.message.id), ["accepted", "delivered"])

    async def test_finished_twice_is_recorded_once(self) -> None:
        """An outcome that is recorded again is refused: no second event, no second DSN."""
        [entry] = await self.claimed()
        await self.store.finish_attempts([delivered(entry)], [])
        report = new_message(self.store)
        told = await self.store.finish_attempts([delivered(entry)], [report])
        self.assertEqual(list(told), [False])
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "delivered"])
        self.assertEqual(list(await self.store.claim_due(1e9, 10, [])), [])

    async def test_report_is_stored_with_the_outcome(self) -> None:
        """A DSN is stored in the transaction of the failure that it tells of."""
        [entry] = await self.claimed()
        report = new_message(self.store, message={"reverse_path": None, "door": "dsn"})
        await self.store.finish_attempts([delivered(entry)], [report])
        [found] = await self.store.claim_due(100.0, 10, [])
        self.assertEqual(found.message.door, "dsn")
        self.assertEqual((await self.store.content(found.message.id)).body, BODY)
        self.assertEqual(await self.kinds(found.message.id), ["accepted"])

    async def test_report_of_a_lost_outcome_is_not_stored(self) -> None:
        """Nobody is told of a failure that another node has taken out of our hands."""
        [entry] = await self.claimed()
        await self.store.release_claims([entry.id])
        report = new_message(self.store)
        await self.store.finish_attempts([delivered(entry)], [report])
        entries = await self.store.claim_due(100.0, 10, [])
        self.assertEqual([e.id for e in entries], [entry.id])

    async def test_report_of_two_of_which_one_is_lost(self) -> None:
        """No DSN tells of an outcome that was not recorded; what is still ours is settled again."""
        heard: list[NewEvent] = []
        self.store.committed = heard.extend
        for unbegun in (True, False):
            mine, held = await self.claimed(2)
            if unbegun:
                await self.records.hold("op", [held.id], 150.0)
            else:
                await self.store.release_claims([held.id])
            finished = [delivered(one, unbegun=unbegun) for one in (held, mine)]
            report = new_message(self.store)
            told = await self.store.finish_attempts(finished, [report])
            self.assertEqual(list(told), [False, True])
            self.assertEqual(await self.kinds(report.message.id), [])
            self.assertNotIn("delivered", await self.kinds(mine.message.id))
            told = await self.store.finish_attempts(finished[1:], [report])
            self.assertEqual(list(told), [True])
            self.assertEqual(await self.kinds(report.message.id), ["accepted"])
            self.assertEqual([e.kind for e in heard].count(EventKind.DELIVERED), 1)
            heard.clear()

    async def test_events_are_announced_after_the_commit_only(self) -> None:
        """Log and metrics hear of what is stored: added, recorded, reported; not of what failed."""
        heard: list[NewEvent] = []
        self.store.committed = heard.extend
        entry, lost = await self.claimed(2)
        await self.store.release_claims([lost.id])
        await self.store.finish_attempts([delivered(lost)], [new_message(self.store)])
        self.assertEqual([e.kind for e in heard], [EventKind.ACCEPTED])
        await self.store.finish_attempts([delivered(entry)], [new_message(self.store)])
        kinds = [e.kind.value for e in heard]
        self.assertEqual(kinds, ["accepted", "delivered", "accepted"])

    async def test_failed_add_leaves_no_part(self) -> None:
        """A message that cannot be stored whole leaves neither content, entry nor event."""
        good = new_message(self.store)
        clash = new_message(self.store)
        broken = evolve(clash, entries=[*clash.entries, evolve(good.entries[0])])
        await self.store.add(good)
        with self.assertRaises(Exception):  # noqa: B017 - which one is the database's
            await self.store.add(broken)
        self.assertEqual(len(await self.store.claim_due(1e9, 10, [])), 1)
        self.assertEqual(await self.kinds(clash.message.id), [])
        with self.assertRaises(ContentGone):
            await self.store.content(clash.message.id)

    async def test_a_time_that_was_asked_for(self) -> None:
        """It outlives holding; another one is where the entry's life begins, if it has not."""
        for attempts in (0, 1):
            new = new_message(
                self.store, attempts=attempts, queued_at=9000.0, next_attempt_at=9000.0
            )
            await self.store.add(new)
            ids = [new.entries[0].id]
            await self.records.hold("op", ids, 100.0)
            await self.records.release("op", ids, 110.0)
            seen = [await self.times(ids[0])]
            for at in (7000.0, 50.0):
                await self.records.reschedule("op", ids, 120.0, at)
                seen.append(await self.times(ids[0]))
            expected = (
                [(9000.0, 9000.0), (7000.0, 7000.0), (120.0, 50.0)]
                if attempts == 0
                else [(9000.0, 110.0), (9000.0, 7000.0), (9000.0, 50.0)]
            )
            self.assertEqual(seen, expected)

    async def times(self, entry_id: int) -> tuple[float, float]:
        """When an entry's life begins, and its next attempt is made."""
        [view] = await self.records.find(EntryFilter(ids=[entry_id]), 0.0)
        return view.entry.queued_at, view.entry.next_attempt_at

    async def test_released_claims_are_due_as_before(self) -> None:
        """A claim given up without an attempt costs the entry nothing."""
        [entry] = await self.claimed()
        await self.store.release_claims([entry.id])
        [again] = await self.other.claim_due(100.0, 10, [])
        self.assertEqual((again.next_attempt_at, again.attempts), (100.0, 0))

    async def test_release_does_not_touch_others_claims(self) -> None:
        """Only the holder can give a claim up."""
        [entry] = await self.claimed()
        await self.other.release_claims([entry.id])
        self.assertEqual(list(await self.other.claim_due(1e9, 10, [])), [])

    async def test_more_than_fit_one_statement(self) -> None:
        """Long lists are stored, begun and finished like short ones, each entry by itself."""
        entries = await self.claimed(150)
        await self.store.release_claims([entries[70].id])
        begun = [Begun(e.id, e.epoch, 100.0, 500.0 + i) for i, e in enumerate(entries)]
        allowed = await self.store.begin_attempts(begun)
        self.assertEqual([i for i, may in enumerate(allowed) if not may], [70])
        finished = [put_off(e, 1000.0 + i) for i, e in enumerate(entries)]
        recorded = await self.store.finish_attempts(finished, [])
        self.assertEqual([i for i, was in enumerate(recorded) if not was], [70])
        due = {e.id: e.next_attempt_at for e in await self.store.claim_due(1e9, 200, [])}
        expected = {e.id: 100.0 if i == 70 else 1000.0 + i for i, e in enumerate(entries)}
        self.assertEqual(due, expected)

    # What operators do, against a running claim

    async def test_hold_under_attempt_then_deferral(self) -> None:
        """An entry held during its attempt is still held when the attempt was put off."""
        [entry] = await self.claimed()
        await self.store.begin_attempts([Begun(entry.id, entry.epoch, 100.0, 500.0)])
        self.assertEqual(list(await self.records.hold("op", [entry.id], 150.0)), [entry.id])
        self.assertEqual(
            list(await self.store.finish_attempts([put_off(entry, 300.0)], [])), [True]
        )
        self.assertEqual((await self.entry(entry.id)).state, EntryState.HELD)
        self.assertEqual(list(await self.store.claim_due(1e9, 10, [])), [])
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "held", "delayed"])

    async def test_hold_under_attempt_then_delivered(self) -> None:
        """What was delivered is delivered: releasing it must not send it again."""
        [entry] = await self.claimed()
        await self.store.begin_attempts([Begun(entry.id, entry.epoch, 100.0, 500.0)])
        await self.records.hold("op", [entry.id], 150.0)
        await self.store.finish_attempts([delivered(entry)], [])
        self.assertEqual(list(await self.records.release("op", [entry.id], 160.0)), [])
        self.assertEqual(list(await self.store.claim_due(1e9, 10, [])), [])

    async def test_held_entry_stays_held(self) -> None:
        """A held entry never comes back retired: the claim it once had cannot finish it."""
        [entry] = await self.claimed()
        await self.store.release_claims([entry.id])
        await self.records.hold("op", [entry.id], 150.0)
        self.assertEqual(list(await self.store.finish_attempts([delivered(entry)], [])), [False])
        self.assertEqual((await self.entry(entry.id)).state, EntryState.HELD)
        self.assertEqual((await self.store.content(entry.message.id)).body, BODY)

    async def test_retired_entry_is_neither_held_nor_retried(self) -> None:
        """Holding, releasing, retrying and dropping change nothing of what is over."""
        [entry] = await self.claimed()
        await self.store.finish_attempts([delivered(entry)], [])
        ids = [entry.id]
        for change in (self.records.hold, self.records.release, self.retry):
            self.assertEqual(list(await change("op", ids, 300.0)), [])
        self.assertEqual(list(await self.records.drop("op", ids, 300.0, 400.0)), [])
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "delivered"])

    async def test_drop_under_attempt(self) -> None:
        """A dropped entry stays dropped, whatever its attempt comes back with."""
        [entry] = await self.claimed()
        await self.store.begin_attempts([Begun(entry.id, entry.epoch, 100.0, 500.0)])
        self.assertEqual(list(await self.records.drop("op", [entry.id], 150.0, 900.0)), [entry.id])
        told = await self.store.finish_attempts([put_off(entry, 300.0)], [])
        self.assertEqual(list(told), [False])
        [view] = await self.records.find(EntryFilter(ids=[entry.id], retired=True), 0.0)
        self.assertEqual((view.outcome, view.keep_until), ("canceled", 900.0))
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "canceled"])

    async def test_retry_makes_due_now(self) -> None:
        """An entry that waits is due at once when an operator asks for it."""
        await self.store.add(new_message(self.store, next_attempt_at=9000.0))
        [view] = await self.records.find(EntryFilter(), 0.0)
        await self.retry("op", [view.entry.id], 150.0)
        [entry] = await self.store.claim_due(150.0, 10, [])
        self.assertEqual(await self.kinds(entry.message.id), ["accepted", "rescheduled"])

    async def test_chosen_transport(self) -> None:
        """It is with the entry from its next claim on, in its new lane, until it is taken back."""
        await self.store.add(new_message(self.store, next_attempt_at=90.0))
        [view] = await self.records.find(EntryFilter(), 0.0)
        id_ = view.entry.id
        for chosen, lane in (("hub", 77), (None, 5)):
            self.assertEqual(
                list(await self.records.send_by("op", {id_: lane, 10**9: 1}, 95.0, chosen)), [id_]
            )
            self.assertEqual(await self.store.claim_due(100.0, 10, [lane]), [])
            [entry] = await self.store.claim_due(100.0, 10, [])
            self.assertEqual((entry.transport, entry.lane), (chosen, lane))
            await self.store.release_claims([id_])
        events = await self.records.events(view.entry.message.id)
        told = [event.data["transport"] for event in events if "transport" in event.data]
        self.assertEqual(told, ["hub", "default"])

    async def test_take_wins_over_a_running_attempt(self) -> None:
        """An operator who takes an entry has it: the attempt under way can record nothing."""
        [entry] = await self.claimed()
        await self.store.begin_attempts([Begun(entry.id, entry.epoch, 100.0, 500.0)])
        [taken] = await self.records.take([entry.id])
        self.assertEqual(taken.id, entry.id)
        self.assertEqual(list(await self.store.finish_attempts([delivered(entry)], [])), [False])

    async def test_many_are_changed_in_bounded_transactions(self) -> None:
        """A change of more entries than a batch holds changes them all, with an event each."""
        await self.store.add(new_message(self.store, BATCH + 5))
        views = await self.records.find(EntryFilter(limit=1000), 0.0)
        ids = [view.entry.id for view in views]
        held = await self.records.hold("op", [*ids, 10**9], 150.0)
        self.assertEqual(sorted(held), sorted(ids))
        kinds = await self.kinds(views[0].entry.message.id)
        self.assertEqual(kinds, ["accepted"] + ["held"] * len(ids))

    # Content

    async def test_content_comes_back(self) -> None:
        """Prefix and body are what they were, whatever the bytes."""
        body = bytes(range(256)) * 4
        content = Content(PREFIX, body, None, len(body))
        new = new_message(self.store, content=content)
        await self.store.add(new)
        self.assertEqual(await self.store.content(new.message.id), content)

    async def test_content_goes_with_the_last_living_entry(self) -> None:
        """The bytes stay while one recipient is not done with them, and go then."""
        first, second = await self.claimed(2)
        await self.store.finish_attempts([delivered(first)], [])
        self.assertEqual((await self.store.content(first.message.id)).body, BODY)
        await self.store.finish_attempts([delivered(second)], [])
        with self.assertRaises(ContentGone):
            await self.store.content(first.message.id)

    async def test_spooled_content_goes_too(self) -> None:
        """A large body's spool name is freed with its last entry, and can be read until then."""
        spool = RowSpool(self.database, lambda: "ab" * 16)
        writer = spool.open()
        await writer.append(b"x" * 1000)
        await writer.finish()
        content = Content(PREFIX, None, writer.name, 1000)
        await self.store.add(new_message(self.store, content=content))
        [entry] = await self.store.claim_due(100.0, 1, [])
        self.assertEqual(await self.store.read_spool(writer.name, 0, 9999), b"x" * 1000)
        await self.store.finish_attempts([delivered(entry, content_is_large=True)], [])
        self.assertEqual(await self.store.read_spool(writer.name, 0, 9999), b"")

    async def test_dropped_content_is_freed(self) -> None:
        """Dropping the last entry frees its spooled body."""
        content = Content(PREFIX, None, "cd" * 16, 1000)
        new = new_message(self.store, content=content)
        await self.store.add(new)
        await self.records.drop("op", [new.entries[0].id], 150.0, 900.0)
        self.assertEqual(self.removed, ["cd" * 16])

    # Ids and events

    async def test_ids_are_never_given_twice(self) -> None:
        """Two nodes draw from one database and never meet."""
        drawn = [store.new_id() for _ in range(1500) for store in (self.store, self.other)]
        self.assertEqual(len(set(drawn)), len(drawn))
        self.assertTrue(all(0 < id_ < 2**53 for id_ in drawn))

    async def test_positions_rise(self) -> None:
        """Events have positions in the order of their commits, across messages."""
        first, second = new_message(self.store), new_message(self.store)
        await self.store.add(second)
        await self.store.add(first)
        with self.database.engine.connect() as connection:
            ordered = connection.execute(
                select(tables.event.c.message_id).order_by(tables.event.c.position)
            ).scalars()
            self.assertEqual(list(ordered), [second.message.id, first.message.id])

    async def test_every_change_has_one_event(self) -> None:
        """Adding, finishing and what operators do leave exactly an event each."""
        new: NewMessage = new_message(self.store, 3)
        await self.store.add(new)
        entries = await self.store.claim_due(100.0, 3, [])
        await self.store.finish_attempts([delivered(entries[0]), put_off(entries[1], 300.0)], [])
        await self.records.hold("op", [e.id for e in entries], 150.0)
        await self.records.drop("op", [entries[2].id], 160.0, 900.0)
        with self.database.engine.connect() as connection:
            counted = connection.execute(
                select(tables.event.c.kind, func.count())
                .group_by(tables.event.c.kind)
                .order_by(text("1"))
            ).all()
        expected = [("accepted", 1), ("canceled", 1), ("delayed", 1), ("delivered", 1), ("held", 2)]
        self.assertEqual([tuple(row) for row in counted], expected)


class SQLiteTests(QueueStoreContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine

    async def test_the_urgent_have_an_index(self) -> None:
        """However much is due, what is urgent is found without a look at it."""
        for which, index in ((IS_URGENT, "entry_urgent"), (IS_NOT_URGENT, "entry_due")):
            query = due_query(100.0, 5, [1, 2], which)
            with self.database.engine.connect() as connection:
                text = query.compile(connection, compile_kwargs={"literal_binds": True})
                plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
            self.assertIn(f"SEARCH entry USING INDEX {index} (next_attempt_at<?)", plan)
            self.assertNotIn("TEMP B-TREE", plan)


class PostgresTests(QueueStoreContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
