"""Ways that need no connection, and who takes which."""

from __future__ import annotations

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.outbound.dispatch import DiscardTransport, Dispatch, FailTransport
from mailrelay.queue.outcome import Delivered, PermanentFailure, Reach
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.routing.ways import ByMX, Discard, Fail
from mailrelay.smtp.reply import Reply, reply
from tests.outbound.delivery import make_job, short

NO = reply(550, "5.1.1", "no such user")
REFUSED = PermanentFailure(NO, is_answer=True)
RECIPIENTS = ["a@peer.test", "b@peer.test"]


@frozen
class Noted:
    """A transport that answers when the test says so."""

    jobs: list[Job] = field(factory=list)
    answer: Deferred[Result] = field(factory=Deferred)

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        self.jobs.append(job)
        return self.answer


class DispatchTests(SynchronousTestCase):
    """Jobs of several ways."""

    def test_by_the_ways_class(self) -> None:
        """A job goes to the transport of its way, and its result comes back as it is."""
        mx, discard = Noted(), Noted()
        dispatch = Dispatch({ByMX: mx, Discard: discard})
        job = make_job(Discard(), "discard", RECIPIENTS)
        attempt = dispatch.attempt(job)
        self.assertEqual((mx.jobs, discard.jobs), ([], [job]))
        self.assertNoResult(attempt)
        result = Result([], Attempt(1.0, 2.0))
        discard.answer.callback(result)
        self.assertIs(self.successResultOf(attempt), result)

    def test_way_without_a_transport(self) -> None:
        """That is a mistake of ours, and not taken for anything else."""
        with self.assertRaises(KeyError):
            Dispatch({ByMX: Noted()}).attempt(make_job(Discard(), "discard", RECIPIENTS))


class DiscardTests(SynchronousTestCase):
    """The way to nowhere."""

    def test_everybody_has_got_it(self) -> None:
        """All are delivered for good: nobody further on reports; nothing was connected to."""
        job = make_job(Discard(), "discard", RECIPIENTS)
        result = self.successResultOf(DiscardTransport(lambda: 7.0).attempt(job))
        self.assertEqual(len(result.outcomes), 2)
        for outcome in result.outcomes:
            assert isinstance(outcome, Delivered)
            self.assertEqual((outcome.reply.code, outcome.reach), (250, Reach.MAILBOX))
        self.assertEqual(result.attempt, Attempt(7.0, 7.0))


class FailTests(SynchronousTestCase):
    """A way that is a reply."""

    def setUp(self) -> None:
        """A transport whose wall clock is the other one, an hour ahead."""
        self.clock = Clock()
        self.transport = FailTransport(lambda: self.clock.seconds() + 3600.0, self.clock)

    def attempt(self, answer: Reply = NO, after: float = 0.0) -> Deferred[Result]:
        """An attempt whose way is this reply."""
        return self.transport.attempt(make_job(Fail(answer, after), "simulated", RECIPIENTS))

    def test_at_once(self) -> None:
        """Each recipient gets the reply; 4yz is a deferral, 2yz a delivery."""
        result = self.successResultOf(self.attempt())
        self.assertEqual(list(result.outcomes), [REFUSED] * 2)
        self.assertFalse(result.host_failed)
        for answer, outcome in (
            (reply(451, "4.2.1", "later"), "deferral 451 4.2.1"),
            (reply(250, "2.0.0", "ok"), "delivered 250 2.0.0"),
        ):
            result = self.successResultOf(self.attempt(answer))
            self.assertEqual({short(one) for one in result.outcomes}, {outcome})

    def test_late(self) -> None:
        """The reply comes when its time has come; the history has both times."""
        attempt = self.attempt(after=30.0)
        self.clock.advance(29.9)
        self.assertNoResult(attempt)
        self.clock.advance(0.1)
        result = self.successResultOf(attempt)
        self.assertEqual((result.attempt.started_at, result.attempt.ended_at), (3600.0, 3630.0))

    def test_stop(self) -> None:
        """A server that stops waits for none of them; those that were answered are left alone."""
        over, waiting = self.attempt(after=1.0), [self.attempt(after=30.0) for _ in range(2)]
        self.clock.advance(1.0)
        self.successResultOf(over)
        self.transport.give_up()
        for attempt in waiting:
            result = self.successResultOf(attempt)
            self.assertEqual(list(result.outcomes), [REFUSED] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.transport.give_up()
