"""What an account sent: lists with filters, each message's timeline, and what may be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.history import AccountHistory, MessageQuery
from mailrelay.control.queue import Change, EntryFilter, QueueControl, state_word
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.timeline import steps_of
from mailrelay.web.request import Response, Route

PAGE = 50
STATES = ("ready", "held", "delivered", "handed_over", "failed", "canceled", "suppressed")

DONE = {"sent": "The message is queued. Its copy has no room in the mailbox, or cannot be read."}

CHANGES: dict[str, Change] = {
    "hold": QueueControl.hold,
    "release": QueueControl.release,
    "retry": QueueControl.retry,
    "cancel": QueueControl.drop,
}


@frozen
class SentPages:
    """``/sent``.  ``control`` makes the queue's for whoever is named in the audit."""

    doors: Doors
    history: AccountHistory
    control: Callable[[str], QueueControl]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/sent", self.list),
            self.doors.account("/sent/{id}", self.message),
            self.doors.account("/sent/entry/{id}", self.entry),
            self.doors.account_form("/sent/{id}", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Messages that the account submitted, newest first."""
        recipient, state, tag = (asked.value(name) for name in ("recipient", "state", "tag"))
        wanted = MessageQuery(
            recipient=recipient or None,
            state=state if state in STATES else None,
            tag=tag or None,
            before_id=asked.number("before"),
            limit=PAGE,
        )
        found = await self.history.messages(asked.account_id, wanted)
        older = (
            link("/sent", recipient=recipient, state=state, tag=tag, before=found[-1].message.id)
            if len(found) == PAGE
            else ""
        )
        return self.doors.page(
            asked,
            "sent_list.html",
            messages=found,
            word=state_word,
            recipient=recipient,
            state_wanted=state,
            states=STATES,
            tag=tag,
            older=older,
            done=asked.done(DONE),
        )

    async def message(self, asked: Asked) -> Response:
        """One message: where each recipient stands, and everything that happened."""
        sent = await self.history.message(asked.account_id, asked.id)
        timeline = await self.history.timeline(asked.account_id, asked.id)
        if sent is None or timeline is None:
            raise NoSuch("there is no such message, or its retention is over")
        return self.doors.page(
            asked,
            "sent_message.html",
            message=sent.message,
            entries=[(view, state_word(view)) for view in sent.entries],
            steps=steps_of(timeline),
        )

    async def entry(self, asked: Asked) -> Response:
        """On to the message of an entry."""
        found = await self.history.entry(asked.account_id, asked.id)
        if found is None:
            raise NoSuch("there is no such message, or its retention is over")
        return see_other(f"/sent/{found.entry.message.id}")

    async def change(self, asked: Asked) -> Response:
        """Hold, release, retry or cancel one recipient's entry, or all that wait."""
        sent = await self.history.message(asked.account_id, asked.id)
        change = CHANGES.get(asked.value("action"))
        if sent is None or change is None:
            raise NoSuch("there is no such message, or nothing of that name to be done")
        mine = {view.entry.id for view in sent.entries}
        named = asked.number("entry")
        ids = sorted(mine if named is None else mine & {named})
        account = asked.account.name
        wanted = EntryFilter(ids=ids, account=account)
        if not await change(self.control(f"page of {account}"), wanted):
            raise Refusal("nothing was changed: the entry is over, or already as you want it")
        return see_other(f"/sent/{asked.id}")
