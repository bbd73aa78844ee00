"""``/calls``: what became of webhook calls, and what is called again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from attrs import evolve, frozen
from msgspec import Meta, field

from mailrelay.control.answers import Inside, settled
from mailrelay.control.calls import CallControl, CallFilter
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.replay import (
    MOST_ATTEMPTS,
    AccountCall,
    CallDetails,
    CallQuery,
    ReplayControl,
    Replayed,
    ReplayRange,
    call_state,
)
from mailrelay.directory.keys import Scope
from mailrelay.webapi.v1.fields import EntryEvent, Id, Limit, Position, Text, Word
from mailrelay.webapi.v1.history import CallAttemptOut
from mailrelay.webapi.v1.idempotency import key_of
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import CONFLICT, INVALID_FIELD, NO_SUCH, Problem
from mailrelay.webapi.v1.times import Time, seconds_of, time_at
from mailrelay.webhooks.endpoint import ENTRY_EVENTS

State: TypeAlias = Literal["waiting", "taken", "failed", "canceled", "superseded"]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
EntryEvents: TypeAlias = Annotated[list[EntryEvent], Meta(max_length=len(ENTRY_EVENTS))]
Change: TypeAlias = Callable[[CallControl, CallFilter], Awaitable[Sequence[int]]]
Payload: TypeAlias = Annotated[str, Meta(max_length=64 * 1024 * 1024)]


class WebhookCall(Strict, frozen=True):
    """A call.  ``endpoint_id`` is of one of ``/webhooks``; ``replay_of`` the call it repeats."""

    id: Id
    endpoint_id: Id | None
    event: Word
    entry_id: Id | None
    message_id: Id | None
    url: Text
    state: State
    queued_at: Time
    next_attempt_at: Time | None
    attempt_count: Count
    replay_of: Id | None


class WebhookCallDetails(WebhookCall, frozen=True):
    """A call with what it says, as JSON, and how each attempt went."""

    payload: Payload
    attempts: Annotated[list[CallAttemptOut], Meta(max_length=MOST_ATTEMPTS)]


class CallsQuery(Strict, frozen=True):
    """All that is given must fit.  ``since`` and ``until`` are of when it was queued."""

    endpoint: Id | None = None
    state: State | None = None
    event: Word | None = None
    since: Time | None = None
    until: Time | None = None
    cursor: Id | None = None
    limit: Limit = 50


class CallPage(Strict, frozen=True):
    """Newest first.  ``next_cursor`` is for those before them, null when there are none."""

    calls: Annotated[list[WebhookCall], Meta(max_length=100)]
    next_cursor: Id | None


class TestIn(Strict, frozen=True):
    """What the example is to tell of."""

    event: EntryEvent = "delivered"


class ReplayIn(Strict, frozen=True):
    """Events from ``since`` to before ``until``, which is now unless given; no ``events`` are all.

    ``cursor`` is the ``next_cursor`` of the answer before.
    """

    since: Time
    until: Time | None = None
    events: EntryEvents = field(default_factory=list)
    cursor: Position = 0


class ReplayOut(Strict, frozen=True):
    """How many calls were made.  ``next_cursor`` is for the rest, null when there is none."""

    calls: Count
    next_cursor: Id | None


@frozen
class CallOperations:
    """``/calls``, and what is called again.  Controls are for whoever is named in the audit."""

    control: Callable[[str], ReplayControl]
    calls: Callable[[str], CallControl]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="call_list",
                method="GET",
                path="/calls",
                about="The account's webhook calls, newest first.",
                work=self.list,
                scope=Scope.READ,
                query=CallsQuery,
                answers={200: CallPage},
            ),
            Operation(
                name="call_get",
                method="GET",
                path="/calls/{id}",
                about="One call: what it says, and how each attempt went.",
                work=self.get,
                scope=Scope.READ,
                answers={200: WebhookCallDetails},
            ),
            Operation(
                name="call_replay",
                method="POST",
                path="/calls/{id}/replay",
                about="Make a call once more that was taken or failed, as a new one.",
                work=self.again,
                scope=Scope.MANAGE,
                answers={201: WebhookCallDetails},
                problems=[CONFLICT],
            ),
            Operation(
                name="call_retry",
                method="POST",
                path="/calls/{id}/retry",
                about="Make a call now that waits.",
                work=self.retry,
                scope=Scope.MANAGE,
                answers={200: WebhookCallDetails},
                problems=[CONFLICT],
            ),
            Operation(
                name="call_cancel",
                method="POST",
                path="/calls/{id}/cancel",
                about="Never make a call that waits; one under way may be taken all the same.",
                work=self.cancel,
                scope=Scope.MANAGE,
                answers={200: WebhookCallDetails},
                problems=[CONFLICT],
            ),
            Operation(
                name="webhook_test",
                method="POST",
                path="/webhooks/{id}/test",
                about="Call an endpoint with an example.",
                work=self.test,
                scope=Scope.MANAGE,
                body=TestIn,
                answers={201: WebhookCallDetails},
                problems=[CONFLICT],
            ),
            Operation(
                name="webhook_replay",
                method="POST",
                path="/webhooks/{id}/replay",
                about="Tell an endpoint again of events in the log.",
                work=self.replay,
                scope=Scope.MANAGE,
                body=ReplayIn,
                answers={200: ReplayOut},
                problems=[CONFLICT],
            ),
        ]

    async def list(self, call: Call) -> Answer:
        """A page of calls."""
        query: CallsQuery = call.query
        wanted = CallQuery(
            endpoint_id=query.endpoint,
            state=query.state,
            event=query.event,
            since=seconds_of(query.since),
            until=seconds_of(query.until),
            before_id=query.cursor,
            limit=query.limit,
        )
        found = await self._control(call).find(call.caller.account.id, wanted)
        more = len(found) == query.limit
        page = CallPage(
            calls=[WebhookCall(**_fields(one)) for one in found],
            next_cursor=found[-1].id if more else None,
        )
        return Answer(200, page)

    async def get(self, call: Call) -> Answer:
        """One call.  Raises: Problem."""
        found = await _done(self._control(call).details(call.caller.account.id, call.id))
        return Answer(200, _details(found))

    async def again(self, call: Call) -> Answer:
        """Make a call again.  Raises: Problem."""
        made = await _done(self._keeping(call).again(call.caller.account.id, call.id))
        return call.kept or Answer(201, _details(made))

    async def retry(self, call: Call) -> Answer:
        """Make a call now.  Raises: Problem."""
        return await self._waiting(call, CallControl.retry)

    async def cancel(self, call: Call) -> Answer:
        """Never make a call.  Raises: Problem."""
        return await self._waiting(call, CallControl.cancel)

    async def _waiting(self, call: Call, change: Change) -> Answer:
        account, control = call.caller.account, self._control(call)
        await _done(control.details(account.id, call.id))  # another's, and nobody's, is not there

        def told(changed: Sequence[int], inside: Inside) -> Answer | None:
            if call.id not in changed:
                return None
            there = evolve(control, records=inside(control.records))
            return Answer(200, _details(settled(there.details(account.id, call.id))))

        calls = self.calls(call.caller.actor("api"))
        calls = evolve(calls, records=call.with_answer(calls.records, told))
        if not await change(calls, CallFilter(ids=[call.id], account=account.name)):
            raise Problem(CONFLICT, "the call is over")
        return call.kept or Answer(200, _details(await control.details(account.id, call.id)))

    async def test(self, call: Call) -> Answer:
        """Call with an example.  Raises: Problem."""
        body: TestIn = call.body
        made = await _done(self._keeping(call).test(call.caller.account.id, call.id, body.event))
        return call.kept or Answer(201, _details(made))

    async def replay(self, call: Call) -> Answer:
        """Tell of events again.  Raises: Problem."""
        body: ReplayIn = call.body
        control = self._control(call)
        until = body.until.timestamp() if body.until else control.now()
        since = body.since.timestamp()
        if until < since:
            raise Problem(INVALID_FIELD, "is before since", "until")
        wanted = ReplayRange(call.id, body.events or list(ENTRY_EVENTS), since, until, body.cursor)
        given = key_of(call.request)
        key = f"{given} {call.id} {body}" if given is not None else None
        replaying = control.replay(call.caller.account.id, wanted, key)
        done: Replayed = await _done(replaying)
        return Answer(200, ReplayOut(calls=done.calls, next_cursor=done.next_after))

    def _keeping(self, call: Call) -> ReplayControl:
        """What keeps its answer: the call that it makes."""
        control = self._control(call)

        def told(call_id: int, inside: Inside) -> Answer:
            there = evolve(control, records=inside(control.records))
            return Answer(201, _details(settled(there.details(call.caller.account.id, call_id))))

        return evolve(control, records=call.with_answer(control.records, told))

    def _control(self, call: Call) -> ReplayControl:
        return self.control(call.caller.actor("api"))


async def _done(work: Awaitable[Any]) -> Any:
    """What ``work`` comes to.  Raises: Problem."""
    try:
        return await work
    except NoSuch:
        raise Problem(NO_SUCH, "there is nothing of that id") from None
    except Refusal as refusal:
        raise Problem(CONFLICT, str(refusal)) from None


def _fields(call: AccountCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "endpoint_id": call.endpoint_id,
        "event": call.event,
        "entry_id": call.entry_id,
        "message_id": call.message_id,
        "url": call.url,
        "state": call_state(call),
        "queued_at": time_at(call.queued_at),
        "next_attempt_at": None if call.is_over else time_at(call.next_attempt_at),
        "attempt_count": call.attempts,
        "replay_of": call.replay_of,
    }


def _details(found: CallDetails) -> WebhookCallDetails:
    return WebhookCallDetails(
        **_fields(found.call),
        payload=found.payload.decode("utf-8", "replace"),
        attempts=[
            CallAttemptOut(
                at=time_at(a.at),
                seconds=a.seconds,
                is_success=a.is_success,
                code=a.code,
                error=a.error,
                response=a.response,
            )
            for a in found.attempts
        ],
    )
