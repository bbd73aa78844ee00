"""Making calls: when, one after the other for each URL of mox's kind, and what comes of each.

Standard endpoints have calls in parallel, and several in one request.

Invariants:

- A call is attempted only while this node holds its claim, and after the attempt is recorded.
- An outcome that cannot be recorded is tried to be recorded until it is, or the process ends:
  then the receiver is called again, with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList
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
from mailrelay.webhooks.endpoint import (
    REMOVED,
    Endpoints,
    NoEndpoints,
    StandardEndpoint,
    disabled_error,
    endpoint_destination,
)
from mailrelay.webhooks.request import (
    GONE,
    CallRequest,
    asked_wait,
    is_success,
    mox_request,
    standard_request,
)
from mailrelay.webhooks.schedule import next_call_at

TIMEOUT = 60.0
"""Seconds for one call, the answer included."""

T = TypeVar("T")


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
    endpoints: Endpoints = field(factory=NoEndpoints)


class CallScheduler(Window[Call]):
    """Takes due calls and makes them: for each URL one at a time, or as its endpoint says."""

    _log = Logger()

    def __init__(self, surroundings: CallSurroundings) -> None:
        s = surroundings
        sizes = WindowSettings(concurrency=1, entries_per_attempt=1, window=2000, claim_batch=200)
        super().__init__(s.clock, s.now, s.store, sizes)
        self._s = s
        self._rests_until: dict[int, float] = {}  # monotonic, by endpoint that asked for it

    def destination_of(self, entry: Call) -> Destination:
        """See Window."""
        if entry.endpoint_id is None:
            return Destination(entry.url, None)
        return endpoint_destination(entry.endpoint_id, self._known(entry))

    def _known(self, call: Call) -> StandardEndpoint | None:
        assert call.endpoint_id is not None
        return self._s.endpoints.get(call.endpoint_id, call.account_id)

    async def attempt(self, backlog: Backlog[Call], group: Sequence[Call]) -> None:
        """See Window."""
        endpoint = None
        if group[0].endpoint_id is not None:
            endpoint = await self._open_endpoint(backlog, group)
            if endpoint is None:
                return
        group = await self._whole(group)
        if not group:
            return
        s = self._s
        jitter, attempts = s.random.random(), group[0].attempts
        due = next_call_at(s.now(), attempts + 1, jitter)
        # A last attempt that a crash interrupts is made once more, as late as any.
        again = due if due is not None else next_call_at(s.now(), attempts, jitter)
        calls = await self._begin(group, again if again is not None else s.now())
        if not calls:
            return
        if endpoint is None:
            made, answer = await self._made(calls[0], mox_request(calls[0], s.user_agent))
        else:
            request = standard_request(calls, endpoint, s.now(), s.user_agent)
            made, answer = await self._made(calls[0], request)
        if endpoint is not None and answer is not None and not made.is_success:
            due = await self._judged(endpoint, answer, due)
        self._finish(calls, made, None if made.is_success else due)

    async def _whole(self, group: Sequence[Call]) -> Sequence[Call]:
        """``group`` with what it says; empty when that cannot be read now."""
        [first, *rest] = group
        if not first.is_large:
            return group
        assert not rest
        try:
            return [evolve(first, payload=await self._s.store.payload(first.id))]
        except StoreUnavailable:
            await self._keep(group)
            return []

    async def _begin(self, group: Sequence[Call], again: float) -> Sequence[Call]:
        """Record the attempts; the calls that may be made."""
        try:
            may = await _all([self._s.store.begin(call, again) for call in group])
        except StoreUnavailable:
            await self._keep(group)
            return []
        return [call for call, begun in zip(group, may, strict=True) if begun]

    async def _keep(self, group: Sequence[Call]) -> None:
        """The store does not answer: the claims are still ours, wait with them."""
        await deferLater(self._s.clock, STORE_RETRY_AFTER)
        if self.running:
            for call in group:
                self.push(call)

    async def _made(
        self, call: Call, request: CallRequest
    ) -> tuple[CallAttempt, HTTPAnswer | None]:
        s = self._s
        at, started = s.now(), s.clock.seconds()
        try:
            answer = await s.poster.post(request.url, request.headers, request.body, TIMEOUT)
        except CallFailed as failed:
            made = CallAttempt(at, s.clock.seconds() - started, False, error=str(failed))
            s.called(0, made.seconds)
            return made, None
        said = printable(
            answer.body_start[:RESPONSE_BYTES].decode("utf-8", "replace"), RESPONSE_BYTES
        )
        taken = is_success(call, answer.status)
        wanted = "200" if call.endpoint_id is None else "2xx"
        error = "" if taken else f"answered {answer.status}, not {wanted}"
        seconds = s.clock.seconds() - started
        s.called(answer.status, seconds)
        return CallAttempt(at, seconds, taken, answer.status, error, said), answer

    def _finish(self, calls: Sequence[Call], made: CallAttempt, due: float | None) -> None:
        """Record what came of an attempt; the next one's record is in the same commit."""
        for call in calls:
            kept_until = self._s.now() + self._s.kept_for(call.account_id)
            recording = self._record(FinishedCall(call, made, due, kept_until))
            recorded = Deferred.fromCoroutine(recording)
            self.track(recorded.addErrback(self.broke_off, [call]))

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

    # Standard endpoints

    async def _open_endpoint(
        self, backlog: Backlog[Call], group: Sequence[Call]
    ) -> StandardEndpoint | None:
        """Where to call now; None when nobody is to be called, and ``group`` is seen to."""
        call = group[0]
        endpoint = self._known(call)
        if endpoint is None or endpoint.disabled_at is not None:
            # It may be new, or enabled, and this process not know yet.
            await self._s.endpoints.read_again()
            endpoint = self._known(call)
        if endpoint is None or endpoint.disabled_at is not None:
            because = REMOVED if endpoint is None else disabled_error(endpoint.disabled_because)
            self._retire(group, because)
            rest = backlog.pop_all()
            if rest:
                self.start(backlog, self._retire_later(rest, because), rest)
            return None
        rests_until = self._rests_until.get(endpoint.id, 0.0)
        wait = rests_until - self._s.clock.seconds()
        if wait > 0:
            await self._postpone(group, wait)
            return None
        self._rests_until.pop(endpoint.id, None)
        return endpoint

    async def _postpone(self, group: Sequence[Call], wait: float) -> None:
        """Its endpoint asked for time: nothing is attempted before."""
        try:
            await self._s.store.postpone(group, self._s.now() + wait)
        except StoreUnavailable:
            await self._keep(group)
        else:
            self.wake_after(wait)

    async def _retire_later(self, calls: Sequence[Call], because: str) -> None:
        self._retire(calls, because)

    def _retire(self, calls: Sequence[Call], because: str) -> None:
        """Never make ``calls``; an attempt that was none says why."""
        self._finish(calls, CallAttempt(self._s.now(), 0.0, False, error=because), None)

    async def _judged(
        self, endpoint: StandardEndpoint, answer: HTTPAnswer, due: float | None
    ) -> float | None:
        """When to call again what was answered so, None for never."""
        s = self._s
        if answer.status == GONE:
            try:
                await s.endpoints.disable(endpoint, f"it answered {GONE}")
            except StoreUnavailable:
                return due  # it will say so again
            self._log.warn("webhook endpoint {id} answered 410: disabled", id=endpoint.id)
            return None
        wait = asked_wait(answer.status, answer.headers, s.now())
        if wait is None or due is None:
            return due
        self._rests_until[endpoint.id] = s.clock.seconds() + wait
        return max(due, s.now() + wait)


async def _all(waited: Sequence[Deferred[T]]) -> Sequence[T]:
    """What all of ``waited`` come to; raises what the first that failed does."""
    results: Any = await DeferredList(waited, consumeErrors=True)
    for succeeded, result in results:
        if not succeeded:
            result.raiseException()
    return [result for _, result in results]
