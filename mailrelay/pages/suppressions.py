"""Whom the account does not send to: the list, why each is on it, one more, one less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.suppression import SuppressionControl, SuppressionFilter, Why
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.fields import Trouble, time_of, trouble_of
from mailrelay.policy.suppression import Cause, Listed, Suppressed
from mailrelay.web.request import Response, Route

PAGE = 50
MOST_SEARCHED = 400
"""Characters of an address that is searched."""
CAUSES = tuple(cause.value for cause in Cause)

DONE: Mapping[str, str] = {
    "added": "The address is on the list: nothing more is sent to it.",
    "removed": "The address is off the list: it is sent to again.",
}

FIELDS = ("address", "reason", "expires_at")


@frozen
class SuppressionPages:
    """``/suppressions``.  ``control`` is for whoever is named in the audit.

    The next message finds ``in_memory`` changed.
    """

    doors: Doors
    control: Callable[[str], SuppressionControl]
    in_memory: Suppressed

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/suppressions", self.list),
            self.doors.account_form("/suppressions", self.add),
            self.doors.account("/suppressions/why", self.why),
            self.doors.account_form("/suppressions/remove", self.remove),
        ]

    async def list(self, asked: Asked) -> Response:
        """A page of the account's own list, by age."""
        return await self._list(asked, {})

    async def add(self, asked: Asked) -> Response:
        """Put an address, or a whole domain, on it."""
        typed = {name: asked.value(name) for name in FIELDS}
        account = asked.account
        try:
            expires_at = time_of("expires_at", typed["expires_at"])
            base = await self.control(asked.actor).add(
                account.name, typed["address"], typed["reason"], expires_at=expires_at
            )
        except AlreadyThere:
            trouble = Trouble("add", "The address is on the list already.", "address")
            return await self._list(asked, typed, trouble)
        except Refusal as error:
            return await self._list(asked, typed, trouble_of("add", error))
        self.in_memory.add(Listed(account.id, base, expires_at))
        return see_other("/suppressions?done=added")

    async def remove(self, asked: Asked) -> Response:
        """Send to an address again."""
        try:
            base = await self.control(asked.actor).remove(
                asked.account.name, asked.value("address")
            )
        except NoSuch:
            raise NoSuch("the address is not on your list; it may be off it already") from None
        self.in_memory.remove(asked.account_id, base)
        return see_other("/suppressions?done=removed")

    async def why(self, asked: Asked) -> Response:
        """Whether mail to an address is sent, and everything that stands against it."""
        address = asked.value("address")
        found: Why | None = None
        trouble: Trouble | None = None
        try:
            if address:
                found = await self.control(asked.actor).why(asked.account.name, address)
        except Refusal as error:
            trouble = trouble_of("why", error)
        return self.doors.page(
            asked,
            "suppression_why.html",
            200 if trouble is None else 422,
            address=address,
            found=found,
            trouble=trouble,
        )

    async def _list(
        self, asked: Asked, typed: Mapping[str, str], trouble: Trouble | None = None
    ) -> Response:
        is_form = trouble is not None
        text, cause = (
            ("", "") if is_form else (asked.value("search")[:MOST_SEARCHED], asked.value("cause"))
        )
        wanted = SuppressionFilter(
            asked.account.name,
            PAGE + 1,
            0 if is_form else asked.number("after") or 0,
            cause=Cause(cause) if cause in CAUSES else None,
            text=text or None,
        )
        found = await self.control(asked.actor).find(wanted)
        page, more = found[:PAGE], ""
        if len(found) > PAGE:
            last = page[-1].suppression.id
            more = link("/suppressions", search=text, cause=cause, after=last)
        return self.doors.page(
            asked,
            "suppressions.html",
            422 if is_form else 200,
            suppressions=page,
            more=more,
            search=text,
            cause=cause,
            causes=CAUSES,
            typed={name: typed.get(name, "") for name in FIELDS},
            trouble=trouble,
            done="" if is_form else asked.done(DONE),
        )
