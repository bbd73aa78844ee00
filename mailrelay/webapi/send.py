"""Send: a message of fields becomes one of bytes, and is accepted as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.acceptance.accept import Acceptance, Accepted
from mailrelay.acceptance.content import IncomingContent, SpoolWriter
from mailrelay.acceptance.copies import entry_of_each
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.refusal import Refused
from mailrelay.acceptance.wishes import Wishes
from mailrelay.control.mailbox import OverQuota
from mailrelay.directory.model import Account, Directory
from mailrelay.message.compose import compose
from mailrelay.message.draft import Draft, Unwritable
from mailrelay.net.threads import Executor
from mailrelay.policy.daily import OVER_NEW_RECIPIENTS
from mailrelay.policy.from_id import new_from_id
from mailrelay.policy.relay import Submitter
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.smtp.reply import Reply
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import People, Upload, draft_of, people_of, release_at
from mailrelay.webapi.errors import APIError, user_error
from mailrelay.webapi.types import SendRequest, SendResult, Submission

DOOR = "webapi"
BLOCK_BYTES = 256 * 1024
AT_ONCE_BYTES = 32 * 1024
"""Text up to here, without files, is composed in the reactor's thread: it takes microseconds."""


@frozen
class Sender:
    """What Send needs.  ``save_sent`` puts a copy in the account's mailbox for what it sent."""

    hostname: str
    user_agent: str
    directory: Callable[[], Directory]
    acceptance: Acceptance
    open_spool: Callable[[], SpoolWriter]
    over_daily_limit: Callable[[Account, int], Reply | None]
    save_sent: Callable[[Account, bytes], Deferred[int]]
    executor: Executor
    now: Callable[[], float]
    token: Callable[[], str]
    max_message_bytes: int
    max_recipients: int

    async def send(
        self, caller: Caller, request: SendRequest, uploads: Sequence[Upload] = ()
    ) -> SendResult:
        """Queue the message for every recipient.  Raises: APIError."""
        people = people_of(request, caller, self.directory(), self.max_recipients)
        if self.over_daily_limit(caller.account, len(people.recipients)) is not None:
            raise APIError(
                "messageLimitReached", "the account's messages for the last 24 hours are used up"
            )
        draft = draft_of(
            request,
            people,
            uploads,
            now=self.now(),
            message_id=f"<{new_from_id(self.token())}@{self.hostname}>",
            user_agent=self.user_agent,
            boundary=self.token,
        )
        envelope = self._envelope(request, people, draft)
        try:
            accepted, kept = await self.submit(caller, envelope, draft, keep=request.save_sent)
        except Unwritable as error:
            raise user_error(str(error)) from None
        if request.save_sent:
            await self._save(caller.account, people, kept)
        entries = entry_of_each([to for _, to in people.recipients], accepted.entries)
        return SendResult(
            message_id=draft.message_id,
            submissions=[
                Submission(address=text, queue_msg_id=entry.id, from_id=entry.from_id or "")
                for (text, _), entry in zip(people.recipients, entries, strict=True)
            ],
        )

    async def submit(
        self, caller: Caller, envelope: Envelope, draft: Draft, *, keep: bool = False
    ) -> tuple[Accepted, bytes]:
        """Compose and accept; the content comes back if it is to be kept.

        Raises: Unwritable, APIError.
        """
        kept: list[bytes] | None = [] if keep else None
        if is_small(draft):
            content = self._content_at_once(draft, kept)
        else:
            content = await self.content(partial(compose, draft), kept=kept)
        return await self.accept(caller, envelope, content), b"".join(kept or ())

    def _envelope(self, request: SendRequest, people: People, draft: Draft) -> Envelope:
        mail = Mail(
            people.from_.address,
            smtputf8=draft.smtputf8,
            require_tls=request.require_tls is True,
            hold_until=release_at(request, self.now()),
        )
        recipients = [Rcpt(address) for _, address in people.recipients]
        return Envelope(mail, recipients, Wishes(dict(request.extra)))

    async def content(
        self,
        make: Callable[[], Iterator[bytes]],
        *,
        kept: list[bytes] | None = None,
    ) -> IncomingContent:
        """What ``make`` makes, in a worker's thread; ``kept`` gets it, too.

        Raises: Unwritable, APIError.
        """
        waiting: list[Deferred[None]] = []

        def caught_up() -> None:
            for one in waiting:
                one.callback(None)
            waiting.clear()

        content = IncomingContent(self.open_spool, caught_up)
        try:
            pieces = await self.executor.run(make)
            while block := await self.executor.run(_next_block, pieces):
                self._check_size(content.size_bytes + len(block))
                content.write(block)
                if kept is not None:
                    kept.append(block)
                if content.is_behind:
                    waiting.append(Deferred())
                    await waiting[-1]
        except BaseException:
            content.abandon()
            raise
        return content

    def _content_at_once(self, draft: Draft, kept: list[bytes] | None) -> IncomingContent:
        """``draft``, composed here; ``kept`` gets it, too.  Raises: Unwritable, APIError."""
        data = b"".join(compose(draft))
        self._check_size(len(data))
        content = IncomingContent(self.open_spool)
        content.write(data)
        if kept is not None:
            kept.append(data)
        return content

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.max_message_bytes:
            raise APIError(
                "messageTooLarge", f"the message is larger than {self.max_message_bytes} bytes"
            )

    async def accept(
        self,
        caller: Caller,
        envelope: Envelope,
        content: IncomingContent,
        *,
        has_wishes: bool = False,
    ) -> Accepted:
        """Make it ours; ``has_wishes`` when its header may have them.  Raises: APIError."""
        source = source_of(caller, has_wishes=has_wishes)
        try:
            return await self.acceptance.accept(source, envelope, content)
        except Refused as refused:
            raise error_of(refused) from None

    async def _save(self, account: Account, people: People, content: bytes) -> None:
        bcc = ", ".join(f"<{one.address}>" for one in people.bcc)
        prefix = f"Bcc: {bcc}\r\n".encode() if bcc else b""
        try:
            await self.save_sent(account, prefix + content)
        except OverQuota:
            raise APIError(
                "sentOverQuota", "the message is queued; its copy has no room in the mailbox"
            ) from None


def is_small(draft: Draft) -> bool:
    """Whether composing it takes microseconds."""
    return not draft.files and len(draft.text) + len(draft.html) <= AT_ONCE_BYTES


def source_of(caller: Caller, *, has_wishes: bool = False) -> Source:
    """How acceptance sees who calls the API; ``has_wishes`` when the header may have some."""
    return Source(
        DOOR,
        "HTTPS" if caller.is_secure else "HTTP",
        Submitter(caller.account, login=caller.login),
        peer_ip=caller.peer_ip,
        hide_peer=True,
        needs_from=True,
        keeps_from_id=has_wishes,
    )


def error_of(refused: Refused) -> APIError:
    """What acceptance says, as a method answers it."""
    if refused.reply == OVER_NEW_RECIPIENTS:
        return APIError("recipientLimitReached", refused.reply.text)
    return APIError("server" if refused.reply.is_transient else "user", refused.reply.text)


def _next_block(pieces: Iterator[bytes]) -> bytes:
    """Some 256 KiB of ``pieces``; empty at the end."""
    block: list[bytes] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            break
    return b"".join(block)
