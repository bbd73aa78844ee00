"""Works that go on beside everything else, and after a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.control.errors import Refusal
from mailrelay.control.queue_works import QueueChanger, queue_doers
from mailrelay.control.works import Doer, RunningWorks, Work, WorkState
from mailrelay.net.surroundings import Surroundings
from mailrelay.queue.store import StoreUnavailable
from mailrelay.service.controls import Control
from mailrelay.storage.stores import Stores
from mailrelay.storage.works import DatabaseWorks

AGAIN_AFTER = 5.0
"""Seconds until the store is asked again that did not answer."""


class Works(Service):
    """Does this node's works, all at once, each piece by piece.

    A stop waits for the pieces under way; a later life of this node goes on behind them.
    """

    _log = Logger()

    def __init__(
        self,
        records: RunningWorks,
        doers: Mapping[str, Doer],
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._records, self._doers = records, doers
        self._clock, self._now = clock, now
        self._going: dict[int, Deferred[None]] = {}
        self._timer: IDelayedCall | None = None

    @override
    def startService(self) -> None:
        """Go on with what was left."""
        super().startService()
        self.wake()

    @override
    def stopService(self) -> Deferred[Any]:
        """Fires when no piece is under way."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return gatherResults(list(self._going.values()))

    def wake(self) -> None:
        """A work was started, or may have been."""
        if self.running:
            self._records.running().addCallbacks(self._go_on, self._later)

    def _later(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self._log.failure("works cannot be read", failure)
        if self.running and not (self._timer and self._timer.active()):
            self._timer = self._clock.callLater(AGAIN_AFTER, self.wake)

    def _go_on(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.id not in self._going and self.running:
                self._go_on_with(work.id)

    def _go_on_with(self, id_: int) -> None:
        ended = self._going[id_] = Deferred()
        doing = Deferred.fromCoroutine(self._do(id_)).addErrback(self._broke_off, id_)

        def over(result: object) -> None:
            del self._going[id_]
            if isinstance(result, Failure):
                self._later(result)
            ended.callback(None)

        doing.addBoth(over)

    async def _do(self, id_: int) -> None:
        # As it is now: it may have gone on, or ended, since it was listed.
        work = next((one for one in await self._records.running() if one.id == id_), None)
        if work is None:
            return
        doer = self._doers.get(work.kind)
        if doer is None:
            raise Refusal(f"this server does no works of the kind {work.kind}")
        if not work.total and not work.after_id:
            await self._records.counted(work.id, await doer.count(work))
        while self.running and work.state is WorkState.RUNNING:
            piece = await doer.do(work)
            work = await self._records.took(work, piece, self._now())

    def _broke_off(self, failure: Failure, id_: int) -> Deferred[None] | Failure:
        """What cannot be done is said; what the store kept from being done is done later."""
        if failure.check(StoreUnavailable):
            return failure
        if failure.check(Refusal):
            said = str(failure.value)
        else:
            self._log.failure("work {id} broke off", failure, id=id_)
            said = "an error of the server, which its log tells of"
        return self._records.failed(id_, said[:1000], self._now())


def make_works(s: Surroundings, stores: Stores, control: Callable[[str], Control]) -> Works:
    """Those of this node."""

    def changer(actor: str) -> QueueChanger:
        asked = control(actor)
        return QueueChanger(asked.queue, asked.transports)

    records = DatabaseWorks(stores.database, stores.node.id)
    return Works(records, queue_doers(changer), s.clock, s.now)
