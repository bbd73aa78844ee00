"""Hold rules of the whole server, as the administrator sees and changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.holds import NULL_SENDER, HoldControl
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.holds import NULL_AS_WRITTEN
from mailrelay.web.request import Response, Route

PATH = "/admin/holds"

DONE: Mapping[str, str] = {
    "added": "The rule is added. What fits it is held from now on, and what waited is held now.",
    "removed": "The rule is removed. What it held is held still: release it in the queue.",
}


@frozen
class HoldRulePages:
    """``/admin/holds``.  ``control`` makes the rules' for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], HoldControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.admin(PATH, self.list),
            self.doors.admin_form(PATH, self.add),
            self.doors.admin_form(f"{PATH}/{{id}}/remove", self.remove),
        ]

    async def list(self, asked: Asked) -> Response:
        """The rules, and a form for one more."""
        return await self._page(asked)

    async def add(self, asked: Asked) -> Response:
        """One more: for an account, a sender, a recipient, or everything."""
        sender = asked.value("sender")
        try:
            await self.control(asked.actor).add(
                asked.value("account") or None,
                NULL_SENDER if sender == NULL_AS_WRITTEN else sender or None,
                asked.value("recipient") or None,
            )
        except Refusal as refusal:
            return await self._page(asked, str(refusal), 422)
        return see_other(f"{PATH}?done=added")

    async def remove(self, asked: Asked) -> Response:
        """One less."""
        await self.control(asked.actor).remove(asked.id)
        return see_other(f"{PATH}?done=removed")

    async def _page(self, asked: Asked, problem: str = "", status: int = 200) -> Response:
        typed = ("account", "sender", "recipient")
        return self.doors.page(
            asked,
            "admin_holds.html",
            status,
            done=asked.done(DONE),
            problem=problem,
            rules=await self.control(asked.actor).rules(),
            typed={name: asked.value(name) if problem else "" for name in typed},
            null=NULL_AS_WRITTEN,
        )
