"""One message over one connection: as many transactions as its recipients need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import evolve, field, frozen
from twisted.logger import Logger

from mailrelay.outbound.content import Outgoing
from mailrelay.outbound.protocol import SMTPClientProtocol
from mailrelay.queue.outcome import Reach, outcome_of_error
from mailrelay.smtp.dialogue import (
    OutgoingEnvelope,
    OutgoingRecipient,
    Transaction,
    refusal_without_asking,
)
from mailrelay.smtp.reply import EnhancedStatus, Reply
from mailrelay.smtp.reply_pattern import ReplyPattern

MOST_FOLLOWING = 10
"""Transactions after the first for recipients that were too many for it.

It bounds what a server that takes one recipient at a time makes us send again.
"""

_TOO_MANY = EnhancedStatus(4, 5, 3)


@frozen
class Said:
    """What a host said of a message: one reply per recipient, in order.

    ``content_sent`` when it was sent any content; ``is_lost`` when the connection broke before
    any reply; ``is_ours`` when the replies are our own, for that or because of what it offers.
    """

    replies: Sequence[Reply]
    reach: Reach = Reach.PASSED_ON
    content_sent: bool = False
    is_lost: bool = False
    is_ours: bool = False

    @property
    def may_ask_next(self) -> bool:
        """Whether another host may be asked: this one has nothing, and refused nobody for good."""
        return not self.content_sent and all(answer.is_transient for answer in self.replies)


def to_ask_next(said: Said, patterns: Sequence[ReplyPattern], *, is_gone: bool) -> Sequence[int]:
    """The recipients for whom another host may be asked, by their places.

    ``is_gone`` when the connection broke off: after content, only a 421 says that the host does
    not have the message all the same.
    """
    replies = said.replies
    if not patterns:
        return range(len(replies)) if said.may_ask_next else ()
    if (said.is_ours or is_gone) and said.may_ask_next:
        return range(len(replies))
    fitting = [place for place, answer in enumerate(replies) if _fits(answer, patterns)]
    if said.content_sent and is_gone:
        return [place for place in fitting if replies[place].code == 421]
    return fitting


def _fits(answer: Reply, patterns: Sequence[ReplyPattern]) -> bool:
    return any(pattern.fits(answer) for pattern in patterns)


@frozen
class OutgoingMessage:
    """What is sent: the envelope, and its content as often as it is needed."""

    envelope: OutgoingEnvelope
    outgoing: Callable[[], Outgoing]
    _log: Logger = field(factory=Logger, init=False)

    def for_some(self, places: Sequence[int]) -> OutgoingMessage:
        """The same for those of its recipients."""
        some = [self.envelope.recipients[place] for place in places]
        return evolve(self, envelope=evolve(self.envelope, recipients=some))

    async def send(self, connection: SMTPClientProtocol) -> Said:
        """Send it over ``connection``, which is ready."""
        offered = connection.extensions
        recipients = self.envelope.recipients
        refusal = refusal_without_asking(self.envelope, offered)
        if refusal is not None:
            connection.transcript.note(str(refusal))
            return Said([refusal] * len(recipients), is_ours=True)
        batches = _batches(recipients, offered.max_recipients)
        said = [await self._in_rounds(connection, batch) for batch in batches]
        is_lost = all(each.is_lost for each in said)
        return Said(
            [answer for each in said for answer in each.replies],
            Reach.PASSED_ON if "DSN" in offered else Reach.RELAYED,
            content_sent=any(each.content_sent for each in said),
            is_lost=is_lost,
            is_ours=is_lost,
        )

    async def _in_rounds(
        self, connection: SMTPClientProtocol, recipients: Sequence[OutgoingRecipient]
    ) -> Said:
        """One transaction, and others for those that were too many while some are taken."""
        first = last = await self._transact(connection, recipients)
        replies = list(first.replies)
        for _ in range(MOST_FOLLOWING):
            # RFC 5321 section 4.5.3.1.10: those accepted are disposed of, the others may now fit.
            left = [index for index, answer in enumerate(replies) if is_too_many(answer)]
            if not left or not any(answer.is_positive for answer in last.replies):
                break
            connection.transcript.note(f"{len(left)} recipients were too many: once more")
            last = await self._transact(connection, [recipients[index] for index in left])
            if not last.is_lost:
                for index, answer in zip(left, last.replies, strict=True):
                    replies[index] = answer
        if any(answer.is_positive for answer in replies):
            replies = [_for_now(answer) if is_too_many(answer) else answer for answer in replies]
        return evolve(first, replies=replies)

    async def _transact(
        self, connection: SMTPClientProtocol, recipients: Sequence[OutgoingRecipient]
    ) -> Said:
        envelope = evolve(self.envelope, recipients=recipients)
        transaction = Transaction(envelope, connection.extensions)
        try:
            done = await connection.transact(transaction, self.outgoing())
        except Exception as error:
            answer = outcome_of_error(error).reply
            if str(answer.status) == "4.3.0":
                self._log.failure("an attempt failed for a reason of our own")
            return Said([answer] * len(recipients), is_lost=True)
        return Said(done.replies, content_sent=transaction.content_begun)


def _batches(
    recipients: Sequence[OutgoingRecipient], most: int | None
) -> Iterator[Sequence[OutgoingRecipient]]:
    """At most ``most`` recipients at a time (RFC 9422: RCPTMAX)."""
    step = most or len(recipients)
    for start in range(0, len(recipients), step):
        yield recipients[start : start + step]


def is_too_many(answer: Reply) -> bool:
    """Whether a recipient was one too many, not refused for what it is.

    452 has other meanings, which its enhanced status names: 4.2.2 is a full mailbox.
    """
    if answer.code == 552:  # what old servers say instead of 452
        return answer.status == EnhancedStatus(5, 5, 3)
    return answer.code == 452 and answer.status in (None, _TOO_MANY)


def _for_now(answer: Reply) -> Reply:
    return Reply(452, answer.text, _TOO_MANY)
