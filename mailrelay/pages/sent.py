"""What an account sent: lists with filters, each message's timeline, and what may be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.history import AccountHistory, MessageQuery, SentMessage, TimelinePart
from mailrelay.control.queue import Change, EntryFilter, EntryView, QueueControl, state_word
from mailrelay.control.resend import Again, ResendControl, read_recipients
from mailrelay.directory.model import Account
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.timeline import Step, reports_in, steps_of
from mailrelay.pages.times import read_time
from mailrelay.web.request import Response, Route

PAGE = 50
RECIPIENTS = 50
STEPS = 100
"""Of a timeline, on one page: each may have a transcript."""

LONGEST_AHEAD = 366 * 86400.0
"""How far ahead an attempt may be put, in seconds."""

STATES = ("ready", "held", "delivered", "handed_over", "failed", "canceled", "suppressed")

DONE = {
    "sent": "The message is queued. Its copy has no room in the mailbox, or cannot be read.",
    "resent": "The message is queued once more: this is the new one.",
    "hold": "It is held.",
    "release": "It is released.",
    "retry": "It is tried now.",
    "cancel": "It is canceled.",
    "reschedule": "The next attempt is made at another time.",
}

CHANGES: dict[str, Change] = {
    "hold": QueueControl.hold,
    "release": QueueControl.release,
    "retry": QueueControl.retry,
    "cancel": QueueControl.drop,
}

FILTERS = ("recipient", "sender", "subject", "state", "tag", "message_id", "since", "until")

Resend = Callable[[Account, str, Again], Awaitable[int]]
"""Sends again for an account, from that address; the new message's number.  Raises: Refusal."""


@frozen
class SentPages:
    """``/sent``.  ``control`` makes the queue's for whoever is named in the audit."""

    doors: Doors
    history: AccountHistory
    control: Callable[[str], QueueControl]
    resends: ResendControl
    resend: Resend

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/sent", self.list),
            self.doors.account("/sent/{id}", self.message),
            self.doors.account("/sent/entry/{id}", self.entry),
            self.doors.account_form("/sent/{id}", self.change),
            self.doors.account_form("/sent/{id}/resend", self.send_again),
        ]

    async def list(self, asked: Asked) -> Response:
        """Messages that the account submitted, newest first."""
        given = {name: asked.value(name) for name in FILTERS}
        problem, found = "", []
        try:
            wanted = self._query(asked, given)
        except Refusal as refusal:
            problem = str(refusal)
        else:
            found = list(await self.history.summaries(asked.account_id, wanted))
        older = link("/sent", **given, before=found[-1].message.id) if len(found) == PAGE else ""
        return self.doors.page(
            asked,
            "sent_list.html",
            messages=found,
            given=given,
            has_more_filters=any(given[name] for name in FILTERS if name not in MAIN_FILTERS),
            states=STATES,
            older=older,
            done=asked.done(DONE),
            problem=problem,
        )

    def _query(self, asked: Asked, given: dict[str, str]) -> MessageQuery:
        """What is asked for.  Raises: Refusal."""
        now = self.control(asked.actor).now()
        state = given["state"]
        return MessageQuery(
            recipient=given["recipient"] or None,
            sender=given["sender"] or None,
            subject=given["subject"] or None,
            state=state if state in STATES else None,
            message_id=_message_id(given["message_id"]),
            tag=given["tag"] or None,
            since=read_time(given["since"], now),
            until=read_time(given["until"], now),
            before_id=asked.number("before"),
            limit=PAGE,
        )

    async def message(self, asked: Asked) -> Response:
        """One message: where each recipient stands, and what happened, page by page."""
        sent = await self._sent(asked)
        entry_id, recipient = asked.number("entry"), asked.value("recipient").lower()
        fitting = [view for view in sent.entries if _fits(view, entry_id, recipient)]
        after = asked.number("after") or 0
        behind = [view for view in fitting if view.entry.id > after]
        shown = behind[:RECIPIENTS]
        steps, later = await self._steps(asked, entry_id)
        own = f"/sent/{asked.id}"
        return self.doors.page(
            asked,
            "sent_message.html",
            message=sent.message,
            total=len(sent.entries),
            states=summary(sent.entries),
            entries=[(view, state_word(view)) for view in shown],
            entry_id=entry_id,
            living=[state_word(view) for view in fitting if view.outcome is None],
            recipient=recipient,
            more=link(own, recipient=recipient, after=shown[-1].entry.id)
            if len(behind) > len(shown)
            else "",
            steps=steps,
            later=link(own, entry=entry_id, steps=later) if later else "",
            is_later=asked.number("steps") is not None,
            can_resend=await self.resends.contents.find(asked.account_id, asked.id) is not None,
            copy=await self.resends.contents.copy(asked.account_id, asked.id),
            done=asked.done(DONE),
        )

    async def _steps(self, asked: Asked, entry_id: int | None) -> tuple[Sequence[Step], int | None]:
        """A page of the timeline, and behind which event the next one begins."""
        part = TimelinePart(entry_id, asked.number("steps") or 0, STEPS)
        timeline = await self.history.timeline(asked.account_id, asked.id, part)
        if timeline is None:
            raise NoSuch("there is no such message, or its retention is over")
        made = reports_in(timeline)
        reports = await self.resends.contents.reports(asked.account_id, made) if made else {}
        paths = {number: f"/mail/{id_}" for number, id_ in reports.items()}
        return steps_of(timeline, paths), timeline.next_after

    async def entry(self, asked: Asked) -> Response:
        """On to the message of an entry."""
        found = await self.history.entry(asked.account_id, asked.id)
        if found is None:
            raise NoSuch("there is no such message, or its retention is over")
        return see_other(f"/sent/{found.entry.message.id}")

    async def change(self, asked: Asked) -> Response:
        """Hold, release, retry, reschedule or cancel one recipient's entry, or all that wait."""
        sent = await self._sent(asked)
        action = asked.value("action")
        mine = {view.entry.id for view in sent.entries}
        named = asked.number("entry")
        ids = sorted(mine if named is None else mine & {named})
        control = self.control(asked.actor)
        wanted = EntryFilter(ids=ids, account=asked.account.name)
        if action == "reschedule":
            changed = await control.reschedule(wanted, _ahead(asked.value("at"), control.now()))
        elif action in CHANGES:
            changed = await CHANGES[action](control, wanted)
        else:
            raise NoSuch("there is nothing of that name to be done")
        if not changed:
            raise Refusal("nothing was changed: the entry is over, or already as you want it")
        return see_other(link(f"/sent/{asked.id}", entry=asked.number("shown"), done=action))

    async def send_again(self, asked: Asked) -> Response:
        """The message once more, to its recipients or to others."""
        to = read_recipients(asked.value("to"))
        again = await self.resends.again(asked.account_id, asked.id, to)
        id_ = await self.resend(asked.account, asked.request.peer_ip, again)
        return see_other(link(f"/sent/{id_}", done="resent"))

    async def _sent(self, asked: Asked) -> SentMessage:
        """The message of the path.  Raises: NoSuch."""
        sent = await self.history.message(asked.account_id, asked.id)
        if sent is None:
            raise NoSuch("there is no such message, or its retention is over")
        return sent


MAIN_FILTERS = ("recipient", "subject", "state")


def summary(entries: Sequence[EntryView]) -> Sequence[tuple[str, int]]:
    """How many recipients stand where, the most first."""
    return Counter(map(state_word, entries)).most_common()


def _fits(view: EntryView, entry_id: int | None, recipient: str) -> bool:
    if entry_id is not None:
        return view.entry.id == entry_id
    return not recipient or recipient in str(view.entry.told_as).lower()


def _message_id(text: str) -> str | None:
    """As it is stored: with angle brackets."""
    return f"<{text.strip('<>')}>" if text else None


def _ahead(text: str, now: float) -> float:
    """When the next attempt is to be made.  Raises: Refusal."""
    at = read_time(text, now)
    if at is None:
        raise Refusal("say when the next attempt is to be made")
    if at > now + LONGEST_AHEAD:
        raise Refusal("the time is more than a year ahead: choose an earlier one")
    return max(at, 0.0)
