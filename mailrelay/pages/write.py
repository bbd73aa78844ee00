"""Writing a message: a new one, an answer, or one that is passed on.

In a localserve also to addresses that simulate failures.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from attrs import evolve, frozen

from mailrelay.control.errors import NoSuch
from mailrelay.directory.model import Account, Directory
from mailrelay.mailbox.access import AccountMessages, ContentGone, StoredMessage
from mailrelay.mailbox.flags import in_order
from mailrelay.message.structure import OPAQUE, NoSuchPart, Part
from mailrelay.message.words import CONTROLS
from mailrelay.pages.answering import Original, letter_of, original_of
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.letter import (
    LONGEST_WAIT,
    MOST_FILES,
    MOST_TEXT,
    How,
    Letter,
    NotSent,
    Ready,
    ready_letter,
)
from mailrelay.pages.shown import path_at
from mailrelay.pages.trying import SUBJECT, TEXT, tried_addresses
from mailrelay.policy.file_links import MalformedPath
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.files import MessageFiles
from mailrelay.web.form import FormLimits, UploadedFile
from mailrelay.web.intake import UploadFile
from mailrelay.web.request import Response, Route

FORM_BYTES = 1024 * 1024
"""Of all that is typed."""

MOST_NAME = 200

FLAGS = {How.REPLY: "\\answered", How.REPLY_ALL: "\\answered", How.FORWARD: "$forwarded"}

AGAIN = "The files were not kept: choose them again."
NOT_SENT = "The message was not sent: see what is said beside the fields."

Send = Callable[[Account, str, Ready, Sequence[UploadedFile]], Awaitable[int | None]]


@frozen
class WritePages:
    """``/write``, and the ways to it from a message.

    ``send`` gives the message's number, None when it was queued and that is all there is to tell;
    it raises NotSent.
    """

    doors: Doors
    directory: Callable[[], Directory]
    store: AccountMessages
    files: MessageFiles
    send: Send
    now: Callable[[], float]
    max_message_bytes: int
    simulates: bool

    def routes(self) -> Sequence[Route]:
        """What is served."""
        limits = FormLimits(self.max_message_bytes, FORM_BYTES, FORM_BYTES, MOST_FILES + 100)
        return [
            self.doors.account("/write", self.show),
            self.doors.account_form("/write", self.take, limits),
            *(self.doors.account(f"/mail/{{id}}/{how}", self.answering(how)) for how in How),
        ]

    async def show(self, asked: Asked) -> Response:
        """The form; ``to`` and ``subject`` may be in the query."""
        return self._form(asked, Letter(to=asked.value("to"), subject=asked.value("subject")))

    def answering(self, how: How) -> Callable[[Asked], Awaitable[Response]]:
        """The form, filled in with what a message says."""

        async def show(asked: Asked) -> Response:
            stored, original = await self._original(asked, asked.id)
            owns = partial(self.directory().owns, asked.account)
            run = self.doors.intake.executor.run
            letter = await run(letter_of, original, stored.listed, how, owns)
            return self._form(asked, letter, original=original)

        return show

    async def take(self, asked: Asked) -> Response:
        """Send it, and go on to its timeline."""
        letter = _typed(asked)
        asked.let_others()
        stored, original = None, None
        if letter.made_of is not None:
            stored, original = await self._original(asked, letter.made_of)
        chosen = [one for one in asked.files if one.filename or one.size]
        try:
            id_ = await self._sent(asked, letter, chosen, stored, original)
        except NotSent as error:
            problems = dict(error.problems)
            if chosen:
                problems["file"] = " ".join(filter(None, (problems.get("file"), AGAIN)))
            return self._form(asked, letter, problems, original)
        await self._marked(asked, letter)
        if asked.value("then") == "mail":
            return see_other("/?done=tried")
        return see_other("/sent?done=sent" if id_ is None else f"/sent/{id_}")

    async def _sent(
        self,
        asked: Asked,
        letter: Letter,
        chosen: Sequence[UploadedFile],
        stored: StoredMessage | None,
        original: Original | None,
    ) -> int | None:
        owns = self.directory().owns
        ready = ready_letter(letter, lambda one: owns(asked.account, one), self.now())
        if original is not None and letter.how is not How.FORWARD:
            ready = evolve(ready, references=original.references)
        if len(chosen) + len(letter.parts) > MOST_FILES:
            raise NotSent({"file": f"A message takes {MOST_FILES} files."})
        async with self._along(stored, letter.parts) as along:
            files = [*along, *chosen]
            return await self.send(asked.account, asked.request.peer_ip, ready, files)

    @asynccontextmanager
    async def _along(
        self, stored: StoredMessage | None, places: Sequence[str]
    ) -> AsyncIterator[Sequence[UploadedFile]]:
        """Those parts of ``stored`` as files, which are removed afterwards.  Raises: NotSent."""
        uploads: list[UploadFile] = []
        files: list[UploadedFile] = []
        try:
            for place in places if stored is not None else ():
                assert stored is not None
                uploads.append(await self.doors.intake.new_file())
                part = await self._copied(stored, place, uploads[-1])
                left = self.max_message_bytes - sum(one.size for one in uploads)
                if left < 0:
                    raise NotSent({"file": "The attachments are larger than a message may be."})
                name = CONTROLS.sub(" ", part.filename)[:MOST_NAME] or f"part {place}"
                upload = uploads[-1]
                files.append(
                    UploadedFile("file", name, _type_of(part), "", upload.path, upload.size)
                )
            yield files
        finally:
            for upload in uploads:
                await upload.remove()

    async def _copied(self, stored: StoredMessage, place: str, upload: UploadFile) -> Part:
        try:
            part, body = await self.files.decoded(stored, path_at(place))
            async for block in body:
                await upload.write(block)
        except (MalformedPath, NoSuchPart, ContentGone):
            raise NotSent({"file": "The message has no such attachment any more."}) from None
        await upload.written()
        return part

    async def _marked(self, asked: Asked, letter: Letter) -> None:
        """Note that it was answered.  The answer is on its way, whatever becomes of the note."""
        if letter.made_of is None or letter.how is None:
            return
        flag = FLAGS[letter.how]
        try:
            await self.store.change_flags(
                asked.account_id, letter.made_of, lambda flags: in_order({*flags, flag})
            )
        except StoreUnavailable:
            return

    async def _original(self, asked: Asked, id_: int) -> tuple[StoredMessage, Original]:
        stored = await self.store.get(asked.account_id, id_)
        if stored is None:
            raise NoSuch("there is no such message: it may have been deleted")
        try:
            return stored, await self.files.read(stored, original_of)
        except ContentGone:
            raise NoSuch("the message was deleted meanwhile") from None

    def _form(
        self,
        asked: Asked,
        letter: Letter,
        problems: Mapping[str, str] | None = None,
        original: Original | None = None,
    ) -> Response:
        directory, account = self.directory(), asked.account
        senders = directory.senders_of(account)
        if letter.from_ and letter.from_ not in senders:
            senders.insert(0, letter.from_)
        problems = problems or {}
        return self.doors.page(
            asked,
            "write.html",
            422 if problems else 200,
            senders=senders,
            catch_alls=[one for one in directory.addresses_of(account) if one[:1] == "@"],
            letter=letter,
            problem=problems.get("") or (NOT_SENT if problems else ""),
            problems=problems,
            attachments=original.attachments if original and letter.how is How.FORWARD else (),
            most_bytes=self.max_message_bytes * 3 // 4,
            most_text=MOST_TEXT,
            earliest=_minute(self.now()),
            latest=_minute(self.now() + LONGEST_WAIT),
            tried=tried_addresses(simulates=self.simulates),
            subject=SUBJECT,
            text=TEXT,
        )


def _typed(asked: Asked) -> Letter:
    how = asked.value("how")
    return Letter(
        from_=asked.value("from"),
        other_from=asked.value("other_from"),
        to=asked.value("to"),
        cc=asked.value("cc"),
        bcc=asked.value("bcc"),
        reply_to=asked.value("reply_to"),
        subject=asked.value("subject"),
        text="".join(asked.form.get("text", ())[:1]),
        at=asked.value("at"),
        keeps_copy=asked.value("keeps_copy") == "1",
        made_of=asked.number("made_of"),
        how=How(how) if how in set(How) else None,
        parts=list(dict.fromkeys(asked.form.get("part", ()))),
    )


def _type_of(part: Part) -> str:
    """What a file is sent as.  A message could not go in base64 (RFC 2046 section 5.2.1)."""
    if not _FILE_TYPE.fullmatch(part.content_type):
        return OPAQUE
    charset = part.params.get("charset", "")
    return (
        f"{part.content_type}; charset={charset}"
        if _TOKEN.fullmatch(charset)
        else part.content_type
    )


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M")


_NAME = r"[a-z0-9!#$&^_.+\-]{1,100}"
_FILE_TYPE = re.compile(rf"(?!multipart/|message/){_NAME}/{_NAME}")
_TOKEN = re.compile(r"[A-Za-z0-9_\-]{1,60}")
