"""What the account received: lists, one message, its bytes and parts, flags, moving, deleting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from attrs import frozen
from msgspec import Meta

from mailrelay.control.answers import Inside, settled
from mailrelay.directory.keys import Scope
from mailrelay.mailbox.access import (
    UNREAD_AMONG,
    AccountMessages,
    AlreadyInMailbox,
    MailboxQuery,
    NoSuchMailbox,
    StoredMessage,
)
from mailrelay.mailbox.flags import BadFlag, flag_of, in_order
from mailrelay.mailbox.model import MailboxMessage
from mailrelay.mailbox.searching import ContentQuery, MailSearch
from mailrelay.message.structure import OPAQUE
from mailrelay.policy.file_links import FileLinks, path_of
from mailrelay.web.files import MESSAGE
from mailrelay.webapi.v1.downloads import Downloads
from mailrelay.webapi.v1.fields import Bytes, Id, Limit, Line, Text
from mailrelay.webapi.v1.idempotency import encoded
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, NO_SUCH, Kind, Problem
from mailrelay.webapi.v1.times import Time, seconds_of, time_at
from mailrelay.webhooks.received import Flags, Kept, MailEnvelope, ReceivedMail, received_mail
from mailrelay.webhooks.received import PartPath as Path

MOST_FLAGS = 100
"""Of a message, as far as flags are set here."""

IN_MAILBOX = Kind("in_mailbox", 409, "The message is in that mailbox")

Searched = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")]
Flag = Annotated[str, Meta(min_length=1, max_length=100)]
SomeFlags = Annotated[list[Flag], Meta(max_length=MOST_FLAGS)]
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")]


class MailSummary(Strict, frozen=True):
    """A message in a mailbox, without what it says."""

    id: Id
    mailbox: Line
    flags: Flags
    received_at: Time
    size_bytes: Bytes
    envelope: MailEnvelope
    subject: Text


class MailQuery(Strict, frozen=True):
    """All that is given must fit.

    ``sender`` and ``recipient`` are within the addresses of the envelope, ``subject`` within the
    subject.  ``flag`` is one that is set, ``without_flag`` one that is not.  ``text`` is within
    what the message says, ``has_attachment`` is of its parts: of both the first 256 KiB count.
    """

    mailbox: Name | None = None
    sender: Searched | None = None
    recipient: Searched | None = None
    subject: Searched | None = None
    flag: Flag | None = None
    without_flag: Flag | None = None
    text: Searched | None = None
    has_attachment: bool | None = None
    larger_than: Bytes | None = None
    smaller_than: Bytes | None = None
    since: Time | None = None
    until: Time | None = None
    cursor: Id | None = None
    limit: Limit = 50


class MailPage(Strict, frozen=True):
    """Newest first.  ``next_cursor`` is for those before them, null when there are none.

    A search looks at 50,000 messages at a time, and at the contents of 300: a page may have few, or
    none, and a cursor.
    """

    messages: Annotated[list[MailSummary], Meta(max_length=100)]
    next_cursor: Id | None


class MailboxNames(Strict, frozen=True):
    """The account's mailboxes."""

    mailboxes: Annotated[list[Line], Meta(max_length=10_000)]


class UnreadQuery(Strict, frozen=True):
    """In which mailbox; in all of them without."""

    mailbox: Name | None = None


class Unread(Strict, frozen=True):
    """How many of the newest 10,000 messages are not seen."""

    unread: Annotated[int, Meta(ge=0, le=UNREAD_AMONG)]


class PartQuery(Strict, frozen=True):
    """Which part, as the message's structure has it; empty for the whole body."""

    path: Path = ""


class FlagsIn(Strict, frozen=True):
    """Flags to set and to clear, in any case; one in both is cleared."""

    add: SomeFlags = []
    remove: SomeFlags = []


class MoveIn(Strict, frozen=True):
    """Where to; names match exactly."""

    mailbox: Name


@frozen
class MailboxOperations:
    """``/mailbox``.  Answers have links that hold for some time from ``now`` on."""

    downloads: Downloads
    links: FileLinks
    now: Callable[[], float]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [*self._reading(), *self._changing()]

    def _reading(self) -> Sequence[Operation]:
        return [
            Operation(
                name="mailbox_list",
                method="GET",
                path="/mailboxes",
                about="The names of the account's mailboxes.",
                work=self.mailboxes,
                answers={200: MailboxNames},
                scope=Scope.READ,
            ),
            Operation(
                name="mail_list",
                method="GET",
                path="/mailbox/messages",
                about="Messages in the account's mailboxes, newest first.",
                work=self.list,
                answers={200: MailPage},
                scope=Scope.READ,
                query=MailQuery,
            ),
            Operation(
                name="mail_unread",
                method="GET",
                path="/mailbox/unread",
                about="How many messages are not seen, of the newest 10,000.",
                work=self.unread,
                answers={200: Unread},
                scope=Scope.READ,
                query=UnreadQuery,
            ),
            Operation(
                name="mail_get",
                method="GET",
                path="/mailbox/messages/{id}",
                about="One message, parsed, with links to what is attached.",
                work=self.get,
                answers={200: ReceivedMail},
                scope=Scope.READ,
            ),
            Operation(
                name="mail_raw",
                method="GET",
                path="/mailbox/messages/{id}/raw",
                about="A message's bytes, as they are stored.",
                work=self.raw,
                answers={200: None},
                content_type=MESSAGE,
                scope=Scope.READ,
            ),
            Operation(
                name="mail_part",
                method="GET",
                path="/mailbox/messages/{id}/part",
                about="One part of a message, decoded.",
                work=self.part,
                answers={200: None},
                content_type=OPAQUE,
                scope=Scope.READ,
                query=PartQuery,
            ),
        ]

    def _changing(self) -> Sequence[Operation]:
        return [
            Operation(
                name="mail_delete",
                method="DELETE",
                path="/mailbox/messages/{id}",
                about="Remove a message for good.",
                work=self.delete,
                answers={204: None},
                scope=Scope.MANAGE,
            ),
            Operation(
                name="mail_flags",
                method="POST",
                path="/mailbox/messages/{id}/flags",
                about="Set and clear flags of a message.",
                work=self.flags,
                answers={200: MailSummary},
                scope=Scope.MANAGE,
                body=FlagsIn,
            ),
            Operation(
                name="mail_move",
                method="POST",
                path="/mailbox/messages/{id}/move",
                about="Put a message in another mailbox; its id stays.",
                work=self.move,
                answers={200: MailSummary},
                scope=Scope.MANAGE,
                body=MoveIn,
                problems=[IN_MAILBOX],
            ),
        ]

    async def mailboxes(self, call: Call) -> Answer:
        """The mailboxes."""
        names = await self.downloads.store.mailboxes(call.caller.account.id)
        return Answer(200, MailboxNames(mailboxes=list(names)))

    async def list(self, call: Call) -> Answer:
        """A page of messages.  Raises: Problem."""
        query: MailQuery = call.query
        wanted = MailboxQuery(
            mailbox=query.mailbox,
            since=seconds_of(query.since),
            until=seconds_of(query.until),
            sender=query.sender,
            recipient=query.recipient,
            subject=query.subject,
            flag=_flag(query.flag, "flag"),
            without_flag=_flag(query.without_flag, "without_flag"),
            larger_than=query.larger_than,
            smaller_than=query.smaller_than,
            before_id=query.cursor,
            limit=query.limit,
        )
        within = ContentQuery(query.text, query.has_attachment)
        search = MailSearch(self.downloads.store, self.downloads.intake.executor)
        found = await search.find(call.caller.account.id, wanted, within)
        page = MailPage(
            messages=[_summary(one) for one in found.messages], next_cursor=found.before_id
        )
        return Answer(200, page)

    async def unread(self, call: Call) -> Answer:
        """How many are not seen."""
        query: UnreadQuery = call.query
        store = self.downloads.store
        return Answer(200, Unread(unread=await store.unread(call.caller.account.id, query.mailbox)))

    async def get(self, call: Call) -> Answer:
        """One message.  Raises: Problem, Refused."""
        stored = await self._stored(call)
        kept, now = _kept(stored), self.now()

        def work(content: bytes) -> bytes:
            return encoded(received_mail(content, kept, self.links, now))

        return Answer(200, encoded=await self.downloads.read(stored, work))

    async def raw(self, call: Call) -> Answer:
        """Its bytes.  Raises: Problem."""
        file = await self.downloads.file(call.caller.account.id, call.id, None)
        return Answer(200, response=file)

    async def part(self, call: Call) -> Answer:
        """One part.  Raises: Problem, Refused."""
        query: PartQuery = call.query
        path = path_of(query.path)
        return Answer(
            200, response=await self.downloads.file(call.caller.account.id, call.id, path)
        )

    async def delete(self, call: Call) -> Answer:
        """Remove it.  Raises: Problem."""
        store = call.with_answer(self.downloads.store, _gone)
        _check(await store.delete(call.caller.account.id, call.id))
        return Answer(204)

    async def flags(self, call: Call) -> Answer:
        """Set and clear.  Raises: Problem."""
        body: FlagsIn = call.body
        add, remove = _flags(body.add, "add"), _flags(body.remove, "remove")

        def change(flags: Sequence[str]) -> Sequence[str]:
            changed = in_order({*flags, *add} - {*remove})
            if len(changed) > max(MOST_FLAGS, len(flags)):
                raise Problem(INVALID_FIELD, f"a message has up to {MOST_FLAGS} flags", "add")
            return changed

        store = self._keeping(call)
        _check(await store.change_flags(call.caller.account.id, call.id, change))
        return call.kept or await self._summarised(call)

    async def move(self, call: Call) -> Answer:
        """Put it elsewhere.  Raises: Problem."""
        body: MoveIn = call.body
        try:
            store = self._keeping(call)
            _check(await store.move(call.caller.account.id, call.id, body.mailbox))
        except NoSuchMailbox:
            raise Problem(INVALID_FIELD, "there is no mailbox of that name", "mailbox") from None
        except AlreadyInMailbox:
            raise Problem(IN_MAILBOX, "the message is there") from None
        return call.kept or await self._summarised(call)

    async def _stored(self, call: Call) -> StoredMessage:
        return await self.downloads.stored(call.caller.account.id, call.id)

    def _keeping(self, call: Call) -> AccountMessages:
        """What keeps its answer: the message after the change."""
        store, account_id = self.downloads.store, call.caller.account.id

        def told(was_there: bool, inside: Inside) -> Answer | None:
            found = settled(inside(store).get(account_id, call.id)) if was_there else None
            return None if found is None else Answer(200, _summary(found.listed))

        return call.with_answer(store, told)

    async def _summarised(self, call: Call) -> Answer:
        return Answer(200, _summary((await self._stored(call)).listed))


def _gone(spooled: object, inside: Inside) -> Answer | None:
    """None is no message; a list, even an empty one, what it leaves on the disk."""
    return None if spooled is None else Answer(204)


def _check(was_there: bool) -> None:
    if not was_there:
        raise Problem(NO_SUCH, "there is nothing of that id")


def _flags(given: Sequence[str], field: str) -> Sequence[str]:
    return [str(_flag(text, f"{field}[{index}]")) for index, text in enumerate(given)]


def _flag(text: str | None, field: str) -> str | None:
    try:
        return None if text is None else flag_of(text)
    except BadFlag as error:
        raise Problem(INVALID_FIELD, str(error), field) from None


def _envelope(listed: MailboxMessage) -> MailEnvelope:
    return MailEnvelope(sender=listed.reverse_path, recipient=listed.recipient)


def _summary(listed: MailboxMessage) -> MailSummary:
    return MailSummary(
        id=listed.id,
        mailbox=listed.mailbox,
        flags=list(in_order(listed.flags)),
        received_at=time_at(listed.received_at),
        size_bytes=listed.size_bytes,
        envelope=_envelope(listed),
        subject=listed.subject,
    )


def _kept(stored: StoredMessage) -> Kept:
    listed = stored.listed
    return Kept(
        listed.id,
        listed.account_id,
        listed.mailbox,
        in_order(listed.flags),
        listed.received_at,
        stored.size_bytes,
        listed.reverse_path,
        listed.recipient,
        stored.remote_ip,
        stored.verdict,
    )
