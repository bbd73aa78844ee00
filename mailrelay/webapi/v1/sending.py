"""``/messages``, to be sent: through the same acceptance as mail by any door."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, NoReturn

from attrs import evolve, frozen
from msgspec import Meta

from mailrelay.acceptance.envelope import Envelope
from mailrelay.directory.keys import Scope
from mailrelay.message.draft import Unwritable
from mailrelay.policy.from_id import new_from_id
from mailrelay.queue.entry import Entry, Message
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.send import Sender
from mailrelay.webapi.v1.fields import Id
from mailrelay.webapi.v1.filling import LetterWriter
from mailrelay.webapi.v1.letter import (
    Letter,
    draft_of,
    parties_of,
    problem_of_draft,
    wishes_of,
)
from mailrelay.webapi.v1.one_click import NO_PUBLIC_URL, OneClick
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import (
    INVALID_FIELD,
    LIMIT_REACHED,
    NOT_ACCEPTED,
    NOT_ALLOWED,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    Problem,
)

LONGEST_WAIT = 366 * 86400.0
"""How far ahead ``send_at`` may be, in seconds."""

MOST_ENTRIES = 10_000


class Queued(Strict, frozen=True):
    """One recipient.  ``id`` is its entry's, by which events tell of it."""

    id: Id
    recipient: Annotated[str, Meta(max_length=1000)]


class Sent(Strict, frozen=True):
    """A message that is ours now.  ``message_id`` is its header's."""

    id: Id
    message_id: Annotated[str, Meta(max_length=1000)]
    entries: Annotated[list[Queued], Meta(max_length=MOST_ENTRIES)]


@frozen
class SendingOperations:
    """What sends."""

    sender: Sender
    letters: LetterWriter
    one_click: OneClick

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="message_send",
                method="POST",
                path="/messages",
                about="Send a message. When it is answered, it is on stable storage.",
                work=self.send,
                scope=Scope.SEND,
                body=Letter,
                answers={202: Sent},
                problems=(NOT_ACCEPTED, LIMIT_REACHED, NO_PUBLIC_URL),
                most_body_bytes=_json_bytes(self.sender.max_message_bytes),
            ),
        ]

    async def send(self, call: Call) -> Answer:
        """Send one message.  Raises: Problem."""
        given: Letter = call.body
        sender, now = self.sender, self.sender.now()
        parties = parties_of(given)
        from_ = parties.from_.address
        caller = as_sender(call.caller, from_)
        self._check(caller, given, from_, parties.recipients)
        letter = await self.letters.filled(caller.account, given)
        message_id = f"<{new_from_id(sender.token())}@{sender.hostname}>"
        draft = draft_of(
            letter,
            parties,
            now=now,
            message_id=message_id,
            user_agent=sender.user_agent,
            boundary=sender.token,
        )
        hold_until = _release_at(letter.send_at, now)
        one_click = self.one_click.fields(
            letter.unsubscribe,
            caller.account.id,
            parties.recipients,
            [one.name for one in letter.headers],
            hold_until or now,
        )
        draft = evolve(draft, headers=[*draft.headers, *one_click.headers])
        mail = Mail(
            from_,
            smtputf8=draft.smtputf8,
            require_tls=letter.require_tls,
            hold_until=hold_until,
        )
        wishes = wishes_of(letter.extra, letter.tags, letter.priority)
        recipients = [Rcpt(one) for one in parties.recipients]
        envelope = Envelope(mail, recipients, wishes, ids=one_click.ids)
        keep = call.keep
        if keep is not None:
            envelope.answer = lambda message, entries: keep(Answer(202, _sent(message, entries)))
        try:
            accepted, _ = await sender.submit(caller, envelope, draft)
        except Unwritable as error:
            raise problem_of_draft(error, letter) from None
        except APIError as error:
            _raise_problem(error)
        sent = _sent(accepted.message, accepted.entries)
        return Answer(202, sent, is_kept=keep is not None)

    def _check(
        self, caller: Caller, letter: Letter, from_: Address, recipients: Sequence[Address]
    ) -> None:
        """What can be said before anything is composed.  Raises: Problem."""
        sender = self.sender
        if not sender.directory().owns(caller.account, from_):
            raise Problem(
                NOT_ALLOWED, "is no address that this login or key may send from", "from.address"
            )
        if not letter.text and not letter.html and letter.template is None:
            raise Problem(INVALID_FIELD, "at least one of text and html must be there", "text")
        if not recipients:
            raise Problem(INVALID_FIELD, "there is no recipient: to, cc and bcc are empty", "to")
        if len(recipients) > sender.max_recipients:
            text = f"a message has at most {sender.max_recipients} recipients"
            raise Problem(INVALID_FIELD, text, "to")
        if sender.over_daily_limit(caller.account, len(recipients)) is not None:
            text = "the account's messages for the last 24 hours are used up"
            raise Problem(LIMIT_REACHED, text, headers={"Retry-After": "3600"})


def as_sender(caller: Caller, from_: Address) -> Caller:
    """A key logs in as whom it sends for."""
    return caller if caller.login else evolve(caller, login=str(from_))


def _json_bytes(message_bytes: int) -> int:
    """How long JSON may be that says a message of that size: base64, and escapes."""
    return message_bytes * 3 // 2 + 1024 * 1024


def _release_at(send_at: datetime | None, now: float) -> float | None:
    if send_at is None:
        return None
    try:
        at = send_at.timestamp()
    except (OverflowError, ValueError):
        raise Problem(INVALID_FIELD, "is no time that can be kept", "send_at") from None
    if at > now + LONGEST_WAIT:
        raise Problem(INVALID_FIELD, "is more than a year ahead", "send_at")
    return at


def _sent(message: Message, entries: Sequence[Entry]) -> Sent:
    return Sent(
        id=message.id,
        message_id=message.message_id or "",
        entries=[Queued(id=one.id, recipient=str(one.recipient)) for one in entries],
    )


_KINDS = {
    "messageTooLarge": TOO_LARGE,
    "recipientLimitReached": LIMIT_REACHED,
    "server": STORE_UNAVAILABLE,
}


def _raise_problem(error: APIError) -> NoReturn:
    """What acceptance says, as the API does."""
    kind = _KINDS.get(error.code, NOT_ACCEPTED)
    headers = {"Retry-After": "5"} if kind is STORE_UNAVAILABLE else {}
    raise Problem(kind, error.message, headers=headers) from None
