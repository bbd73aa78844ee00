"""The queue, as the administrator sees and changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.history import Timeline
from mailrelay.control.queue import Change, EntryFilter, QueueControl, state_word
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.timeline import steps_of
from mailrelay.web.request import Response, Route

PAGE = 100
ACTOR = "page of the administrator"

CHANGES: dict[str, tuple[str, Change]] = {
    "hold": ("held", QueueControl.hold),
    "release": ("released", QueueControl.release),
    "retry": ("to be tried now", QueueControl.retry),
    "fail": ("ended as failed, with reports to their senders", QueueControl.fail),
    "drop": ("dropped, without a report", QueueControl.drop),
}
_TEXTS = ("account", "sender", "recipient", "domain")
_STATES = {"": None, "held": True, "ready": False}


@frozen
class QueuePages:
    """``/admin/queue``.  ``control`` makes the queue's for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], QueueControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin("/admin", self.home),
            self.doors.admin("/admin/queue", self.list),
            self.doors.admin_form("/admin/queue", self.change),
            self.doors.admin("/admin/queue/{id}", self.entry),
        ]

    async def home(self, asked: Asked) -> Response:
        """The queue is what an administrator looks at first."""
        return see_other("/admin/queue")

    async def list(self, asked: Asked) -> Response:
        """Entries that wait, or are retired, by id."""
        wanted, query = _filter(asked)
        found = await self.control(ACTOR).find(wanted)
        more = link("/admin/queue", **query, after=found[-1].entry.id) if found else ""
        return self.doors.page(
            asked,
            "admin_queue.html",
            entries=[(view, state_word(view)) for view in found],
            query=query,
            is_narrowed=any(query.values()),
            more=more if len(found) == PAGE else "",
            changed=asked.value("changed"),
            what=CHANGES.get(asked.value("what"), ("", None))[0],
        )

    async def entry(self, asked: Asked) -> Response:
        """One entry, and everything that happened to its message that concerns it."""
        history = await self.control(ACTOR).history(asked.id)
        return self.doors.page(
            asked,
            "admin_entry.html",
            view=history.view,
            word=state_word(history.view),
            steps=steps_of(Timeline(history.events, [])),
        )

    async def change(self, asked: Asked) -> Response:
        """Change the entries that are named, or all that fit; how many is told."""
        name = asked.value("action")
        if name not in CHANGES:
            raise NoSuch("that is nothing that can be done with an entry")
        wanted, query = _filter(asked)
        if asked.value("all") != "1":
            if not asked.ids:
                raise Refusal("no entry is chosen")
            wanted = EntryFilter(ids=asked.ids)
        elif not wanted.names_something:
            raise Refusal("say which entries: a filter is needed to change all that fit it")
        changed = await CHANGES[name][1](self.control(ACTOR), evolve(wanted, after_id=0))
        return see_other(link("/admin/queue", **query, changed=str(len(changed)), what=name))


def _filter(asked: Asked) -> tuple[EntryFilter, dict[str, str]]:
    """What the query, or the form, asks for, and it as a query."""
    query = {name: asked.value(name)[:400] for name in _TEXTS}
    query["state"] = asked.value("state")
    retired = query["state"] == "retired"
    wanted = EntryFilter(
        account=query["account"] or None,
        sender=query["sender"] or None,
        recipient=query["recipient"] or None,
        domain=query["domain"] or None,
        held=None if retired else _STATES.get(query["state"]),
        retired=retired,
        limit=PAGE,
        after_id=asked.number("after") or 0,
    )
    return wanted, query
