"""Asking an application for its answer while whoever sends the message waits for it."""

from __future__ import annotations

from collections import Counter

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed

from mailrelay.handoff.transport import HandOffTransport
from mailrelay.queue.entry import Content
from mailrelay.queue.outcome import Deferral
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.routing.ways import ToEndpoint
from mailrelay.smtp.reply import reply

BUSY = reply(451, "4.3.2", "the application has as many messages as it takes at once")


@frozen
class Answering:
    """Posts by ``transport``, to each endpoint as many at once as it takes."""

    transport: HandOffTransport
    _active: Counter[str] = field(factory=Counter, init=False)
    _asked: set[Deferred[Result]] = field(factory=set, init=False)

    def ask(self, job: Job, content: Content, key: str) -> Deferred[Result]:
        """What comes of a message that is in no store; it never fails."""
        way = job.destination.way
        assert isinstance(way, ToEndpoint)
        most = job.destination.concurrency
        if most is not None and self._active[way.name] >= most:
            now = self.transport.now()
            return succeed(Result([Deferral(BUSY)], Attempt(now, now), host_failed=True))
        self._active[way.name] += 1
        asking = self.transport.attempt_unstored(job, content, key)
        self._asked.add(asking)

        def over(result: Result) -> Result:
            self._active[way.name] -= 1
            self._asked.discard(asking)
            return result

        return asking.addBoth(over)

    def give_up(self) -> None:
        """The server stops: nobody waits any more."""
        for asking in list(self._asked):
            asking.cancel()
