"""What of its own mail an account holds back: rules, and what each holds now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.holds import NULL_SENDER, AccountHolds, HoldControl
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.web.request import Response, Route

NULL_AS_WRITTEN = "<>"

DONE: Mapping[str, str] = {
    "added": "The rule is added. What fits it is held from now on, and what waited is held now.",
    "removed": "The rule is removed. What it held is held still, until you release it.",
    "released": "The rule is removed, and what it held is attempted again.",
}


@frozen
class HoldPages:
    """``/holds``.  ``control`` makes the rules' for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], HoldControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/holds", self.list),
            self.doors.account_form("/holds", self.add),
            self.doors.account_form("/holds/{id}/remove", self.remove),
        ]

    async def list(self, asked: Asked) -> Response:
        """The rules, and a form for one more."""
        return await self._page(asked)

    async def add(self, asked: Asked) -> Response:
        """One more."""
        sender, recipient = asked.value("sender"), asked.value("recipient")
        wanted = NULL_SENDER if sender == NULL_AS_WRITTEN else sender or None
        try:
            await self._of(asked).add(wanted, recipient or None)
        except NoSuch:
            raise
        except Refusal as refusal:
            return await self._page(asked, str(refusal), 422)
        return see_other("/holds?done=added")

    async def remove(self, asked: Asked) -> Response:
        """One less; what it held is released when that is asked for."""
        releases = asked.value("action") == "release"
        await self._of(asked).remove(asked.id, releases=releases)
        return see_other(f"/holds?done={'released' if releases else 'removed'}")

    async def _page(self, asked: Asked, problem: str = "", status: int = 200) -> Response:
        return self.doors.page(
            asked,
            "holds.html",
            status,
            done=asked.done(DONE),
            problem=problem,
            rules=await self._of(asked).rules(),
            sender=asked.value("sender") if problem else "",
            recipient=asked.value("recipient") if problem else "",
            null=NULL_AS_WRITTEN,
        )

    def _of(self, asked: Asked) -> AccountHolds:
        return AccountHolds(self.control(asked.actor), asked.account)
