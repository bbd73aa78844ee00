"""Works, as the administrator sees and stops them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.queue_works import CLAIMED, GONE, HELD, NOT_HELD, what_of
from mailrelay.control.works import CHANGED, Work, WorkControl, WorkState
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.web.request import Response, Route

PAGE = 100
CSV_PAGE = 2000
LIST = "/admin/works"

DONE: Mapping[str, str] = {
    "queue hold": "held",
    "queue release": "released",
    "queue retry": "to be tried now",
    "queue fail": "ended as failed, with reports to their senders",
    "queue drop": "dropped, without a report",
    "queue send_by": "to go by another way",
}
"""What the entries are that a work has changed, by its kind."""

OUTCOMES: Mapping[str, str] = {
    CHANGED: "changed",
    GONE: "not there any more: delivered, failed or dropped meanwhile",
    HELD: "held: release it first",
    NOT_HELD: "not held",
    CLAIMED: "being sent at this moment",
}
"""What became of an entry, in words."""

SENTENCES = {"stopped": "The work is stopped; what it did stays.", "ended": "It had ended before."}


@frozen
class WorkPages:
    """``/admin/works``.  ``control`` is for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], WorkControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(LIST, self.list),
            self.doors.admin(f"{LIST}/{{id}}", self.show),
            self.doors.admin(f"{LIST}/{{id}}/results.csv", self.download),
            self.doors.admin_form(f"{LIST}/{{id}}/stop", self.stop),
        ]

    async def list(self, asked: Asked) -> Response:
        """Works, newest first."""
        found = await self.control(asked.actor).find(PAGE, asked.number("before"))
        return self.doors.page(
            asked,
            "admin_works.html",
            works=[(work, what_of(work)) for work in found],
            is_running=any(work.state is WorkState.RUNNING for work in found),
            more=link(LIST, before=str(found[-1].id)) if len(found) == PAGE else "",
        )

    async def show(self, asked: Asked) -> Response:
        """How far a work is, and what became of each entry."""
        control, outcome = self.control(asked.actor), asked.value("outcome")
        outcome = outcome if outcome in OUTCOMES else ""
        work = await control.get(asked.id)
        after = asked.number("after") or 0
        results = await control.results(work.id, PAGE, after, outcome or None)
        path = f"{LIST}/{work.id}"
        last = str(results[-1].subject_id) if results else ""
        return self.doors.page(
            asked,
            "admin_work.html",
            done=asked.done(SENTENCES),
            work=work,
            what=what_of(work),
            percent=_percent(work),
            others=await control.outcomes(work.id) if work.changed < work.done else {},
            results=results,
            outcome=outcome,
            words=OUTCOMES,
            path=path,
            more=link(path, outcome=outcome, after=last) if len(results) == PAGE else "",
        )

    async def download(self, asked: Asked) -> Response:
        """What became of each entry, as CSV."""
        control = self.control(asked.actor)
        work = await control.get(asked.id)
        name = f'attachment; filename="work-{work.id}.csv"'
        return Response(
            200,
            _csv(control, work.id),
            {"Content-Disposition": name},
            content_type="text/csv; charset=utf-8",
        )

    async def stop(self, asked: Asked) -> Response:
        """End it before its time."""
        was_running = await self.control(asked.actor).stop(asked.id)
        done = "stopped" if was_running else "ended"
        return see_other(link(f"{LIST}/{asked.id}", done=done))


def _percent(work: Work) -> int | None:
    """How far it is; None when that is not known yet."""
    if work.state is WorkState.DONE:
        return 100
    return min(99, 100 * work.done // work.total) if work.total else None


async def _csv(control: WorkControl, id_: int) -> AsyncIterator[bytes]:
    """Numbers and our own words: nothing in it needs quotes."""
    yield b"entry,outcome\r\n"
    after = 0
    while results := await control.results(id_, CSV_PAGE, after):
        yield "".join(f"{one.subject_id},{one.outcome}\r\n" for one in results).encode()
        after = results[-1].subject_id
