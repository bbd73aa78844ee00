"""``/messages/raw``: messages that the application composed, submitted as by SMTP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from attrs import frozen
from msgspec import Meta, field

from mailrelay.acceptance.envelope import Envelope
from mailrelay.directory.keys import Scope
from mailrelay.message.draft import Unwritable
from mailrelay.message.raw import raw_message
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.send import Sender
from mailrelay.webapi.v1.fields import Tags
from mailrelay.webapi.v1.letter import AddressText, Extra, Long, Priority, wishes_of
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.outgoing import (
    Sent,
    as_sender,
    check_recipients,
    check_sender,
    json_bytes,
    problem_of_refusal,
    problem_of_unwritable,
    release_at,
    sent,
)
from mailrelay.webapi.v1.problems import INVALID_FIELD, LIMIT_REACHED, NOT_ACCEPTED, Problem
from mailrelay.webapi.v1.times import Time


class RawLetter(Strict, frozen=True):
    """A message of the application's own making; ``raw`` is base64 of all of it.

    ``from`` is where failures go and ``to`` is who gets it, whatever the message's header says.
    """

    from_: AddressText = field(name="from")
    to: Annotated[list[AddressText], Meta(max_length=1000)]
    raw: Long
    extra: Extra = field(default_factory=list)
    tags: Tags = field(default_factory=list)
    send_at: Time | None = None
    require_tls: bool = False
    priority: Priority = "normal"


@frozen
class RawOperations:
    """What sends finished messages."""

    sender: Sender

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="message_send_raw",
                method="POST",
                path="/messages/raw",
                about="Send a finished message. When it is answered, it is on stable storage.",
                work=self.send,
                scope=Scope.SEND,
                body=RawLetter,
                answers={202: Sent},
                problems=(NOT_ACCEPTED, LIMIT_REACHED),
                most_body_bytes=json_bytes(self.sender.max_message_bytes),
            ),
        ]

    async def send(self, call: Call) -> Answer:
        """Send one message.  Raises: Problem."""
        letter: RawLetter = call.body
        sender = self.sender
        from_ = _address("from", letter.from_)
        recipients = [_address(f"to[{number}]", one) for number, one in enumerate(letter.to)]
        caller = as_sender(call.caller, from_)
        check_sender(sender, caller, from_, "from")
        check_recipients(sender, caller, recipients)
        mail = Mail(
            from_,
            smtputf8=True,  # acceptance looks whether it is needed
            require_tls=letter.require_tls,
            hold_until=release_at(letter.send_at, sender.now()),
        )
        wishes = wishes_of(letter.extra, letter.tags, letter.priority)
        envelope = Envelope(mail, [Rcpt(one) for one in recipients], wishes)
        keep = call.keep
        if keep is not None:
            envelope.answer = lambda message, entries: keep(Answer(202, sent(message, entries)))
        try:
            content = await sender.content(partial(raw_message, letter.raw))
            accepted = await sender.accept(caller, envelope, content, has_wishes=True)
        except Unwritable as error:
            raise problem_of_unwritable(error) from None
        except APIError as error:
            raise problem_of_refusal(error) from None
        return Answer(202, sent(accepted.message, accepted.entries), is_kept=keep is not None)


def _address(place: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, str(error), place) from None
