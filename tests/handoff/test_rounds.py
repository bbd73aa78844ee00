"""Waiting for a round, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.handed_in import Asked, Note, Standing
from mailrelay.handoff.answers import NO_TIME
from mailrelay.handoff.sync import LOOK_EVERY, SyncRounds
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.reply import Reply

ASKED, NOTE = Asked("key", b""), Note(7, ["a@example.org"])
WAITS, OVER = Standing(waits=True), Standing()


@define
class FakeRounds:
    """A RoundStore that says what it is told; the last for all that follows."""

    standings: list[Standing | Exception]
    asked: list[bool] = field(factory=list)

    def settle(
        self, asked: Asked, round_: int, note: Note, now: float, *, at_once: bool = False
    ) -> Deferred[Standing]:
        """See RoundStore."""
        self.asked.append(at_once)
        said = self.standings.pop(0) if len(self.standings) > 1 else self.standings[0]
        return fail(said) if isinstance(said, Exception) else succeed(said)


class SyncRoundsTests(SynchronousTestCase):
    """SyncRounds."""

    def start(self, *standings: Standing | Exception) -> tuple[SyncRounds, FakeRounds]:
        """One that runs until the test ends."""
        self.clock = Clock()
        store = FakeRounds(list(standings))
        rounds = SyncRounds(store, self.clock, self.clock.seconds)
        rounds.startService()
        self.addCleanup(self.assert_idle, rounds)
        return rounds, store

    def assert_idle(self, rounds: SyncRounds) -> None:
        """After a stop nothing waits and no timer runs."""
        if rounds.running:
            rounds.stopService()
        self.assertEqual((rounds._told, rounds._watched), ({}, set()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def wait(self, rounds: SyncRounds, seconds: float = 30.0) -> Deferred[Reply | None]:
        """Wait for the round."""
        return Deferred.fromCoroutine(rounds(ASKED, 0, NOTE, seconds))

    def tell(self, rounds: SyncRounds, *message_ids: int) -> None:
        """Something was recorded."""
        events: Sequence[NewEvent] = [
            NewEvent(EventKind.DELIVERED, 1.0, id_) for id_ in message_ids
        ]
        rounds.committed(events)

    def test_told(self) -> None:
        """An event of the message is looked at, others are not."""
        rounds, store = self.start(WAITS, OVER)
        waiting = self.wait(rounds)
        self.tell(rounds, 8, 9)
        self.assertNoResult(waiting)
        self.tell(rounds, 7)
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(store.asked, [False, False])

    def test_not_told(self) -> None:
        """What another process did is seen after a while."""
        rounds, _ = self.start(WAITS, Standing(given_back="greylisted"))
        waiting = self.wait(rounds)
        self.clock.advance(LOOK_EVERY)
        said = self.successResultOf(waiting)
        assert said is not None
        self.assertEqual((said.code, said.text), (451, "greylisted"))

    def test_no_time(self) -> None:
        """The attempt goes on, and is settled when it ends though nobody waits."""
        rounds, store = self.start(*[WAITS] * 8, OVER)
        waiting = self.wait(rounds, 2 * LOOK_EVERY)
        self.clock.pump([LOOK_EVERY, LOOK_EVERY])
        self.assertEqual(self.successResultOf(waiting), NO_TIME)
        asked = len(store.asked)
        for _ in range(8):
            self.tell(rounds, 7)
        self.assertGreater(len(store.asked), asked)
        self.assertEqual(rounds._watched, set())

    def test_store_fails(self) -> None:
        """Who waits is told; who watches looks again."""
        rounds, _ = self.start(StoreUnavailable("full"))
        self.failureResultOf(self.wait(rounds), StoreUnavailable)
        rounds, _ = self.start(WAITS, WAITS, StoreUnavailable("full"), WAITS, OVER)
        waiting = self.wait(rounds, 1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.successResultOf(waiting), NO_TIME)
        self.clock.pump([LOOK_EVERY] * 3)
        self.assertEqual(rounds._watched, set())

    def test_stop(self) -> None:
        """A server that stops waits for nothing: the queue has it."""
        rounds, _ = self.start(WAITS)
        waiting = self.wait(rounds)
        rounds.stopService()
        self.assertEqual(self.successResultOf(waiting), NO_TIME)
