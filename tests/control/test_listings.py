"""Lists that are watched for our addresses: what is asked, kept and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.listings import Listing, ListWatch, is_due
from mailrelay.net.resolver import LookupFailed
from mailrelay.queue.store import StoreUnavailable
from mailrelay.service.listings import ListingService
from mailrelay.testing.fakes import FakeResolver

ZONE, ADDRESS, NAME = "list.test", "192.0.2.25", "25.2.0.192.list.test"
TEST_NAME = "2.0.0.127.list.test"
WELL = {TEST_NAME: ["127.0.0.2"]}
LISTED = {**WELL, NAME: ["127.0.0.3"]}


class KeptListings:
    """ListingRecords in memory."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.kept: Sequence[Listing] = []
        self.is_broken = False

    def load(self) -> Deferred[Sequence[Listing]]:
        """See ListingRecords."""
        return fail(StoreUnavailable("gone")) if self.is_broken else succeed(self.kept)

    def put(self, listings: Sequence[Listing], zones: Sequence[str]) -> Deferred[None]:
        """See ListingRecords."""
        self.kept = list(listings)
        return succeed(None)


class Watched(SynchronousTestCase):
    """One list, one address."""

    def setUp(self) -> None:
        """Nothing was asked."""
        self.records = KeptListings()
        self.at = 1000.0
        self.watch = ListWatch(
            self.records, FakeResolver(hosts=WELL), [ZONE], self.addresses, lambda: self.at
        )
        self.lines: list[str] = []
        observer: Any = self.told
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    async def addresses(self) -> Sequence[str]:
        """Ours."""
        return [ADDRESS]

    def told(self, event: Any) -> None:
        """A log line."""
        if event.get("log_namespace") == "mailrelay.control.listings":
            self.lines.append(str(event["log_format"]).format(**event))

    def look(self, resolver: FakeResolver) -> Listing:
        """What is known after asking this list."""
        watch = evolve(self.watch, resolver=resolver)
        self.at += 1
        [found] = self.successResultOf(Deferred.fromCoroutine(watch.look()))
        self.assertEqual(self.records.kept, [found])
        listing: Listing = found
        return listing


class WatchTests(Watched):
    """What is said of it."""

    def test_on_and_off(self) -> None:
        """Told once when it comes on and once when it is off; since when is remembered."""
        self.assertFalse(self.look(FakeResolver(hosts=WELL)).is_listed)
        on = FakeResolver(hosts=LISTED, txt={NAME: [b"ask\nhere"]})
        first = self.look(on)
        self.assertEqual(first, Listing(ZONE, ADDRESS, 1002.0, "127.0.0.3 ask?here", 1002.0))
        self.assertEqual(self.look(on), evolve(first, checked_at=1003.0))
        self.assertIsNone(self.look(FakeResolver(hosts=WELL)).listed_since)
        self.assertEqual(
            self.lines,
            [
                "our address 192.0.2.25 is on the list list.test: 127.0.0.3 ask?here",
                "our address 192.0.2.25 is off the list list.test",
            ],
        )

    def test_list_that_is_not_believed(self) -> None:
        """What it said before holds, whatever it says now; that is told once."""
        self.look(FakeResolver(hosts=LISTED))
        for hosts in ({}, {**LISTED, "1.0.0.127.list.test": ["127.0.0.2"]}):
            for _ in range(2):
                found = self.look(FakeResolver(hosts=hosts))
                self.assertEqual((found.listed_since, bool(found.error)), (1001.0, True))
        gone = FakeResolver(hosts=WELL, failing=frozenset({NAME}))
        self.assertIn("Timeout", self.look(gone).error)
        self.assertEqual(len([line for line in self.lines if "not believed" in line]), 3)
        self.assertEqual(self.look(FakeResolver(hosts=LISTED)).error, "")

    def test_when(self) -> None:
        """After 100 messages or three hours, never within five minutes."""
        for since, messages, due in (
            (299.9, 10_000, False),
            (300.0, 99, False),
            (300.0, 100, True),
            (3 * 3600.0 - 1, 0, False),
            (3 * 3600.0, 0, True),
        ):
            self.assertEqual(is_due(since, messages), due, (since, messages))


class ServiceTests(Watched):
    """When it asks."""

    def setUp(self) -> None:
        """A server that has just started."""
        super().setUp()
        self.seconds, self.sent, self.asked = 50_000.0, 0, 0
        self.watch = evolve(self.watch, addresses=self.counted)
        self.service = self.started()

    def started(self) -> ListingService:
        """The service of a process that starts now."""
        return ListingService(self.watch, lambda: self.seconds, lambda: self.sent)

    async def counted(self) -> Sequence[str]:
        """Ours; asked for at each look."""
        self.asked += 1
        if self.asked == 3:
            raise LookupFailed("not now")
        return [ADDRESS]

    def turn(self, seconds: float, sent: int = 0) -> int:
        """How often it has asked, after so much more."""
        self.seconds += seconds
        self.at += seconds
        self.sent += sent
        self.successResultOf(self.service.turn())
        return self.asked

    def test_turns(self) -> None:
        """At the start, then as often as there is reason to; a failure is tried again soon."""
        self.assertEqual(self.turn(0), 1)
        self.assertEqual(self.turn(299, 500), 1)
        self.assertEqual(self.turn(1), 2)
        self.assertEqual(self.turn(3600, 99), 2)
        self.assertEqual(self.turn(7200), 3)  # which fails
        self.assertEqual(self.turn(299), 3)
        self.assertEqual(self.turn(2), 4)

    def test_start_soon_after_another(self) -> None:
        """What the process before has found counts, until it is three hours old."""
        self.watch = evolve(self.watch, resolver=FakeResolver(hosts=LISTED))
        self.service = self.started()
        self.turn(0)
        self.service = self.started()
        self.assertEqual(self.turn(60), 1)
        self.assertEqual(self.service.listed, 1)
        self.assertEqual(self.turn(3 * 3600 - 60), 2)

    def test_broken_store(self) -> None:
        """It is tried again."""
        self.records.is_broken = True
        self.assertEqual(self.turn(0), 0)
        self.records.is_broken = False
        self.service = self.started()
        self.assertEqual(self.turn(60), 1)
