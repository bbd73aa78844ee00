"""Works go on piece by piece, beside everything else, and in a later life."""

from __future__ import annotations

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailrelay.control.errors import Refusal
from mailrelay.control.works import Piece, Work, WorkResult, WorkState
from mailrelay.queue.store import StoreUnavailable
from mailrelay.service.works import AGAIN_AFTER, Works
from mailrelay.storage.works import DatabaseWorks
from tests.storage.databases import OnSQLite, database_on

LAST = 5


@define
class Counting:
    """A Doer that has LAST pieces of one thing each; each waits for the test."""

    waiting: list[tuple[Work, Deferred[Piece]]] = field(factory=list)

    async def count(self, work: Work) -> int:
        """See Doer."""
        return LAST

    async def do(self, work: Work) -> Piece:
        """See Doer."""
        doing: Deferred[Piece] = Deferred()
        self.waiting.append((work, doing))
        return await doing

    def step(self) -> None:
        """Do a piece."""
        work, doing = self.waiting.pop(0)
        id_ = work.after_id + 1
        doing.callback(Piece([WorkResult(id_, "changed")], id_, is_end=id_ == LAST))


class WorksTests(OnSQLite, TestCase):
    """Works of one node."""

    def setUp(self) -> None:
        """A store, and who does its works."""
        self.clock, self.doer = Clock(), Counting()
        self.records = DatabaseWorks(database_on(self, self.make_engine()), 1)
        self.service = self.make()

    def make(self) -> Works:
        """A life of the server."""
        return Works(self.records, {"count": self.doer}, self.clock, lambda: 50.0)

    def start(self, kind: str = "count") -> int:
        """Begin a work; its id."""
        return self.successResultOf(self.records.start(kind, "{}", "op", 10.0)).id

    def work(self, id_: int) -> Work:
        """As the store has it."""
        found = self.successResultOf(self.records.get(id_))
        assert found is not None
        return found

    def test_to_its_end(self) -> None:
        """Piece by piece; waking it up does nothing twice."""
        self.service.startService()
        id_ = self.start()
        self.service.wake()
        self.service.wake()
        for done in range(1, LAST + 1):
            self.assertEqual(len(self.doer.waiting), 1)
            self.service.wake()
            self.doer.step()
            self.assertEqual(self.work(id_).done, done)
        found = self.work(id_)
        self.assertEqual((found.state, found.total), (WorkState.DONE, LAST))
        self.service.wake()
        self.assertEqual(self.doer.waiting, [])
        self.successResultOf(self.service.stopService())

    def test_after_a_stop(self) -> None:
        """A stop waits for the piece under way; the next life goes on behind it."""
        id_ = self.start()
        self.service.startService()
        self.doer.step()
        stopping = self.service.stopService()
        self.assertNoResult(stopping)
        self.doer.step()
        self.successResultOf(stopping)
        self.assertEqual((self.work(id_).done, self.doer.waiting), (2, []))
        later = self.make()
        later.startService()
        while self.doer.waiting:
            self.doer.step()
        found = self.work(id_)
        self.assertEqual((found.state, found.done), (WorkState.DONE, LAST))
        self.successResultOf(later.stopService())

    def test_stopped_by_its_operator(self) -> None:
        """It does no more."""
        id_ = self.start()
        self.service.startService()
        self.successResultOf(self.records.stop(id_, "op", 20.0))
        self.doer.step()
        self.assertEqual((self.work(id_).done, self.doer.waiting), (1, []))
        self.successResultOf(self.service.stopService())

    def test_trouble(self) -> None:
        """What cannot be done is said; an error is in the log."""
        self.service.startService()
        for error, said in (
            (Refusal("no transport hub"), "no transport hub"),
            (ZeroDivisionError(), "an error of the server, which its log tells of"),
        ):
            id_ = self.start()
            self.service.wake()
            self.doer.waiting.pop()[1].errback(error)
            found = self.work(id_)
            self.assertEqual((found.state, found.error), (WorkState.FAILED, said))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        id_ = self.start("unheard of")
        self.service.wake()
        self.assertIn("unheard of", self.work(id_).error)
        self.successResultOf(self.service.stopService())

    def test_store_is_away(self) -> None:
        """It is gone on with when the store is back."""
        id_ = self.start()
        self.service.startService()
        self.doer.waiting.pop()[1].errback(StoreUnavailable("away"))
        self.assertEqual((self.work(id_).state, self.doer.waiting), (WorkState.RUNNING, []))
        self.clock.advance(AGAIN_AFTER)
        while self.doer.waiting:
            self.doer.step()
        self.assertEqual(evolve(self.work(id_), total=0).done, LAST)
        self.successResultOf(self.service.stopService())
