"""The viewer: an account's messages as they arrive, and each of them from every side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.history import AccountHistory
from mailrelay.directory.model import Directory
from mailrelay.mailbox.access import (
    AccountMessages,
    AlreadyInMailbox,
    ContentGone,
    MailboxQuery,
    NoSuchMailbox,
    StoredMessage,
)
from mailrelay.mailbox.flags import in_order
from mailrelay.message.structure import NoSuchPart
from mailrelay.pages.arrivals import newest_id
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.html_mail import FRAME, policy
from mailrelay.pages.search import HELP, mailbox_query
from mailrelay.pages.shown import path_at, shown_html, shown_message
from mailrelay.pages.trying import SUBJECT, TEXT, tried_addresses
from mailrelay.policy.file_links import MalformedPath
from mailrelay.web.files import MessageFiles
from mailrelay.web.request import Response, Route

PAGE = 50
SEEN, FLAGGED = "\\seen", "\\flagged"

T = TypeVar("T")

DONE = {"tried": "The test message is on its way: it is here when it has arrived."}

VIEWS = ("html", "text", "headers", "structure")


@frozen
class MailPages:
    """``/`` and ``/mail``."""

    doors: Doors
    store: AccountMessages
    files: MessageFiles
    history: AccountHistory
    directory: Callable[[], Directory]
    simulates: bool

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.account("/", self.list),
            doors.account("/mail/{id}", self.message),
            doors.account("/mail/{id}/html", self.html),
            doors.account("/mail/{id}/raw", self.raw),
            doors.account("/mail/{id}/part/{path}", self.part),
            doors.account_form("/mail", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Messages of a mailbox, or of all, newest first."""
        newest = await newest_id(
            self.store, asked.account_id
        )  # before them: one that comes now is told of
        mailbox, search = asked.value("mailbox"), asked.value("q")
        wanted = MailboxQuery(mailbox=mailbox or None, before_id=asked.number("before"), limit=PAGE)
        found = await self.store.find(asked.account_id, mailbox_query(search, wanted))
        before = found.before_id
        return self.doors.page(
            asked,
            "mail_list.html",
            mailboxes=await self.store.mailboxes(asked.account_id),
            mailbox=mailbox,
            search=search,
            help=HELP,
            messages=[(one, set(one.flags)) for one in found.messages],
            is_first=asked.number("before") is None,
            older=link("/", mailbox=mailbox, q=search, before=before) if before else "",
            here=link("/", mailbox=mailbox, q=search),
            newest=newest,
            done=asked.done(DONE),
            sender=next(iter(self.directory().senders_of(asked.account)), ""),
            tried=tried_addresses(simulates=self.simulates),
            test_subject=SUBJECT,
            test_text=TEXT,
        )

    async def message(self, asked: Asked) -> Response:
        """One message; that it was looked at is noted."""
        stored = await self._stored(asked)
        shown = await self._read(stored, shown_message)
        view = asked.value("view")
        if view not in VIEWS:
            view = "html" if shown.has_html else "text"
        flags = set(stored.listed.flags)
        if SEEN not in flags:
            await self.store.change_flags(asked.account_id, stored.listed.id, _with(SEEN))
        sent = await self.history.message(asked.account_id, stored.listed.message_id)
        return self.doors.page(
            asked,
            "mail_message.html",
            listed=stored.listed,
            size_bytes=stored.size_bytes,
            remote_ip=stored.remote_ip,
            flags=flags | {SEEN},
            shown=shown,
            view=view,
            shows_remote=asked.value("remote") == "1",
            frame=FRAME,
            mailboxes=await self.store.mailboxes(asked.account_id),
            timeline=f"/sent/{stored.listed.message_id}" if sent is not None else "",
        )

    async def html(self, asked: Asked) -> Response:
        """A message's HTML, for the frame that the page has for it."""
        shows_remote = asked.value("remote") == "1"
        work = partial(shown_html, shows_remote=shows_remote)
        safe = await self._read(await self._stored(asked), work)
        answer = Response.html(200, safe.document)
        headers = {
            "Content-Security-Policy": policy(shows_remote=shows_remote),
            "X-Frame-Options": "sameorigin",
            "Referrer-Policy": "no-referrer",
        }
        return Response(200, answer.body, headers, content_type=answer.content_type)

    async def raw(self, asked: Asked) -> Response:
        """Its bytes, to be kept as a file."""
        return self.files.raw(await self._stored(asked))

    async def part(self, asked: Asked) -> Response:
        """A part, to be kept as a file; never shown by the browser."""
        try:
            path = path_at(asked.request.params["path"])
            return await self.files.part(await self._stored(asked), path)
        except (MalformedPath, NoSuchPart, ContentGone):
            raise NoSuch("the message has no such part") from None

    async def change(self, asked: Asked) -> Response:
        """Mark, move or delete the messages that are named."""
        if not asked.ids:
            raise Refusal("no message is chosen")
        action = asked.value("action")
        for id_ in asked.ids:
            await self._changed(asked, action, id_)
        return see_other(asked.value("back") if asked.value("back").startswith("/?") else "/")

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

    async def _stored(self, asked: Asked) -> StoredMessage:
        stored = await self.store.get(asked.account_id, asked.id)
        if stored is None:
            raise NoSuch("there is no such message: it may have been deleted")
        return stored

    async def _read(self, stored: StoredMessage, work: Callable[[bytes], T]) -> T:
        try:
            return await self.files.read(stored, work)
        except ContentGone:
            raise NoSuch("the message was deleted meanwhile") from None


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
