"""Accepting a message: it is judged, made, signed, and stored in one durable transaction.

Invariant: the Deferred of ``accept`` fires only when content, entries and events are on stable
storage together; if it fails, nothing was kept and the peer may send the message again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from mailrelay.acceptance.again import queued_text
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.header_checks import checked_header
from mailrelay.acceptance.judging import NOTHING_JUDGED, Body, Chain, Judged
from mailrelay.acceptance.making import Making
from mailrelay.acceptance.refusal import STORE_FULL, Refused, answered_before, refused_by
from mailrelay.acceptance.signing import Signing
from mailrelay.message.member_path import MembersCopy
from mailrelay.queue.entry import Content, Entry, Message, NewMessage
from mailrelay.queue.store import (
    AllOverQuota,
    FromIDTaken,
    NotStored,
    StoreUnavailable,
    Together,
    TooManyNewRecipients,
)
from mailrelay.smtp.reply import Reply, reply

T = TypeVar("T")


class AcceptanceStore(Protocol):
    """What acceptance asks of storage: see queue/store.py for what each guarantees."""

    def new_id(self) -> int:
        """See QueueStore."""

    def add(self, message: NewMessage) -> Deferred[None]:
        """See QueueStore."""

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        """See QueueStore."""


@frozen
class Accepted:
    """The message is ours now."""

    message: Message
    entries: Sequence[Entry]
    is_delivered: bool = False  # by the application whose answer was waited for


@frozen
class Acceptance:
    """The one function that accepts mail, whatever door it came in by.

    ``enqueue`` is told of what was committed, ``remember`` gets small content that will be read
    again soon.
    """

    making: Making
    store: AcceptanceStore
    enqueue: Callable[[Sequence[Entry]], None]
    remember: Callable[[int, Content], None]
    signing: Signing | None = None
    # Counts a member's failure that was reported late; fires when that is durable.
    failed_late: Callable[[MembersCopy], Deferred[None]] = lambda of: succeed(None)

    def accept(
        self,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None = None,
    ) -> Deferred[Accepted]:
        """Make the message ours, if ``judges`` do not refuse it: those of mail of strangers.

        Fails with Refused, AcceptedBefore and AnsweredBefore; the content is abandoned then.
        """
        return self._whole(self._store, source, envelope, incoming, judges)

    def prepare(
        self,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None = None,
    ) -> Deferred[NewMessage]:
        """What ``accept`` would store; see Several.  Fails with Refused."""
        return self._whole(self._made, source, envelope, incoming, judges)

    def _whole(
        self,
        made: Callable[..., Any],
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None,
    ) -> Deferred[Any]:
        """What is ``made`` of a body that is there whole; else it is abandoned."""
        small = incoming.small_body()
        making: Deferred[Any]
        if judges is not None:
            judging = self._judged(judges, made, source, envelope, incoming)
            making = Deferred.fromCoroutine(judging)
        elif small is not None:
            making = maybeDeferred(made, (small, None), source, envelope, incoming)
        else:
            making = incoming.finish().addCallback(made, source, envelope, incoming)
        return self.unless_refused(making.addErrback(_abandon, incoming))

    async def _judged(
        self,
        judges: Chain,
        made: Callable[..., Any],
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
    ) -> Any:
        """What is ``made`` of mail of strangers.  Raises: Refused."""
        body = await incoming.finish()
        making = self.making
        header = checked_header(source, incoming.head, making.directory, making.max_received)
        arrived = judges.arrived(source, envelope, header, incoming, body, making.now())
        found = await judges.judge(arrived)
        if found.refusal is not None:
            raise Refused(found.refusal)
        if found.hidden:
            body = await incoming.edited(found.hidden, judges.read_spool)
        new = made(body, source, envelope, incoming, judges.told(found))
        return await new if isinstance(new, Deferred) else new

    def unless_refused(self, storing: Deferred[T]) -> Deferred[T]:
        """``storing``, which fails with Refused for what the sender is to be told."""

        def failed(failure: Failure) -> Failure:
            if isinstance(failure.value, StoreUnavailable | OSError):
                raise Refused(STORE_FULL) from failure.value
            if isinstance(failure.value, FromIDTaken | TooManyNewRecipients | AllOverQuota):
                raise refused_by(failure.value) from failure.value
            return failure

        return storing.addErrback(failed)

    def _store(
        self,
        body: Body,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judged: Judged = NOTHING_JUDGED,
    ) -> Deferred[Accepted]:
        made = self._made(body, source, envelope, incoming, judged)
        if isinstance(made, Deferred):
            return made.addCallback(partial(self.stored, source))
        return self.stored(source, made)

    def _made(
        self,
        body: Body,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judged: Judged = NOTHING_JUDGED,
    ) -> NewMessage | Deferred[NewMessage]:
        """What is stored, signed where that is ours to do."""
        making = self.making
        new = making.message(body, source, envelope, incoming, judged)
        if new.message.is_report:
            directory, now = making.directory(), making.now()
            failed = making.returning.failed_in(directory, envelope, incoming.head, now)
            if failed is not None:
                return self.failed_late(failed).addCallback(lambda _: new)
        signing = self.signing
        if signing is None or not signing.concerns(new, is_ours=source.needs_from):
            return new
        is_ours, sealing = source.needs_from, judged.sealing
        return signing.signed(new, incoming.head, is_ours=is_ours, sealing=sealing)

    def stored(self, source: Source, new: NewMessage) -> Deferred[Accepted]:
        """Store what was prepared, and send it on its way."""
        stored = self.store.add(new)
        if source.door == "submission" and new.conditions and new.conditions.answer:
            stored.addErrback(answered_before, new.conditions.answer)
        return stored.addCallback(lambda _: self.committed(new))

    def committed(self, new: NewMessage) -> Accepted:
        """Send on its way what was stored."""
        if new.content.body is not None:
            self.remember(new.message.id, new.content)
        for one in new.with_reports:
            self.enqueue(one.entries)
        return Accepted(new.message, new.entries)


def _abandon(failure: Failure, incoming: IncomingContent) -> Failure:
    incoming.abandon()
    return failure


def queued_reply(accepted: Accepted) -> Reply:
    """What an SMTP client is told of its accepted message."""
    if accepted.is_delivered:
        return reply(250, "2.0.0", f"delivered as {accepted.message.id}")
    return reply(250, "2.0.0", queued_text(accepted.message.id))
