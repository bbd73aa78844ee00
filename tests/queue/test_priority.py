"""Urgent entries on a Clock, over a real store: they wait for none of their account's others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import text

from mailrelay.queue.entry import Entry
from tests.queue.test_scheduler import SchedulerCase


class PriorityTests(SchedulerCase):
    """One attempt at a time, which the test ends."""

    def setUp(self) -> None:
        """A scheduler that is busy with one entry."""
        super().setUp()
        self.configure(concurrency=1, entries_per_attempt=1)
        self.transport.park = True

    def configure(self, **changes: Any) -> None:
        """Go on with other sizes."""
        self.settings = evolve(self.settings, **changes)
        self.scheduler.reconfigure(self.settings)

    def stored(self, count: int, accounts: int = 1) -> None:
        """Put so many due entries of each account in the store, behind the scheduler's back."""
        names = ", ".join(ENTRY)
        counted = f"n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n LIMIT {count - 1})"
        for account in range(1, accounts + 1):
            [entry] = self.message(account, ["first@one.test"])
            statement = (
                f"WITH RECURSIVE {counted} INSERT INTO entry (id, {names})"
                f" SELECT {account * 10_000_000} + i, {names}"
                f" FROM n JOIN entry ON entry.id = {entry.id}"
            )
            with self.stores.database.engine.begin() as connection:
                connection.execute(text(statement))

    def next_attempts(self, count: int) -> Sequence[int]:
        """The entries of the attempts that are made when so many have ended."""
        before = len(self.transport.jobs)
        for _ in range(count):
            self.transport.finish_one()
        return [entry.id for job in self.transport.jobs[before:] for entry in job.entries]

    def urgent(self, account: int = 1, delay: float = 0.0) -> Entry:
        """Accept an urgent message."""
        [entry] = self.message(account, ["urgent@one.test"], urgent=True, delay=delay)
        return entry

    def test_behind_thousands_of_its_account(self) -> None:
        """Behind 5,000 of its account, of which 1,000 are in memory, it is the next attempt."""
        self.stored(5000)
        self.start()
        urgent = self.urgent()
        self.assertIn(urgent.id, self.next_attempts(2))

    def test_behind_many_in_the_store(self) -> None:
        """Behind 100,000 in the store: one that comes in, and one that comes due."""
        self.stored(100_000)
        later = self.urgent(delay=60.0)
        self.start()
        self.assertIn(self.urgent().id, self.next_attempts(2))
        self.clock.advance(60.0)
        self.assertIn(later.id, self.next_attempts(2))

    def test_when_the_window_is_full(self) -> None:
        """There is room for it when there is for nobody else, and the bound is kept."""
        self.configure(window=20, window_per_lane=10, claim_batch=7)
        self.stored(50, accounts=4)
        self.start()
        self.assertEqual(self.scheduler.in_memory, 20)
        later = self.urgent(1, delay=60.0)
        fresh = self.urgent(2)
        self.clock.advance(60.0)
        self.assertEqual(self.scheduler.in_memory, 22)
        self.assertLessEqual({fresh.id, later.id}, set(self.next_attempts(8)))
        for _ in range(50):
            self.urgent(3)
        self.assertLessEqual(self.scheduler.in_memory, 30)
        while self.transport.parked:
            self.transport.finish_one()
            self.assertLessEqual(self.scheduler.in_memory, 30)
        self.assertEqual(len(self.transport.jobs), 4 * 50 + 52)

    def test_many_urgent_ones_of_an_account(self) -> None:
        """More urgent ones than a lane has room for are all taken before the others."""
        self.configure(window=100, window_per_lane=10, claim_batch=7)
        self.stored(30)
        self.start()
        urgent = {self.urgent().id for _ in range(40)}
        self.assertEqual(set(self.next_attempts(40)), urgent)

    def test_after_a_restart(self) -> None:
        """What is urgent stays so."""
        self.stored(50)
        urgent = self.urgent()
        self.open()
        self.configure(concurrency=1, entries_per_attempt=1)
        self.start()
        self.assertEqual(self.transport.jobs[0].entries[0].id, urgent.id)


ENTRY = (
    *("message_id", "account_id", "recipient", "state", "queued_at", "next_attempt_at"),
    *("attempts", "lane", "node_id", "epoch", "notify", "delay_reported"),
)
