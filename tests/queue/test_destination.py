"""Backlogs: fair turns between accounts, groups of one message, back-off."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.queue.destination import Backlog, BackOff, Destination
from mailrelay.queue.entry import Entry
from mailrelay.queue.transport import Job
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply
from tests.queue.values import destination, entry, message

RULES = BackOff(failures=3, first_after=60.0, longest_after=300.0)
DOWN = Reply(451, "down")


class FairnessTests(SynchronousTestCase):
    """push and pop_group."""

    def test_one_behind_many(self) -> None:
        """One message behind 1,000 of another account leaves with the next turn but one."""
        backlog: Backlog[Entry] = Backlog(destination())
        for number in range(1000):
            backlog.push(entry(number, message(number, account_id=1)))
        backlog.push(entry(5000, message(5000, account_id=2)))
        popped = [backlog.pop_group(10)[0].id for _ in range(2)]
        self.assertIn(5000, popped)

    def test_groups(self) -> None:
        """Entries of one message leave together, up to the limit, in order."""
        backlog: Backlog[Entry] = Backlog(destination())
        one, two = message(1), message(2)
        for number, of in ((1, one), (2, one), (3, one), (4, two), (5, one)):
            backlog.push(entry(number, of))
        groups = []
        while backlog.size:
            groups.append([e.id for e in backlog.pop_group(2)])
        self.assertEqual(groups, [[1, 2], [3], [4], [5]])

    def test_own_reverse_paths(self) -> None:
        """One transaction has one MAIL FROM: a copy with its own reverse-path goes alone."""
        backlog: Backlog[Entry] = Backlog(destination())
        of = message(1)
        own = Address("s+id", "example.org")
        for number, path in ((1, None), (2, None), (3, own), (4, None)):
            backlog.push(entry(number, of, own_reverse_path=path))
        jobs = [Job(destination(), of, backlog.pop_group(9)) for _ in range(3)]
        expected = [([1, 2], of.reverse_path), ([3], own), ([4], of.reverse_path)]
        self.assertEqual([([e.id for e in j.entries], j.reverse_path) for j in jobs], expected)

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))), st.integers(1, 4))
    def test_nothing_is_lost(self, pushed: list[tuple[int, int]], most: int) -> None:
        """Each entry leaves once; the size is right all along."""
        backlog: Backlog[Entry] = Backlog(destination())
        for number, (account, id_) in enumerate(pushed):
            of = message(account * 10 + id_, account_id=account, is_urgent=id_ == 5)
            backlog.push(entry(number, of))
        self.assertEqual(sum(size for _, _, size in backlog.lanes()), len(pushed))
        seen = []
        while backlog.size:
            group = backlog.pop_group(most)
            self.assertTrue(1 <= len(group) <= most)
            self.assertEqual(len({one.message.id for one in group}), 1)
            seen += [one.id for one in group]
        self.assertEqual(sorted(seen), list(range(len(pushed))))
        self.assertEqual((list(backlog.lanes()), backlog.urgent_size), ([], 0))

    def test_urgent(self) -> None:
        """In its account's turn what is urgent goes first, in order; turns stay as they are."""
        backlog: Backlog[Entry] = Backlog(destination())
        for id_, account, is_urgent in (
            *((1, 1, False), (2, 1, False), (3, 2, False), (4, 2, False)),
            *((5, 1, True), (6, 1, True), (7, 3, True), (8, 1, False), (9, 3, False)),
        ):
            backlog.push(entry(id_, message(id_, account_id=account, is_urgent=is_urgent)))
        self.assertEqual((backlog.lane_size(1), backlog.lane_size(1, urgent=True)), (3, 2))
        self.assertIn((1, True, 2), list(backlog.lanes()))
        popped = []
        while backlog.size:
            popped += [one.id for one in backlog.pop_group(9)]
        self.assertEqual(popped, [5, 3, 7, 6, 4, 9, 1, 2, 8])

    def test_pop_all(self) -> None:
        """Everything leaves, and the backlog can be used again."""
        backlog: Backlog[Entry] = Backlog(destination())
        for number in range(4):
            of = message(number, account_id=number % 2, is_urgent=number == 3)
            backlog.push(entry(number, of))
        self.assertEqual((backlog.lane_size(0), backlog.lane_size(9)), (2, 0))
        self.assertEqual(sorted(e.id for e in backlog.pop_all()), [0, 1, 2, 3])
        self.assertEqual(backlog.size, 0)
        backlog.push(entry(7))
        self.assertEqual([e.id for e in backlog.pop_group(5)], [7])


class ClockStepTests(SynchronousTestCase):
    """move_times."""

    def test_moved(self) -> None:
        """What waits is moved with the wall clock, in its order, and nothing else of it changes."""
        backlog: Backlog[Entry] = Backlog(destination())
        entries = [entry(n, message(n, account_id=n % 2), queued_at=100.0 * n) for n in range(4)]
        for one in entries:
            backlog.push(one)
        backlog.move_times(50.0)
        moved = sorted(backlog.pop_all(), key=lambda one: one.id)
        self.assertEqual(moved, [evolve(one, queued_at=one.queued_at + 50.0) for one in entries])


class BackOffTests(SynchronousTestCase):
    """host_failed and host_answered."""

    def test_doubles(self) -> None:
        """The third failure in a row suspends; each after that for twice as long, to a bound."""
        backlog: Backlog[Entry] = Backlog(destination())
        self.assertFalse(backlog.host_failed(RULES, 0.0, DOWN))
        self.assertFalse(backlog.host_failed(RULES, 0.0, DOWN))
        self.assertEqual(backlog.suspended_until, 0.0)
        now, waits = 0.0, []
        for _ in range(20):
            self.assertTrue(backlog.host_failed(RULES, now, DOWN))
            waits.append(backlog.suspended_until - now)
            now = backlog.suspended_until
        self.assertEqual(waits[:4], [60.0, 120.0, 240.0, 300.0])
        self.assertEqual(waits[-1], 300.0)
        self.assertEqual(backlog.last_reply, DOWN)

    def test_attempts_under_way_do_not_prolong(self) -> None:
        """Failures of attempts that were under way do not suspend again."""
        backlog: Backlog[Entry] = Backlog(destination())
        for _ in range(3):
            backlog.host_failed(RULES, 0.0, DOWN)
        self.assertFalse(backlog.host_failed(RULES, 30.0, DOWN))
        self.assertEqual(backlog.suspended_until, 60.0)

    def test_an_answer_heals(self) -> None:
        """After an answer the count begins anew."""
        backlog: Backlog[Entry] = Backlog(destination())
        for _ in range(3):
            backlog.host_failed(RULES, 0.0, DOWN)
        backlog.host_answered()
        self.assertEqual((backlog.failures, backlog.suspended_until), (0, 0.0))
        self.assertFalse(backlog.host_failed(RULES, 100.0, DOWN))


class LaneTests(SynchronousTestCase):
    """Destination.lane."""

    def test_stable(self) -> None:
        """The number is stored, so it must never change: key and account decide."""
        self.assertEqual(Destination("mx:example.net", object()).lane(None), 4031505100)
        one = destination()
        self.assertEqual(one.lane(7), destination().lane(7))
        self.assertEqual(len({one.lane(None), one.lane(1), destination("x").lane(1)}), 3)
        self.assertTrue(0 <= one.lane(1) < 1 << 32)
        self.assertEqual(one.lane(1, urgent=True), one.lane(1) + (1 << 32))


class EndTests(SynchronousTestCase):
    """When a destination is forgotten."""

    def test_over(self) -> None:
        """At once when its host is well; when it failed, long after, and only when it is idle."""
        rules = BackOff(failures=1, first_after=60.0, longest_after=600.0)
        backlog: Backlog[Entry] = Backlog(destination())
        self.assertTrue(backlog.is_over(rules, 0.0))
        backlog.host_failed(rules, 100.0, DOWN)
        self.assertFalse(backlog.is_over(rules, 100.0 + 60.0 + 600.0))
        self.assertTrue(backlog.is_over(rules, 100.0 + 60.0 + 601.0))
        backlog.push(entry())
        self.assertFalse(backlog.is_over(rules, 1e6))
        backlog.pop_all()
        backlog.active = 1
        self.assertFalse(backlog.is_over(rules, 1e6))

    def test_failures_that_suspend_nothing(self) -> None:
        """One failure is remembered as long, though it suspended nothing."""
        rules = BackOff(failures=3, longest_after=600.0)
        backlog: Backlog[Entry] = Backlog(destination())
        backlog.host_failed(rules, 100.0, DOWN)
        self.assertFalse(backlog.is_over(rules, 700.0))
        self.assertTrue(backlog.is_over(rules, 701.0))
