"""The viewer: an account's messages as they arrive, and each of them from every side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

from attrs import field, frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.history import AccountHistory
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
from mailrelay.observe.bell import Bell
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.html_mail import FRAME, policy
from mailrelay.pages.search import HELP, mailbox_query
from mailrelay.pages.shown import shown_html, shown_message
from mailrelay.policy.file_links import MalformedPath, path_of
from mailrelay.web.files import MessageFiles
from mailrelay.web.request import Response, Route

PAGE = 50
SEEN, FLAGGED = "\\seen", "\\flagged"
LOOK_EVERY = 1.0
"""Seconds between two looks for a new message while a page waits for one."""
KEEP_ALIVE_EVERY = 20.0
MOST_STREAMS, MOST_OF_ACCOUNT = 200, 20

T = TypeVar("T")

VIEWS = ("html", "text", "headers", "structure")


@frozen
class MailPages:
    """``/`` and ``/mail``."""

    doors: Doors
    store: AccountMessages
    files: MessageFiles
    history: AccountHistory
    bell: Bell
    _waiting: list[int] = field(factory=list)  # whose pages wait for a new message

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.account("/", self.list),
            doors.account("/mail/arrivals", self.arrivals),
            doors.account("/mail/{id}", self.message),
            doors.account("/mail/{id}/html", self.html),
            doors.account("/mail/{id}/raw", self.raw),
            doors.account("/mail/{id}/part/{path}", self.part),
            doors.account_form("/mail", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Messages of a mailbox, or of all, newest first."""
        newest = await self._newest(asked.account_id)  # before them: one that comes now is told of
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
            answer=_answer_to(shown.subject),
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
            path = path_of(asked.request.params["path"])
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

    async def arrivals(self, asked: Asked) -> Response:
        """Tells, as server-sent events, that there is a newer message than the one named."""
        waiting = self._waiting
        is_full = waiting.count(asked.account_id) >= MOST_OF_ACCOUNT
        if is_full or len(waiting) >= MOST_STREAMS:
            return Response.text(503, "503 - too many pages are open\n", Retry_After="60")
        known = asked.number("newest")
        parts = self._arrivals(asked.account_id, asked.visitor.token, known)
        headers = {"X-Accel-Buffering": "no"}
        return Response(200, parts, headers, "text/event-stream; charset=utf-8", is_endless=True)

    async def _arrivals(
        self, account_id: int, token: str, known: int | None
    ) -> AsyncIterator[bytes]:
        self._waiting.append(account_id)
        try:
            said_at = self.bell.clock.seconds()
            newest = await self._newest(account_id) if known is None else known
            yield b"retry: 3000\n\n"
            while not self.bell.is_closed:
                found, at = await self._newest(account_id), self.bell.clock.seconds()
                if found != newest:
                    newest, said_at = found, at
                    yield b"event: arrived\ndata: %d\n\n" % newest
                elif at - said_at >= KEEP_ALIVE_EVERY:
                    if await self.doors.sessions.find(token) is None:
                        return
                    said_at = at
                    yield b": waiting\n\n"
                await self.bell.wait(account_id, LOOK_EVERY)
        finally:
            self._waiting.remove(account_id)

    async def _newest(self, account_id: int) -> int:
        found = await self.store.find(account_id, MailboxQuery(limit=1))
        return found.messages[0].id if found.messages else 0

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


def _answer_to(subject: str) -> str:
    """The subject of a reply (RFC 5322 section 3.6.5)."""
    return subject if subject[:3].lower() == "re:" else f"Re: {subject}"
