"""The viewer: an account's messages as they arrive, found, marked, moved and deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Directory
from mailrelay.mailbox.access import (
    AccountMessages,
    AlreadyInMailbox,
    MailboxQuery,
    NoSuchMailbox,
)
from mailrelay.mailbox.flags import in_order
from mailrelay.mailbox.searching import MailSearch
from mailrelay.pages.arrivals import newest_id
from mailrelay.pages.door import Asked, Doors, link, own_path, see_other
from mailrelay.pages.search import HELP, Search, read_search
from mailrelay.pages.trying import SUBJECT, TEXT, tried_addresses
from mailrelay.web.request import Response, Route

PAGE = 50
SEEN, FLAGGED = "\\seen", "\\flagged"

STEP = 50
"""Messages that are changed in one transaction."""

MOST_CHANGED = 2000
"""Messages that are looked at for one form."""

READ_ALL, DELETE_ALL = ALL = ("all-read", "all-delete")

DONE = {
    "read": "What was chosen is marked as read.",
    "unread": "What was chosen is marked as unread.",
    "flag": "What was chosen is flagged.",
    "unflag": "What was chosen is flagged no more.",
    "move": "What was chosen is moved.",
    "delete": "What was chosen is deleted.",
    "tried": "The test message is on its way: it is here when it has arrived.",
    "all-read": "All of them are read.",
    "all-delete": "All of them are deleted.",
    "some-of-all-read": "Many are read, and there are more: repeat it to go on.",
    "some-of-all-delete": "Many are deleted, and there are more: repeat it to go on.",
}


@frozen
class MailPages:
    """``/`` and ``/mail``."""

    doors: Doors
    store: AccountMessages
    search: MailSearch
    directory: Callable[[], Directory]
    simulates: bool

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.account("/", self.list),
            doors.account_form("/mail", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Messages of a mailbox, or of all, newest first."""
        # Asked before them: one that comes meanwhile is told of.
        newest = await newest_id(self.store, asked.account_id)
        mailbox, typed = asked.value("mailbox"), asked.value("q")
        search = self._search(asked, before_id=asked.number("before"), limit=PAGE)
        found = await self.search.find(asked.account_id, search.wanted, search.within)
        before = found.before_id
        return self.doors.page(
            asked,
            "mail_list.html",
            mailboxes=await self.store.mailboxes(asked.account_id),
            mailbox=mailbox,
            search=typed,
            help=HELP,
            problem=search.problem,
            messages=[(one, set(one.flags)) for one in found.messages],
            unread=await self.store.unread(asked.account_id, mailbox or None),
            is_first=asked.number("before") is None,
            older=link("/", mailbox=mailbox, q=typed, before=before) if before else "",
            here=link("/", mailbox=mailbox, q=typed),
            newest=newest,
            done=asked.done(DONE),
            sender=next(iter(self.directory().senders_of(asked.account)), ""),
            tried=tried_addresses(simulates=self.simulates),
            test_subject=SUBJECT,
            test_text=TEXT,
        )

    def _search(self, asked: Asked, before_id: int | None, limit: int) -> Search:
        wanted = MailboxQuery(asked.value("mailbox") or None, before_id=before_id, limit=limit)
        return read_search(asked.value("q"), wanted)

    async def change(self, asked: Asked) -> Response:
        """Mark, move or delete the messages that are named, or all that fit."""
        back = own_path(asked.value("back"))
        back = back if back.startswith("/?") else "/"
        action = asked.value("action")
        if action in ALL:
            return await self._change_all(asked, action)
        if not asked.ids:
            raise Refusal("no message is chosen")
        for id_ in asked.ids[:MOST_CHANGED]:
            await self._changed(asked, action, id_)
        return see_other(f"{back}{'&' if '?' in back else '?'}done={action}")

    async def _change_all(self, asked: Asked, action: str) -> Response:
        """All that was there when the page was made, in steps; what is left is said."""
        newest = asked.number("newest")
        if newest is None:
            raise Refusal("it is not said which messages: load the page again")
        mailbox, typed = asked.value("mailbox"), asked.value("q")
        search, looks = self._search(asked, newest + 1, STEP), 0
        if search.problem:
            raise Refusal("part of the search means nothing")
        while looks < MOST_CHANGED // STEP:
            found = await self.search.find(asked.account_id, search.wanted, search.within)
            ids = [one.id for one in found.messages]
            if action == DELETE_ALL:
                await self.store.delete_all(asked.account_id, ids)
            else:
                await self.store.change_all(asked.account_id, ids, _with(SEEN))
            looks += 1
            if found.before_id is None:
                return see_other(link("/", mailbox=mailbox, q=typed, done=action))
            search = evolve(search, wanted=evolve(search.wanted, before_id=found.before_id))
        return see_other(link("/", mailbox=mailbox, q=typed, done=f"some-of-{action}"))

    async def _changed(self, asked: Asked, action: str, id_: int) -> None:
        account_id, store = asked.account_id, self.store
        if action == "delete":
            await store.delete(account_id, id_)
        elif action in _FLAG_CHANGES:
            await store.change_flags(account_id, id_, _FLAG_CHANGES[action])
        elif action == "move":
            try:
                await store.move(account_id, id_, asked.value("to"))
            except NoSuchMailbox:
                raise Refusal("there is no mailbox of that name") from None
            except AlreadyInMailbox:
                return
        else:
            raise Refusal("that is nothing that can be done with a message")


def _with(flag: str) -> Callable[[Sequence[str]], Sequence[str]]:
    return lambda flags: in_order({*flags, flag})


def _without(flag: str) -> Callable[[Sequence[str]], Sequence[str]]:
    return lambda flags: in_order({*flags} - {flag})


_FLAG_CHANGES = {
    "read": _with(SEEN),
    "unread": _without(SEEN),
    "flag": _with(FLAGGED),
    "unflag": _without(FLAGGED),
}
