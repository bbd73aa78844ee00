"""One message from every side, and its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from attrs import frozen

from mailrelay.control.errors import NoSuch
from mailrelay.control.history import AccountHistory
from mailrelay.mailbox.access import AccountMessages, ContentGone, StoredMessage
from mailrelay.mailbox.flags import in_order
from mailrelay.message.structure import NoSuchPart
from mailrelay.pages.door import Asked, Doors
from mailrelay.pages.html_mail import FRAME, framed
from mailrelay.pages.judged import judged
from mailrelay.pages.mail import SEEN
from mailrelay.pages.shown import (
    MOST_SOURCE_BYTES,
    path_at,
    shown_html,
    shown_image,
    shown_message,
    shown_source,
)
from mailrelay.policy.file_links import MalformedPath
from mailrelay.web.files import MessageFiles
from mailrelay.web.request import Response, Route

T = TypeVar("T")

VIEWS = ("html", "text", "headers", "structure", "source")
WIDTHS = ("phone", "tablet")

IMAGE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


@frozen
class MessagePages:
    """``/mail/ID``."""

    doors: Doors
    store: AccountMessages
    files: MessageFiles
    history: AccountHistory

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.account("/mail/{id}", self.message),
            doors.account("/mail/{id}/html", self.html),
            doors.account("/mail/{id}/raw", self.raw),
            doors.account("/mail/{id}/part/{path}", self.part),
            doors.account("/mail/{id}/image/{path}", self.image),
        ]

    async def message(self, asked: Asked) -> Response:
        """One message; that it was looked at is noted."""
        stored = await self._stored(asked)
        listed = stored.listed
        shown = await self._read(stored, shown_message)
        view, width = asked.value("view"), asked.value("width")
        shows_remote = asked.value("remote") == "1"
        if view not in VIEWS:
            view = "html" if shown.has_html else "text"
        flags = set(listed.flags)
        if SEEN not in flags:
            await self.store.change_flags(
                asked.account_id, listed.id, lambda flags: in_order({*flags, SEEN})
            )
        sent = await self.history.message(asked.account_id, listed.message_id)
        return self.doors.page(
            asked,
            "mail_message.html",
            listed=listed,
            size_bytes=stored.size_bytes,
            remote_ip=stored.remote_ip,
            flags=flags | {SEEN},
            shown=shown,
            view=view,
            source=await self._read(stored, shown_source) if view == "source" else "",
            is_source_cut=stored.size_bytes > MOST_SOURCE_BYTES,
            shows_remote=shows_remote,
            left_out=await self._left_out(stored) if view == "html" and not shows_remote else 0,
            width=width if width in WIDTHS else "",
            frame=FRAME,
            judged=judged(stored.verdict),
            reasons=stored.verdict.reasons if stored.verdict is not None else (),
            mailboxes=await self.store.mailboxes(asked.account_id),
            unread=await self.store.unread(asked.account_id, None),
            beside=await self.store.beside(asked.account_id, listed.id, listed.mailbox),
            timeline=f"/sent/{listed.message_id}" if sent is not None else "",
        )

    async def html(self, asked: Asked) -> Response:
        """A message's HTML, for the frame that the page has for it."""
        shows_remote = asked.value("remote") == "1"
        work = partial(shown_html, shows_remote=shows_remote)
        safe = await self._read(await self._stored(asked), work)
        return framed(safe.document, shows_remote=shows_remote)

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

    async def image(self, asked: Asked) -> Response:
        """A part that is a picture, for the page of its message; nothing else is shown so."""
        try:
            work = partial(shown_image, path=path_at(asked.request.params["path"]))
            image = await self._read(await self._stored(asked), work)
        except (MalformedPath, NoSuchPart):
            image = None
        if image is None:
            raise NoSuch("the message has no such picture")
        headers = {"Content-Security-Policy": IMAGE_POLICY, "Content-Disposition": "inline"}
        return Response(200, image.data, headers, content_type=image.content_type)

    async def _stored(self, asked: Asked) -> StoredMessage:
        stored = await self.store.get(asked.account_id, asked.id)
        if stored is None:
            raise NoSuch("there is no such message: it may have been deleted")
        return stored

    async def _left_out(self, stored: StoredMessage) -> int:
        """How many of its images others would be asked for."""
        return (await self._read(stored, partial(shown_html, shows_remote=False))).remote

    async def _read(self, stored: StoredMessage, work: Callable[[bytes], T]) -> T:
        try:
            return await self.files.read(stored, work)
        except ContentGone:
            raise NoSuch("the message was deleted meanwhile") from None
