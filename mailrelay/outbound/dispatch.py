"""Which transport takes a job: one per kind of way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailrelay.policy.suppression import SUPPRESSED
from mailrelay.queue.outcome import Delivered, Reach, Refrained, outcome_of_reply
from mailrelay.queue.transport import Attempt, Job, Result, Transport
from mailrelay.routing.ways import Fail
from mailrelay.smtp.reply import reply

DISCARDED = reply(250, "2.0.0", "discarded, as the route says")


@frozen
class Dispatch:
    """Hands each job to the transport of its way's class."""

    transports: Mapping[type, Transport]

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        return self.transports[type(job.destination.way)].attempt(job)


@frozen
class DiscardTransport:
    """Throws away what a route says is to be thrown away."""

    now: Callable[[], float]

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        now = self.now()
        outcome = Delivered(DISCARDED, Reach.MAILBOX)
        return succeed(Result([outcome] * len(job.entries), Attempt(now, now)))


@frozen
class RefrainTransport:
    """Attempts nothing: the recipient is suppressed."""

    now: Callable[[], float]

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        now = self.now()
        return succeed(Result([Refrained(SUPPRESSED)] * len(job.entries), Attempt(now, now)))


@frozen
class FailTransport:
    """Answers with the way's own reply, late if it says so: simulated and unroutable mail."""

    now: Callable[[], float]
    clock: IReactorTime
    _waiting: dict[Deferred[None], IDelayedCall] = field(factory=dict, init=False)

    def give_up(self) -> None:
        """The server stops: answer at once what still waits."""
        for waited, call in list(self._waiting.items()):
            call.cancel()
            waited.callback(None)

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        way = job.destination.way
        assert isinstance(way, Fail)
        started = self.now()

        def failed(_: None) -> Result:
            outcome = outcome_of_reply(way.reply)
            return Result([outcome] * len(job.entries), Attempt(started, self.now()))

        if not way.after:
            return succeed(failed(None))
        waited: Deferred[None] = Deferred()
        self._waiting[waited] = self.clock.callLater(way.after, waited.callback, None)

        def over(_: None) -> None:
            del self._waiting[waited]

        return waited.addCallback(over).addCallback(failed)
