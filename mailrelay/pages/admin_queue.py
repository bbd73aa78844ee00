"""The queue, as the administrator sees and changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from attrs import evolve, frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.explain import ExplainControl
from mailrelay.control.history import Timeline
from mailrelay.control.queue import EntryFilter, EntryView, Looked, QueueControl, state_word
from mailrelay.control.queue_works import QueueChange, QueueWorkControl
from mailrelay.control.routes import way_text
from mailrelay.control.transports import TransportControl
from mailrelay.control.works import CHANGED, Work, WorkControl, WorkResult
from mailrelay.pages.admin_works import DONE, OUTCOMES
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.timeline import steps_of
from mailrelay.web.request import Response, Route

PAGE = 100
LOOK, LOOK_AT_ALL, LOOK_DEEP = 20_000, 100_000, 5_000
"""Entries that a page looks at; of held ones, and where their messages are looked at, fewer."""

OTHERS = 50
"""Other entries of a message that are listed."""

LIST = "/admin/queue"
TEXTS = ("account", "sender", "recipient", "domain", "subject", "message_id", "transport")
_OF_MESSAGES = ("sender", "subject", "message_id")
STATES: Mapping[str, dict[str, Any]] = {
    "": {},
    "held": {"held": True},
    "ready": {"held": False},
    "retired": {"retired": True},
    **{
        outcome: {"retired": True, "outcome": outcome}
        for outcome in ("delivered", "handed_over", "failed", "suppressed", "canceled")
    },
}
HOUR, DAY = 3600.0, 86400.0
AGES: Mapping[str, tuple[str, dict[str, float]]] = {
    "": ("Any age", {}),
    "1h": ("Of the last hour", {"newer_than": HOUR}),
    "1d": ("Of the last day", {"newer_than": DAY}),
    "over-1h": ("Older than an hour", {"older_than": HOUR}),
    "over-6h": ("Older than 6 hours", {"older_than": 6 * HOUR}),
    "over-1d": ("Older than a day", {"older_than": DAY}),
    "over-3d": ("Older than 3 days", {"older_than": 3 * DAY}),
}


@frozen
class QueueAsked:
    """What pages ask, for whoever is named in the audit."""

    queue: QueueControl
    transports: TransportControl
    works: WorkControl
    changes: QueueWorkControl


@frozen
class QueuePages:
    """``/admin/queue``.  ``control`` is for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], QueueAsked]
    explain: ExplainControl

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin("/admin", self.home),
            self.doors.admin(LIST, self.list),
            self.doors.admin_form(LIST, self.change),
            self.doors.admin(f"{LIST}/{{id}}", self.entry),
        ]

    async def home(self, asked: Asked) -> Response:
        """The queue is what an administrator looks at first."""
        return see_other(LIST)

    async def list(self, asked: Asked) -> Response:
        """Entries that wait, or are retired, by id; a bounded part of them is looked at."""
        control = self.control(asked.actor)
        query = _query(asked)
        wanted = _filter(query)
        is_narrowed = any(value for name, value in query.items() if name != "sort")
        walk = _Walk.of(asked, is_newest_first=query["sort"] == "newest")
        is_deep = wanted.held or any(query[name] for name in _OF_MESSAGES)
        most = LOOK_DEEP if is_deep else LOOK if is_narrowed else LOOK_AT_ALL
        found = await control.queue.records.look(
            walk.bounded(wanted),
            control.queue.now(),
            most,
            backwards=walk.goes_down,
            counts=walk.anchor is None,
        )
        views = walk.shown(found.views)
        return self.doors.page(
            asked,
            "admin_queue.html",
            entries=[(view, state_word(view)) for view in views],
            query=query,
            states=STATES,
            ages=AGES,
            is_narrowed=is_narrowed,
            has_more_filters=any(query[name] for name in (*TEXTS[4:], "age", "entry", "sort")),
            can_change=not wanted.retired,
            found=found,
            looked_at=most,
            is_first=walk.anchor is None,
            links=walk.links(query, found, views),
            transports=control.transports.names(),
            made=await self._made(asked, control),
        )

    async def _made(self, asked: Asked, control: QueueAsked) -> _Made | None:
        """What the form that was just sent has changed."""
        id_ = asked.number("work")
        if id_ is None:
            return None
        work = await control.works.get(id_)
        results = await control.works.results(id_, limit=PAGE)
        return _Made(work, [one for one in results if one.outcome != CHANGED])

    async def entry(self, asked: Asked) -> Response:
        """One entry, where it goes, and everything that happened to it."""
        control = self.control(asked.actor)
        history = await control.queue.history(asked.id)
        view = history.view
        of_message = EntryFilter(messages=[view.entry.message.id], limit=OTHERS)
        living = await control.queue.find(of_message)
        retired = await control.queue.find(evolve(of_message, retired=True))
        others = [one for one in (*living, *retired) if one.entry.id != view.entry.id]
        goes = None
        if not view.outcome:
            goes = self.explain.routes.of_entry(view.entry, view.account).decision
        return self.doors.page(
            asked,
            "admin_entry.html",
            view=view,
            word=state_word(view),
            steps=steps_of(Timeline(history.events, [])),
            others=[(one, state_word(one)) for one in others],
            goes=goes,
            way=way_text(goes.destination.way) if goes is not None else "",
            destination=quote(goes.destination.key, safe="") if goes is not None else "",
            is_missing=control.transports.is_missing(view.entry),
            transports=control.transports.names(),
            made=await self._made(asked, control),
        )

    async def change(self, asked: Asked) -> Response:
        """Change what is chosen, at once, or all that fits, by a work."""
        changes = self.control(asked.actor).changes
        query = _query(asked)
        action = asked.value("action")
        transport = asked.value("by")[:100] or None if action == "send_by" else None
        if asked.value("all") == "1":
            work = await changes.all_that_fit(QueueChange(action, _filter(query), transport))
            return see_other(f"/admin/works/{work.id}")
        wanted = EntryFilter(ids=sorted(set(asked.ids)))
        work = await changes.chosen(QueueChange(action, wanted, transport))
        back = f"{LIST}/{asked.ids[0]}" if asked.value("back") == "entry" else LIST
        given = {} if back != LIST else query
        return see_other(link(back, **given, work=str(work.id)))


@frozen
class _Made:
    """What a form has changed, and what it has not."""

    work: Work
    unchanged: Sequence[WorkResult]

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        changed = self.work.changed
        if not changed:
            return "No entry was changed."
        entries = "1 entry is" if changed == 1 else f"{changed} entries are"
        return f"{entries} {DONE[self.work.kind]}."

    def why(self, outcome: str) -> str:
        """What an outcome means."""
        return OUTCOMES.get(outcome, outcome)


@frozen
class _Walk:
    """From which entry on, and which way, a page looks.  ``anchor`` is shown on another page."""

    is_newest_first: bool
    anchor: int | None = None
    is_back: bool = False

    @classmethod
    def of(cls, asked: Asked, *, is_newest_first: bool) -> _Walk:
        """What the query says."""
        before = asked.number("before")
        if before is not None:
            return cls(is_newest_first, before, is_back=True)
        return cls(is_newest_first, asked.number("after"))

    @property
    def goes_down(self) -> bool:
        """Whether the ids fall."""
        return self.is_newest_first != self.is_back

    def bounded(self, wanted: EntryFilter) -> EntryFilter:
        """What fits, behind the anchor."""
        if self.anchor is None:
            return wanted
        if self.goes_down:
            return evolve(wanted, before_id=self.anchor)
        return evolve(wanted, after_id=self.anchor)

    def shown(self, views: Sequence[EntryView]) -> Sequence[EntryView]:
        """Those of the page, in its order."""
        own = views[:PAGE]
        return own[::-1] if self.is_back else own

    def links(
        self, query: Mapping[str, str], found: Looked, views: Sequence[EntryView]
    ) -> Mapping[str, str]:
        """To what comes before and after; ``further`` to where nothing was looked at yet."""
        links = {"previous": "", "next": "", "further": ""}
        ahead, behind = ("before", "after") if self.is_back else ("after", "before")
        names = {"after": "next", "before": "previous"}
        if len(found.views) > PAGE:
            edge = views[0] if self.is_back else views[-1]
            links[names[ahead]] = link(LIST, **query, **{ahead: str(edge.entry.id)})
        elif not found.is_end:
            links["further"] = link(LIST, **query, **{ahead: str(found.to_id)})
        if self.anchor is not None:
            edge_id = (views[-1] if self.is_back else views[0]).entry.id if views else self.anchor
            links[names[behind]] = link(LIST, **query, **{behind: str(edge_id)})
        return links


def _query(asked: Asked) -> dict[str, str]:
    """The filters of the query, or the form, each bounded and one of those that there are.

    Raises: Refusal.
    """
    query = {name: asked.value(name)[:400] for name in TEXTS}
    for name, value in query.items():
        if not value.isprintable():
            raise Refusal(f"the {name.replace('_', ' ')} has control characters")
    for name, known in (("state", STATES), ("age", AGES), ("sort", ("", "newest"))):
        given = asked.value(name)
        query[name] = given if given in known else ""
    id_ = asked.number("entry")
    query["entry"] = str(id_) if id_ is not None else ""
    return query


def _filter(query: Mapping[str, str]) -> EntryFilter:
    given: dict[str, Any] = {name: query[name] or None for name in TEXTS}
    given |= STATES[query["state"]] | AGES[query["age"]][1]
    ids = [int(query["entry"])] if query["entry"] else None
    return EntryFilter(ids=ids, limit=PAGE + 1, **given)  # one more: there is a next page
