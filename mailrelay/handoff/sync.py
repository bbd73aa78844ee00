"""``handoff = "sync"``: the answer waits for what becomes of the message.

Invariants:

- What is answered 503 is ours no more, or its attempt is under way still: it is given back as soon
  as that ends in a deferral.  Queue and caller do not both try again.
- Giving back and the note of who has the message already are one transaction.
- After a crash the queue goes on with what it has; whoever repeats the request hears of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from typing_extensions import override

from mailrelay.control.handed_in import Asked, Note, RoundStore, Standing
from mailrelay.handoff.answers import NO_TIME
from mailrelay.observe.events import NewEvent
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.reply import Reply, reply

LOOK_EVERY = 5.0
"""Seconds after which one looks though nothing was told: another process may have changed it."""

NOT_DELIVERED = reply(451, "4.4.0", "it could not be delivered now")


class SyncRounds(Service):
    """Waits for rounds; see Waiting.  ``committed`` is told of all events."""

    _log = Logger()

    def __init__(self, store: RoundStore, clock: IReactorTime, now: Callable[[], float]) -> None:
        self._store, self._clock, self._now = store, clock, now
        self._told: dict[int, list[Deferred[None]]] = {}  # by message
        self._watched: set[str] = set()

    def committed(self, events: Sequence[NewEvent]) -> None:
        """Wake who waits for one of these messages."""
        if self._told:
            for message_id in {event.message_id for event in events}:
                self._wake(message_id)

    def _wake(self, message_id: int) -> None:
        for waiting in self._told.pop(message_id, ()):
            waiting.callback(None)

    async def __call__(self, asked: Asked, round_: int, note: Note, seconds: float) -> Reply | None:
        """See Waiting."""
        until = self._clock.seconds() + seconds
        while (left := until - self._clock.seconds()) > 0 and self.running:
            told = self._next(note.message)
            try:
                standing = await self._store.settle(asked, round_, note, self._now())
            except BaseException:
                self._leave(note.message, told)
                raise
            if not standing.waits:
                self._leave(note.message, told)
                return _reply(standing)
            await self._within(told, note.message, min(left, LOOK_EVERY))
        standing = await self._store.settle(asked, round_, note, self._now(), at_once=True)
        if not standing.waits:
            return _reply(standing)
        self._watch(asked, round_, note)
        return NO_TIME

    def _next(self, message_id: int) -> Deferred[None]:
        told: Deferred[None] = Deferred()
        self._told.setdefault(message_id, []).append(told)
        return told

    def _leave(self, message_id: int, told: Deferred[None]) -> None:
        others = self._told.get(message_id, [])
        if told in others:
            others.remove(told)
        if not others:
            self._told.pop(message_id, None)

    async def _within(self, told: Deferred[None], message_id: int, seconds: float) -> None:
        """Wait for ``told``, at most so long."""

        def over() -> None:
            self._leave(message_id, told)
            told.callback(None)

        late = self._clock.callLater(seconds, over)
        await told
        if late.active():
            late.cancel()

    def _watch(self, asked: Asked, round_: int, note: Note) -> None:
        """Settle it when the attempt has ended: nobody may ask again."""
        key = f"{asked.key}/{round_}"
        if key not in self._watched and self.running:
            self._watched.add(key)
            watching = Deferred.fromCoroutine(self._until_settled(asked, round_, note))
            watching.addErrback(lambda f: self._log.failure("a hand-off is not settled", f))
            watching.addBoth(lambda _: self._watched.discard(key))

    async def _until_settled(self, asked: Asked, round_: int, note: Note) -> None:
        while self.running:
            told = self._next(note.message)
            try:
                standing = await self._store.settle(asked, round_, note, self._now(), at_once=True)
            except StoreUnavailable:
                standing = Standing(waits=True)
            if not standing.waits:
                self._leave(note.message, told)
                return
            await self._within(told, note.message, LOOK_EVERY)

    @override
    def stopService(self) -> None:
        """Nobody waits any longer: what is under way is the queue's, and heard of later."""
        super().stopService()
        for message_id in list(self._told):
            self._wake(message_id)


def _reply(standing: Standing) -> Reply | None:
    if standing.given_back is None:
        return None
    said = standing.given_back
    return Reply(451, said, NOT_DELIVERED.status) if said else NOT_DELIVERED
