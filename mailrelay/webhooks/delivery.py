"""Making calls: when, one after the other for each URL, and what comes of each.

Invariants:

- A call is attempted only while this node holds its claim, and after the attempt is recorded.
- An outcome that cannot be recorded is tried to be recorded until it is, or the process ends:
  then the receiver is called again, with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.queue.destination import Backlog, Destination
from mailrelay.queue.recorder import STORE_RETRY_AFTER
from mailrelay.queue.store import StoreUnavailable
from mailrelay.queue.window import Window, WindowSettings
from mailrelay.smtp.reply import printable
from mailrelay.webhooks.call import RESPONSE_BYTES, Call, CallAttempt, CallStore, FinishedCall
from mailrelay.webhooks.schedule import next_call_at

TIMEOUT = 60.0
"""Seconds for one call, the answer included."""

SUCCESS = 200
"""mox's receivers mean this and no other 2xx."""


class Poster(Protocol):
    """What makes HTTP requests: see net/http.py."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """The answer.  Raises: CallFailed."""


@frozen
class CallSurroundings:
    """What calls are made with.  ``called`` is told each answer's code, 0 without, and seconds."""

    clock: IReactorTime
    now: Callable[[], float]
    random: Random
    store: CallStore
    poster: Poster
    kept_for: Callable[[int], float]
    user_agent: str
    called: Callable[[int, float], None] = field(default=lambda code, seconds: None)


class CallScheduler(Window[Call]):
    """Takes due calls and makes them, one at a time for each URL."""

    _log = Logger()

    def __init__(self, surroundings: CallSurroundings) -> None:
        s = surroundings
        sizes = WindowSettings(concurrency=1, entries_per_attempt=1, window=2000, claim_batch=200)
        super().__init__(s.clock, s.now, s.store, sizes)
        self._s = s

    def destination_of(self, entry: Call) -> Destination:
        """See Window."""
        return Destination(entry.url, None)

    async def attempt(self, backlog: Backlog[Call], group: Sequence[Call]) -> None:
        """See Window."""
        [call] = group
        s = self._s
        jitter = s.random.random()
        due = next_call_at(s.now(), call.attempts + 1, jitter)
        try:
            # A last attempt that a crash interrupts is made once more, as late as any.
            again = due if due is not None else next_call_at(s.now(), call.attempts, jitter)
            if not await s.store.begin(call, again if again is not None else s.now()):
                return
        except StoreUnavailable:
            await deferLater(self._s.clock, STORE_RETRY_AFTER)
            if self.running:
                self.push(call)
            return
        made = await self._made(call)
        s.called(made.code, made.seconds)
        next_at = None if made.is_success else due
        kept_until = s.now() + s.kept_for(call.account_id)
        # The next call's attempt is recorded in the same commit as this one's outcome.
        recording = self._record(FinishedCall(call, made, next_at, kept_until))
        self.track(Deferred.fromCoroutine(recording))

    async def _made(self, call: Call) -> CallAttempt:
        s = self._s
        at, started = s.now(), s.clock.seconds()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": s.user_agent,
            "X-Mox-Webhook-Id": str(call.id),
            "X-Mox-Webhook-Attempt": str(call.attempts + 1),
        }
        if call.authorization:
            headers["Authorization"] = call.authorization
        try:
            answer = await s.poster.post(call.url, headers, call.payload, TIMEOUT)
        except CallFailed as failed:
            return CallAttempt(at, s.clock.seconds() - started, False, error=str(failed))
        said = printable(
            answer.body_start[:RESPONSE_BYTES].decode("utf-8", "replace"), RESPONSE_BYTES
        )
        is_success = answer.status == SUCCESS
        error = "" if is_success else f"answered {answer.status}, not 200"
        seconds = s.clock.seconds() - started
        return CallAttempt(at, seconds, is_success, answer.status, error, said)

    async def _record(self, finished: FinishedCall) -> None:
        while True:
            try:
                await self._s.store.finish(finished)
            except StoreUnavailable:
                self._log.warn("what a webhook answered cannot be recorded; trying again")
                await deferLater(self._s.clock, STORE_RETRY_AFTER)
                if not self.running:
                    return
            else:
                break
        if finished.next_attempt_at is not None:
            self.wake_after(finished.next_attempt_at - self._s.now())
