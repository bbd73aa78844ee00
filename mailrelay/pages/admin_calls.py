"""Webhook calls of all accounts, as the administrator sees and changes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.calls import CallControl, CallFilter, call_word
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.payloads import payload_text
from mailrelay.web.request import Response, Route

PATH = "/admin/calls"
PAGE = 100
MOST_PAYLOAD = 200_000
"""Bytes that are read, and characters that are shown."""


CHANGES: Mapping[str, Callable[[CallControl, CallFilter], Awaitable[Sequence[int]]]] = {
    "retry": CallControl.retry,
    "cancel": CallControl.cancel,
}
WHAT: Mapping[str, str] = {"retry": "made now", "cancel": "canceled"}


@frozen
class AdminCallPages:
    """``/admin/calls``.  ``control`` makes the calls' for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], CallControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(PATH, self.list),
            self.doors.admin_form(PATH, self.change),
            self.doors.admin(f"{PATH}/{{id}}", self.one),
        ]

    async def list(self, asked: Asked) -> Response:
        """Calls that are to be made, or that are over, by id."""
        wanted, query = _filter(asked)
        found = await self.control(asked.actor).find(wanted)
        more = link(PATH, **query, after=found[-1].id) if len(found) == PAGE else ""
        changed = asked.number("changed")
        what = WHAT.get(asked.value("what"), "")
        return self.doors.page(
            asked,
            "admin_calls.html",
            done=_said(changed, what) if changed is not None and what else "",
            calls=[(view, call_word(view)) for view in found],
            query=query,
            is_narrowed=wanted.names_something,
            more=more,
        )

    async def one(self, asked: Asked) -> Response:
        """A call: what it says, and how each attempt went."""
        found = await self.control(asked.actor).history(asked.id)
        return self.doors.page(
            asked,
            "admin_call.html",
            view=found.view,
            word=call_word(found.view),
            payload=payload_text(found.payload, MOST_PAYLOAD)[:MOST_PAYLOAD],
            attempts=found.attempts,
        )

    async def change(self, asked: Asked) -> Response:
        """Make those that are chosen now, or never; or all that fit the filter."""
        name = asked.value("action")
        if name not in CHANGES:
            raise NoSuch("that is nothing that can be done with a call")
        wanted, query = _filter(asked)
        if asked.value("all") != "1":
            if not asked.ids:
                raise Refusal("no call is chosen")
            wanted = CallFilter(ids=asked.ids)
        elif not wanted.names_something:
            raise Refusal("say which calls: a filter is needed to change all that fit it")
        changed = await CHANGES[name](self.control(asked.actor), wanted)
        return see_other(link(PATH, **query, changed=str(len(changed)), what=name))


def _said(changed: int, what: str) -> str:
    return f"1 call is {what}." if changed == 1 else f"{changed} calls are {what}."


def _filter(asked: Asked) -> tuple[CallFilter, dict[str, str]]:
    """What the query, or the form, asks for, and it as a query."""
    query = {name: asked.value(name)[:255] for name in ("account", "event")}
    query["state"] = "retired" if asked.value("state") == "retired" else ""
    wanted = CallFilter(
        account=query["account"] or None,
        event=query["event"] or None,
        retired=query["state"] == "retired",
        limit=PAGE,
        after_id=asked.number("after") or 0,
    )
    return wanted, query
