"""A list that is taken in: some lines at a time, all counted, not all told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control import suppression_import
from mailrelay.control.suppression import NewSuppression, SuppressionControl
from mailrelay.control.suppression_import import Imported, Line, ListImport
from mailrelay.control.suppression_lists import Read
from mailrelay.net.threads import AtOnce
from mailrelay.smtp.address import Address

NOW = 1000.0


class Records:
    """Keeps what is added; what was there is not added again."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.batches: list[int] = []

    def add(
        self, actor: str, account: str, new: Sequence[NewSuppression], *, replacing: bool = False
    ) -> Deferred[Sequence[bool]]:
        """See SuppressionRecords."""
        self.batches.append(len(new))
        results = []
        for one in new:
            results.append(one.base_address not in self.there)
            self.there.append(one.base_address)
        return succeed(results)


def read(number: int, address: str, expires_at: float | None = None) -> Read:
    """A line with an address."""
    new = NewSuppression(Address.parse(address), NOW, expires_at=expires_at)
    return Read(number, new)


class ImportTests(SynchronousTestCase):
    """ListImport."""

    def take(self, lines: Iterator[Read]) -> tuple[Imported, Records, list[str]]:
        """What became of them, what is kept, and what was told as added."""
        records: Any = Records()
        added: list[str] = []
        control = SuppressionControl(records, lambda: NOW, "op")
        taking = ListImport(control, AtOnce(), lambda new: added.append(new.base_address))
        done = self.successResultOf(Deferred.fromCoroutine(taking.take("a", lines)))
        return done, records, added

    def test_results(self) -> None:
        """Of each line it is told what became of it, in their order."""
        lines = [
            read(1, "a@x.test"),
            Read(2, None, "it is wrong"),
            read(4, "A@x.test"),
            read(5, "b@x.test", NOW - 1),
            read(6, "c@x.test", NOW + 1),
        ]
        done, _, added = self.take(iter(lines))
        self.assertEqual(done.counts, {"added": 2, "present": 1, "wrong": 2})
        self.assertEqual(added, ["a@x.test", "c@x.test"])
        end = "the end must lie ahead, by a hundred years at the most"
        self.assertEqual(
            done.lines,
            [
                Line(1, "added", "a@x.test"),
                Line(2, "wrong", "it is wrong"),
                Line(4, "present", "a@x.test"),
                Line(5, "wrong", end),
                Line(6, "added", "c@x.test"),
            ],
        )
        self.assertEqual((done.is_all_told, done.is_cut), (True, False))

    def test_nothing(self) -> None:
        """An empty list."""
        done, records, _ = self.take(iter([]))
        self.assertEqual((done.lines, records.batches), ([], []))

    def test_bounds(self) -> None:
        """So many lines are taken, so many at a time, and so many told; the rest is not read."""
        self.patch(suppression_import, "MOST_LINES", 25)
        self.patch(suppression_import, "READ_AT_ONCE", 10)
        self.patch(suppression_import, "MOST_TOLD", 7)
        numbers = itertools.count(1)
        endless = (read(number, f"a{number}@x.test") for number in numbers)
        done, records, _ = self.take(endless)
        self.assertEqual(records.batches, [10, 10, 5])
        self.assertEqual(done.counts["added"], 25)
        self.assertEqual([line.number for line in done.lines], list(range(1, 8)))
        self.assertEqual((done.is_all_told, done.is_cut), (False, True))
        self.assertEqual(next(numbers), 27)  # one was read to see whether there are more

    def test_just_so_many(self) -> None:
        """What is as long as may be is not cut."""
        self.patch(suppression_import, "MOST_LINES", 3)
        done, _, _ = self.take(iter([read(n, f"a{n}@x.test") for n in (1, 2, 3)]))
        self.assertFalse(done.is_cut)
