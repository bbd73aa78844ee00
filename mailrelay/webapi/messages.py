"""The Message methods: what is in the account's mailboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from attrs import frozen

from mailrelay.mailbox.access import (
    AccountMessages,
    AlreadyInMailbox,
    NoSuchMailbox,
    StoredMessage,
    blocks,
    whole,
)
from mailrelay.mailbox.flags import BadFlag, flag_of, in_order
from mailrelay.message.structure import NoSuchPart, decoded, part_at, read_structure
from mailrelay.message.verdict import Verdict
from mailrelay.net.threads import Executor
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import check_controls
from mailrelay.webapi.errors import APIError, user_error
from mailrelay.webapi.types import (
    Empty,
    Message,
    MessageFlagsRequest,
    MessageGetResult,
    MessageMeta,
    MessageMoveRequest,
    MessagePartRequest,
    MessageRequest,
)
from mailrelay.webhooks.reading import ReadMessage, name_addresses, read_message


def _not_found() -> APIError:
    return APIError("messageNotFound", "no such message")


@frozen
class Messages:
    """What the Message methods need."""

    store: AccountMessages
    executor: Executor

    async def get(self, caller: Caller, request: MessageRequest) -> MessageGetResult:
        """A message, parsed.  Raises: APIError."""
        stored = await self._stored(caller, request.msg_id)
        read = await self.executor.run(read_message, await whole(self.store, stored))
        return _result(stored, read)

    async def raw(
        self, caller: Caller, request: MessageRequest
    ) -> tuple[int, AsyncIterator[bytes]]:
        """A message's size and its bytes as they are stored.  Raises: APIError."""
        stored = await self._stored(caller, request.msg_id)
        return stored.size_bytes, blocks(self.store, stored)

    async def part(self, caller: Caller, request: MessagePartRequest) -> bytes:
        """A part's content, its transfer encoding undone.  Raises: APIError."""
        stored = await self._stored(caller, request.msg_id)
        content = await whole(self.store, stored)
        try:
            return await self.executor.run(_part, content, request.part_path)
        except NoSuchPart:
            raise APIError("partNotFound", "no such part") from None

    async def delete(self, caller: Caller, request: MessageRequest) -> Empty:
        """Remove a message for good.  Raises: APIError."""
        return _done(await self.store.delete(caller.account.id, _named(request.msg_id)))

    async def add_flags(self, caller: Caller, request: MessageFlagsRequest) -> Empty:
        """Set flags.  Raises: APIError."""
        given = _flags(request)
        return await self._change(caller, request, lambda flags: in_order([*flags, *given]))

    async def remove_flags(self, caller: Caller, request: MessageFlagsRequest) -> Empty:
        """Clear flags.  Raises: APIError."""
        given = set(_flags(request))
        return await self._change(caller, request, lambda flags: in_order(set(flags) - given))

    async def _change(
        self,
        caller: Caller,
        request: MessageFlagsRequest,
        change: Callable[[Sequence[str]], Sequence[str]],
    ) -> Empty:
        id_ = _named(request.msg_id)
        return _done(await self.store.change_flags(caller.account.id, id_, change))

    async def move(self, caller: Caller, request: MessageMoveRequest) -> Empty:
        """Move a message.  Raises: APIError."""
        id_, mailbox = _named(request.msg_id), request.dest_mailbox_name
        check_controls("DestMailboxName", mailbox)
        try:
            return _done(await self.store.move(caller.account.id, id_, mailbox))
        except NoSuchMailbox:
            raise user_error(f"no mailbox {mailbox[:100]!r}: names match exactly") from None
        except AlreadyInMailbox:
            raise user_error("the message is in that mailbox") from None

    async def _stored(self, caller: Caller, id_: int) -> StoredMessage:
        stored = await self.store.get(caller.account.id, id_) if 0 < id_ < 2**53 else None
        if stored is None:
            raise _not_found()
        return stored


def _part(content: bytes, path: Sequence[int]) -> bytes:
    return decoded(content, part_at(read_structure(content), path))


def _named(id_: int) -> int:
    if id_ == 0:
        raise user_error("invalid zero message id")
    if not 0 < id_ < 2**53:
        raise _not_found()
    return id_


def _done(was_there: bool) -> Empty:
    if not was_there:
        raise _not_found()
    return Empty()


def _flags(request: MessageFlagsRequest) -> list[str]:
    try:
        return [flag_of(text) for text in request.flags]
    except BadFlag as error:
        raise user_error(f"Flags: {error}") from None


def _result(stored: StoredMessage, read: ReadMessage) -> MessageGetResult:
    listed, fields = stored.listed, read.fields
    came_by_smtp = bool(listed.recipient) and stored.door != "dsn"
    verdict = stored.verdict or Verdict()
    return MessageGetResult(
        message=Message(
            from_=name_addresses(fields.from_),
            to=name_addresses(fields.to),
            cc=name_addresses(fields.cc),
            bcc=name_addresses(fields.bcc),
            reply_to=name_addresses(fields.reply_to),
            message_id=fields.message_id,
            references=list(fields.thread),
            date=read.date,
            subject=fields.subject,
            text=read.text,
            html=read.html,
        ),
        structure=read.structure,
        meta=MessageMeta(
            size=listed.size_bytes,
            dsn=read.part.content_type == "multipart/report"
            and read.part.params.get("report-type", "").lower() == "delivery-status",
            flags=list(in_order(listed.flags)),
            mail_from=listed.reverse_path,
            mail_from_validated=verdict.is_mail_from_valid,
            rcpt_to=listed.recipient if came_by_smtp else "",
            msg_from=str(fields.from_[0].address) if came_by_smtp and fields.from_ else "",
            msg_from_validated=verdict.is_from_valid,
            dkim_verified_domains=list(verdict.dkim_domains),
            remote_ip=stored.remote_ip or "",
            mailbox_name=listed.mailbox,
        ),
    )
