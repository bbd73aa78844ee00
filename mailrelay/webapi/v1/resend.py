"""``/messages/{id}/resend``: a message once more, as a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from attrs import frozen
from msgspec import Meta, field
from twisted.internet.defer import Deferred

from mailrelay.acceptance.accept import Accepted
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope
from mailrelay.acceptance.wishes import Wishes
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.resend import Again, ResendControl
from mailrelay.directory.keys import Scope
from mailrelay.queue.entry import Entry, Message, StoredAnswer
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.send import Sender
from mailrelay.webapi.v1.history import no_such
from mailrelay.webapi.v1.letter import AddressText
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.outgoing import (
    Sent,
    as_sender,
    check_recipients,
    check_sender,
    problem_of_refusal,
    sent,
)
from mailrelay.webapi.v1.problems import (
    INVALID_FIELD,
    LIMIT_REACHED,
    NOT_ACCEPTED,
    NOT_ALLOWED,
    Kind,
    Problem,
)

CONTENT_GONE = Kind("content_gone", 409, "The message's content is not kept any more")

KeptAnswer = Callable[[Message, Sequence[Entry]], StoredAnswer]


class ResendIn(Strict, frozen=True):
    """Who gets it; the message's own recipients when ``to`` is empty."""

    to: Annotated[list[AddressText], Meta(max_length=1000)] = field(default_factory=list)


@frozen
class Resender:
    """Sends again, as by any door: with what the account may do, and what is left of its limits."""

    control: ResendControl
    sender: Sender

    async def resend(
        self, caller: Caller, again: Again, answer: KeptAnswer | None = None
    ) -> Accepted:
        """Make it ours once more.  Raises: Problem."""
        caller = as_sender(caller, again.from_)
        check_sender(self.sender, caller, again.from_, "from")
        check_recipients(self.sender, caller, again.recipients)
        before = again.message
        wishes = Wishes(dict(before.extra or {}), before.tags, before.is_urgent)
        # Acceptance looks whether SMTPUTF8 is needed.
        mail = Mail(again.from_, smtputf8=True, require_tls=before.require_tls)
        envelope = Envelope(mail, [Rcpt(one) for one in again.recipients], wishes, answer)
        try:
            content = await self._content(again)
            return await self.sender.accept(caller, envelope, content)
        except APIError as error:
            raise problem_of_refusal(error) from None

    async def _content(self, again: Again) -> IncomingContent:
        waiting: list[Deferred[None]] = []

        def caught_up() -> None:
            for one in waiting:
                one.callback(None)
            waiting.clear()

        content = IncomingContent(self.sender.open_spool, caught_up)
        try:
            async for piece in self.control.pieces(again):
                if content.size_bytes + len(piece) > self.sender.max_message_bytes:
                    said = f"the message is larger than {self.sender.max_message_bytes} bytes"
                    raise APIError("messageTooLarge", said)
                content.write(piece)
                if content.is_behind:
                    waiting.append(Deferred())
                    await waiting[-1]
        except BaseException:
            content.abandon()
            raise
        return content


@frozen
class ResendOperations:
    """What sends again."""

    resender: Resender

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="message_resend",
                method="POST",
                path="/messages/{id}/resend",
                about=(
                    "Send a message again, as a new one with a Message-ID of its own, while its"
                    " content is there: it waits, failed a short while ago, or is in a mailbox of"
                    " the account. To others than its recipients a key needs read, too."
                ),
                work=self.resend,
                scope=Scope.SEND,
                body=ResendIn,
                answers={202: Sent},
                problems=(NOT_ACCEPTED, LIMIT_REACHED, CONTENT_GONE),
            )
        ]

    async def resend(self, call: Call) -> Answer:
        """Send one message again.  Raises: Problem."""
        body: ResendIn = call.body
        to = [_address(f"to[{number}]", one) for number, one in enumerate(body.to)]
        key = call.caller.account.key
        if to and key is not None and Scope.READ not in key.scopes:
            # What was sent before may be read by whoever gets it now.
            raise Problem(NOT_ALLOWED, "the key lacks the scope read", "to")
        keep = call.keep
        try:
            again = await self.resender.control.again(call.caller.account.id, call.id, to)
        except NoSuch:
            raise no_such() from None
        except Refusal as refusal:
            raise Problem(CONTENT_GONE, str(refusal)) from None
        accepted = await self.resender.resend(
            call.caller,
            again,
            keep and (lambda message, entries: keep(Answer(202, sent(message, entries)))),
        )
        return Answer(202, sent(accepted.message, accepted.entries), is_kept=keep is not None)


def _address(place: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, str(error), place) from None
