"""Calls over virtual time: when they are made, in which order, and what counts as taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.queue.store import StoreUnavailable
from mailrelay.queue.window import BROKEN_OFF_RETRY
from mailrelay.webhooks.call import Call, FinishedCall
from mailrelay.webhooks.delivery import TIMEOUT, CallScheduler, CallSurroundings

OUT, IN = "https://app.example/out", "https://app.example/in"


@define
class KeptCalls:
    """A CallStore in memory."""

    waiting: list[Call] = field(factory=list)
    claimed: dict[int, Call] = field(factory=dict)
    finished: list[FinishedCall] = field(factory=list)
    released: list[int] = field(factory=list)
    superseded: set[int] = field(factory=set)
    begun: list[int] = field(factory=list)
    is_broken: bool = False
    commit: Deferred[bool] | None = None  # under way; the rest waits for it

    def claim_due(
        self, now: float, limit: int, full_lanes: Sequence[int]
    ) -> Deferred[Sequence[Call]]:
        """See CallStore."""
        if self.is_broken:
            return fail(StoreUnavailable("broken"))
        due = sorted((c for c in self.waiting if c.next_attempt_at <= now), key=_due)[:limit]
        self.waiting = [call for call in self.waiting if call not in due]
        self.claimed.update({call.id: call for call in due})
        return succeed(due)

    def next_due_at(self) -> Deferred[float | None]:
        """See CallStore."""
        return succeed(min(map(_due, self.waiting), default=None))

    def begin(self, call: Call, next_attempt_at: float) -> Deferred[bool]:
        """See CallStore."""
        if self.is_broken:
            return fail(StoreUnavailable("broken"))
        self.claimed[call.id] = evolve(
            call, attempts=call.attempts + 1, next_attempt_at=next_attempt_at
        )
        self.begun.append(call.id)
        return self._committed(call.id not in self.superseded)

    def finish(self, finished: FinishedCall) -> Deferred[bool]:
        """See CallStore."""
        if self.is_broken:
            return fail(StoreUnavailable("broken"))
        self.finished.append(finished)
        call = self.claimed.pop(finished.call.id)
        if finished.next_attempt_at is not None:
            self.waiting.append(evolve(call, next_attempt_at=finished.next_attempt_at))
        return self._committed(True)

    def _committed(self, answer: bool) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        (self.commit or succeed(True)).chainDeferred(done)
        return done.addCallback(lambda _: answer)

    def payload(self, call_id: int) -> Deferred[bytes]:
        """See CallStore."""
        if self.is_broken:
            return fail(StoreUnavailable("broken"))
        return succeed(b'{"type":"large"}')

    def postpone(self, calls: Sequence[Call], until: float) -> Deferred[None]:
        """See CallStore."""
        for call in calls:
            self.waiting.append(evolve(self.claimed.pop(call.id), next_attempt_at=until))
        return succeed(None)

    def release_claims(self, entry_ids: Sequence[int]) -> Deferred[None]:
        """See CallStore."""
        self.released += entry_ids
        return succeed(None)


def _due(call: Call) -> float:
    return call.next_attempt_at


@define
class Receiver:
    """A Poster whose answers a test gives, at once or later."""

    clock: Clock
    made: list[tuple[float, str, Mapping[str, str], bytes]] = field(factory=list)
    answers: dict[str, HTTPAnswer | None] = field(factory=dict)  # None: it hangs
    hanging: list[Deferred[HTTPAnswer]] = field(factory=list)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See Poster."""
        self.made.append((self.clock.seconds(), url, headers, body))
        answer = self.answers.get(url, answered(200))
        if answer is not None:
            return answer
        waiting: Deferred[HTTPAnswer] = Deferred()
        self.hanging.append(waiting)
        waiting.addTimeout(timeout, self.clock)
        try:
            return await waiting
        except TimeoutError:
            raise CallFailed("no answer in time") from None


def answered(status: int, body: bytes = b"") -> HTTPAnswer:
    """An answer."""
    return HTTPAnswer(status, {}, body, True)


class CallTests(SynchronousTestCase):
    """CallScheduler."""

    def setUp(self) -> None:
        """A scheduler that runs, with nothing to do."""
        self.clock, self.store = Clock(), KeptCalls()
        self.receiver = Receiver(self.clock)
        self.codes: list[int] = []
        self.scheduler = CallScheduler(
            CallSurroundings(
                clock=self.clock,
                now=self.clock.seconds,
                random=Random(1),
                store=self.store,
                poster=self.receiver,
                kept_for=lambda account_id: 1000.0,
                user_agent="mailrelay/1 (webhook)",
                called=lambda code, seconds: self.codes.append(code),
            )
        )
        self.scheduler.startService()
        self.clock.advance(0)

    def add(self, id_: int, url: str = OUT, due: float | None = None) -> Call:
        """Queue a call, as somebody's commit does."""
        now = self.clock.seconds()
        call = Call(id_, 1, url, "Bearer x", "delivered", b"{}", now, now if due is None else due)
        self.store.waiting.append(call)
        self.scheduler.wake()
        self.clock.advance(0)
        return call

    def run_for(self, seconds: float, step: float = 10.0) -> None:
        """Let time pass."""
        self.clock.pump([step] * int(seconds // step + 1))

    def test_taken(self) -> None:
        """A call has its headers and its body; 200 retires it."""
        call = self.add(7)
        [(_, url, headers, body)] = self.receiver.made
        self.assertEqual((url, body), (OUT, b"{}"))
        self.assertEqual(
            headers,
            {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "mailrelay/1 (webhook)",
                "X-Mox-Webhook-Id": "7",
                "X-Mox-Webhook-Attempt": "1",
                "Authorization": "Bearer x",
            },
        )
        [done] = self.store.finished
        self.assertEqual((done.call, done.next_attempt_at, done.keep_until), (call, None, 1000.0))
        self.assertEqual((done.attempt.is_success, done.attempt.code), (True, 200))
        self.assertEqual((self.codes, self.scheduler.in_memory), ([200], 0))

    def test_not_taken(self) -> None:
        """Anything but 200 is a failure, redirects and the other 2xx too; its start is kept."""
        for id_, status in enumerate((201, 204, 302, 410, 429, 500), 1):
            url = f"https://app.example/{id_}"
            self.receiver.answers[url] = answered(status, b"\x00no\n" + b"x" * 600)
            self.add(id_, url)
            done = self.store.finished[-1]
            self.assertEqual((done.attempt.is_success, done.attempt.code), (False, status))
            self.assertIsNotNone(done.next_attempt_at)
            self.assertTrue(done.attempt.response.startswith("?no?xxx"))
            self.assertLessEqual(len(done.attempt.response), 512)

    def test_schedule(self) -> None:
        """Twelve attempts, each counted, then it is retired."""
        self.receiver.answers[OUT] = answered(503)
        self.add(1)
        self.run_for(33 * 3600, 30.0)
        attempts = [headers["X-Mox-Webhook-Attempt"] for _, _, headers, _ in self.receiver.made]
        self.assertEqual(attempts, [str(n) for n in range(1, 13)])
        times = [at for at, _, _, _ in self.receiver.made]
        waits = [after - before for before, after in pairwise(times)]
        expected = [60, 120, 240, 450, 900, 1800, 3600, 7200, 14400, 28800, 57600]
        for wait, wanted in zip(waits, expected, strict=True):
            self.assertTrue(wanted * 0.99 <= wait <= wanted * 1.01 + 30, (wait, wanted))
        last = self.store.finished[-1]
        self.assertEqual((last.next_attempt_at, last.attempt.is_success), (None, False))
        self.assertEqual(self.store.waiting, [])

    def test_one_at_a_time_for_each_url(self) -> None:
        """A receiver that hangs holds up its own calls, in order, and nobody else's."""
        self.receiver.answers[OUT] = None
        for id_ in (1, 2, 3):
            self.add(id_)
        self.add(4, IN)
        self.assertEqual([url for _, url, _, _ in self.receiver.made], [OUT, IN])
        self.receiver.answers[OUT] = answered(200)
        self.run_for(TIMEOUT, 1.0)
        outgoing = [headers for _, url, headers, _ in self.receiver.made if url == OUT]
        ids = [headers["X-Mox-Webhook-Id"] for headers in outgoing]
        self.assertEqual(ids[:3], ["1", "2", "3"])
        first = next(done for done in self.store.finished if done.call.id == 1)
        self.assertEqual((first.attempt.code, first.attempt.error), (0, "no answer in time"))
        self.assertEqual(first.attempt.seconds, TIMEOUT)

    def test_superseded(self) -> None:
        """A call that a newer one has replaced is not made."""
        self.store.superseded.add(1)
        self.add(1)
        self.assertEqual((self.receiver.made, self.store.finished), ([], []))

    def test_store_trouble(self) -> None:
        """Nothing is called that cannot be recorded before, and no outcome is forgotten."""
        self.receiver.answers[OUT] = None
        self.add(1)
        self.store.is_broken = True
        self.receiver.hanging[0].callback(answered(200))
        self.run_for(60, 1.0)
        self.assertEqual(self.store.finished, [])
        self.store.is_broken = False
        self.run_for(10, 1.0)
        self.assertEqual([done.attempt.code for done in self.store.finished], [200])
        self.assertEqual(len(self.receiver.made), 1)

    def test_attempt_that_breaks_off(self) -> None:
        """What raises anything unexpected keeps no claim: the call is given back after a while."""
        self.patch(self.scheduler, "_made", lambda call, request: fail(ZeroDivisionError()))
        self.add(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.run_for(BROKEN_OFF_RETRY)
        self.assertEqual((self.store.released, self.scheduler.in_memory), ([1], 0))

    def test_outcome_that_breaks_off(self) -> None:
        """An outcome that can never be stored keeps no claim, either."""
        self.patch(KeptCalls, "finish", lambda store, finished: fail(ZeroDivisionError()))
        self.add(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.run_for(BROKEN_OFF_RETRY)
        self.assertEqual(self.store.released, [1])

    def test_recorded_together(self) -> None:
        """The next call's attempt is recorded with the outcome of the one before, not after it."""
        self.receiver.answers[OUT] = None
        for id_ in (1, 2, 3):
            self.add(id_)
        self.store.commit = Deferred()
        self.receiver.hanging[0].callback(answered(200))
        self.assertEqual(
            ([done.call.id for done in self.store.finished], self.store.begun), ([1], [1, 2])
        )
        self.assertEqual(len(self.receiver.made), 1)
        self.store.commit.callback(True)
        self.assertEqual(len(self.receiver.made), 2)

    def test_stop_while_recording(self) -> None:
        """A stop waits until the outcome is recorded."""
        self.store.commit = Deferred()
        self.receiver.answers[OUT] = None
        self.add(1)
        self.store.commit.callback(True)
        self.store.commit = Deferred()
        self.receiver.hanging[0].callback(answered(200))
        stopping = self.scheduler.stopService()
        self.assertNoResult(stopping)
        self.store.commit.callback(True)
        self.successResultOf(stopping)

    def test_stop(self) -> None:
        """A stop waits for the call under way, and gives back what waits behind it."""
        self.receiver.answers[OUT] = None
        self.add(1)
        self.add(2)
        stopping = self.scheduler.stopService()
        self.assertNoResult(stopping)
        self.receiver.hanging[0].callback(answered(200))
        self.successResultOf(stopping)
        self.assertEqual((self.store.released, len(self.store.finished)), ([2], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
