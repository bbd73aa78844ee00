"""Accepting for an application whose answer is the reply: while it is asked, the sender waits.

Invariants:

- Nothing is stored before the application has the message: what it refuses leaves no copy here.
- What it took, and is answered 250, is in the history, in one transaction: accepted and delivered.
- The sender that was not answered sends again, and the application sees the same Idempotency-Key:
  so does whoever sends an equal message again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mailrelay.acceptance.accept import Acceptance, Accepted
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.judging import Chain
from mailrelay.acceptance.refusal import Refused, refused_by, told_again
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Content, Entry, EntryState, Finished, NewMessage
from mailrelay.queue.outcome import Delivered
from mailrelay.queue.report import Originals, Reporter, admitted
from mailrelay.queue.settle import Rules, settle
from mailrelay.queue.store import AnsweredBefore, NotStored
from mailrelay.queue.transport import Job, Result
from mailrelay.routing.ways import ToEndpoint


class FinishedStore(Originals, Protocol):
    """What this asks of storage."""

    def refusal(self, message: NewMessage) -> Deferred[NotStored | None]:
        """Why ``message`` would not be stored as things are; nothing is changed."""

    def add_finished(
        self, message: NewMessage, finished: Finished, reports: Sequence[NewMessage]
    ) -> Deferred[None]:
        """Store ``message``, and in the same transaction what came of its one entry.

        Fails with NotStored when its conditions do not hold: then nothing was stored.
        """


@frozen
class Synchronous:
    """Accepts as Acceptance does.  ``ask`` posts a message that is not stored, with a key."""

    acceptance: Acceptance
    store: FinishedStore
    reporter: Reporter
    ask: Callable[[Job, Content, str], Deferred[Result]]
    rules: Callable[[], Rules]
    answered: Callable[[Result], None] = field(default=lambda result: None)
    _log = Logger()

    def accept(
        self,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None = None,
    ) -> Deferred[Accepted]:
        """Make the message the application's.

        Fails with Refused and AcceptedBefore; the content is abandoned then.
        """
        return Deferred.fromCoroutine(self._accept(source, envelope, incoming, judges))

    async def _accept(
        self,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None,
    ) -> Accepted:
        new = await self.acceptance.prepare(source, envelope, incoming, judges)
        try:
            if not _is_for_now(envelope, new):
                return await self.acceptance.unless_refused(self.acceptance.stored(source, new))
            return await self.acceptance.unless_refused(
                Deferred.fromCoroutine(self._handed_over(new, self._key(new.entries[0], incoming)))
            )
        except BaseException:
            incoming.abandon()
            raise

    def _key(self, entry: Entry, incoming: IncomingContent) -> str:
        """The same whenever the same sender sends the same bytes to the same recipient."""
        digest = incoming.digest()
        assert digest is not None
        paths = f"{entry.message.reverse_path or ''}\0{entry.recipient}\0"
        hashed = hashlib.sha256(paths.encode("utf-8", "surrogateescape") + digest)
        return f"{self.acceptance.making.hostname[:80]}.{hashed.hexdigest()[:32]}"

    async def _handed_over(self, new: NewMessage, key: str) -> Accepted:
        """Raises: Refused, AcceptedBefore, NotStored, StoreUnavailable."""
        refusal = await self.store.refusal(new)
        if refusal is not None:
            raise self._refused(refusal, new)
        entry = new.entries[0]
        assert isinstance(entry.destination, Destination)
        job = Job(entry.destination, new.message, [entry])
        result = await self.ask(job, new.content, key)
        self.answered(result)
        [outcome] = result.outcomes
        if not isinstance(outcome, Delivered):
            self._log.info(
                "{key} did not take a message from {sender}: {reply}",
                key=job.destination.key,
                sender=str(new.message.reverse_path or "<>"),
                reply=str(outcome.reply),
            )
            raise Refused(outcome.reply)
        try:
            await self._record(new, job, result)
        except BaseException as error:
            self._log.error(
                "{key} took message {id}, which cannot be recorded: its sender is to send it again",
                key=job.destination.key,
                id=new.message.id,
            )
            if isinstance(error, NotStored):
                raise self._refused(error, new) from error
            raise
        return Accepted(new.message, new.entries, is_delivered=True)

    def _refused(self, reason: NotStored, new: NewMessage) -> Exception:
        answer = new.conditions.answer if new.conditions is not None else None
        if isinstance(reason, AnsweredBefore) and answer is not None:
            return told_again(reason, answer)
        return refused_by(reason)

    async def _record(self, new: NewMessage, job: Job, result: Result) -> None:
        settled = settle(job, result, self.rules(), self.reporter.now(), 0.0, unbegun=True)
        reporter = evolve(self.reporter, store=_Unstored(self.store, new))
        made = await reporter.of(new.message, settled, None)
        reports = [admitted(report, self.acceptance.making.admit) for report in made]
        await self.store.add_finished(new, settled.finished[0], reports)
        for report in reports:
            self.acceptance.enqueue(report.entries)


@frozen
class _Unstored:
    """Originals of which one is not stored."""

    store: Originals
    new: NewMessage

    def new_id(self) -> int:
        return self.store.new_id()

    def content(self, message_id: int) -> Deferred[Content]:
        return succeed(self.new.content)

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        return self.store.read_spool(name, offset, size)


def _is_for_now(envelope: Envelope, new: NewMessage) -> bool:
    """Whether the application is to be asked: what is held, for later, or told of is queued."""
    mail = envelope.mail
    if (
        len(new.entries) != 1
        or new.reports
        or mail.hold_for is not None
        or mail.hold_until is not None
    ):
        return False
    [entry] = new.entries
    to = entry.destination
    return (
        entry.state is EntryState.READY
        and isinstance(to, Destination)
        and isinstance(to.way, ToEndpoint)
    )
