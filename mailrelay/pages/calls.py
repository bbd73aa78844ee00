"""The account's webhook calls: what became of each, and having it made, or made again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.calls import CANCELED, CallControl, CallFilter
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.replay import CallDetails, CallQuery, ReplayControl, call_state
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.payloads import payload_text
from mailrelay.web.request import Response, Route
from mailrelay.webhooks.endpoint import EVENTS

PAGE = 50
STATES = ("waiting", "failed", "taken", "canceled", "superseded")
MOST_SHOWN = 64 * 1024
"""Bytes of what a call says, on its page."""

DONE: Mapping[str, str] = {
    "retry": "The call is made now.",
    "cancel": "The call is canceled.",
    "again": "This is the new call; it is made now.",
}


@frozen
class CallPages:
    """``/calls``.  The controls are for whoever is named in the audit."""

    doors: Doors
    endpoints: Callable[[str], EndpointControl]
    calls: Callable[[str], CallControl]
    replays: Callable[[str], ReplayControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/calls", self.list),
            self.doors.account("/calls/{id}", self.show),
            self.doors.account("/calls/{id}/payload", self.payload),
            self.doors.account_form("/calls/{id}", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Calls, newest first, narrowed by endpoint, state and event."""
        endpoint, before = asked.number("endpoint"), asked.number("before")
        state, event = asked.value("state"), asked.value("event")
        wanted = CallQuery(
            endpoint_id=endpoint,
            state=state if state in STATES else None,
            event=event if event in EVENTS else None,
            before_id=before,
            limit=PAGE + 1,
        )
        found = await self.replays(asked.actor).find(asked.account_id, wanted)
        older = ""
        if len(found) > PAGE:
            query = {"endpoint": endpoint, "state": state, "event": event}
            older = link("/calls", **query, before=found[PAGE - 1].id)
        names = await self._names(asked)
        return self.doors.page(
            asked,
            "calls.html",
            calls=[(call, call_state(call)) for call in found[:PAGE]],
            names=names,
            endpoint=endpoint,
            state=state,
            states=STATES,
            event=event,
            events=EVENTS,
            older=older,
        )

    async def show(self, asked: Asked) -> Response:
        """One call: where it stands, what it says, and how each attempt went."""
        found = await self._call(asked)
        return self.doors.page(
            asked,
            "call.html",
            call=found.call,
            state=call_state(found.call),
            attempts=found.attempts,
            payload=payload_text(found.payload, MOST_SHOWN),
            size=len(found.payload),
            canceled=CANCELED,
            is_cut=len(found.payload) > MOST_SHOWN,
            to=(await self._names(asked)).get(found.call.endpoint_id or 0, ""),
            done=asked.done(DONE),
        )

    async def payload(self, asked: Asked) -> Response:
        """What a call says, as a file."""
        found = await self._call(asked)
        headers = {"Content-Disposition": f'attachment; filename="call-{asked.id}.json"'}
        return Response(
            200,
            _blocks(found.payload),
            headers,
            content_type="application/json",
            length=len(found.payload),
        )

    async def change(self, asked: Asked) -> Response:
        """Make a waiting call now, or never; make one again that is over."""
        action = asked.value("action")
        if action == "again":
            try:
                made = await self.replays(asked.actor).again(asked.account_id, asked.id)
            except NoSuch:
                raise _no_such() from None
            return see_other(f"/calls/{made.call.id}?done=again")
        control = self.calls(asked.actor)
        work = {"retry": control.retry, "cancel": control.cancel}.get(action)
        if work is None:
            raise NoSuch("there is nothing of that name to be done")
        await self._call(asked)
        if not await work(CallFilter(ids=[asked.id], account=asked.account.name)):
            raise Refusal("nothing was changed: the call is over")
        return see_other(f"/calls/{asked.id}?done={action}")

    async def _call(self, asked: Asked) -> CallDetails:
        try:
            return await self.replays(asked.actor).details(asked.account_id, asked.id)
        except NoSuch:
            raise _no_such() from None

    async def _names(self, asked: Asked) -> Mapping[int, str]:
        found = await self.endpoints(asked.actor).listed(asked.account.name)
        return {one.endpoint.id: one.endpoint.name for one in found}


async def _blocks(payload: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(payload), MOST_SHOWN):
        yield payload[at : at + MOST_SHOWN]


def _no_such() -> NoSuch:
    return NoSuch("there is no such call, or its retention is over")
