"""The transport into local mailboxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.python.failure import Failure

from mailrelay.directory.model import Account, Directory
from mailrelay.mailbox.flags import moved_to
from mailrelay.mailbox.model import INBOX, JUNK, Incoming, MailboxStore
from mailrelay.message.trace import delivery_fields
from mailrelay.queue.entry import Entry
from mailrelay.queue.outcome import Deferral, Delivered, Outcome, PermanentFailure, Reach
from mailrelay.queue.store import StoreUnavailable
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.smtp.reply import reply

STORED = reply(250, "2.0.0", "stored in the mailbox")
NO_SUCH_USER = reply(550, "5.1.1", "no such user any more")
STORE_UNAVAILABLE = reply(452, "4.3.1", "the mailboxes cannot be written right now")
OVER_QUOTA = reply(452, "4.2.2", "mailbox is full")


@frozen
class MailboxTransport:
    """Delivers into the mailbox of whomever each recipient belongs to now.

    ``read`` adds what is told of the message: it is stored together with it, or not at all.
    """

    store: MailboxStore
    directory: Callable[[], Directory]
    now: Callable[[], float]
    read: Callable[[Incoming, Entry, Account], Deferred[Incoming]] | None = None

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        started = self.now()
        delivered = gatherResults(
            [
                maybeDeferred(self._deliver, job, entry).addErrback(_unavailable)
                for entry in job.entries
            ]
        )

        def done(outcomes: Sequence[Outcome]) -> Result:
            return Result(outcomes, Attempt(started, self.now()))

        return delivered.addCallback(done)

    def _deliver(self, job: Job, entry: Entry) -> Deferred[Outcome]:
        owner = self.directory().resolve(entry.recipient)
        if not isinstance(owner, Account):
            return succeed(PermanentFailure(NO_SUCH_USER))
        message = job.message
        prefix = delivery_fields(entry.reverse_path, entry.told_as)
        if entry.edit is not None:  # what is stored is shared: of the header nothing is replaced
            prefix += entry.edit.front
        mailbox = JUNK if message.verdict is not None and message.verdict.is_junk else INBOX
        incoming = Incoming(
            self.store.new_id(),
            owner.id,
            mailbox,
            message.id,
            entry.id,
            entry.reverse_path,
            entry.told_as,
            self.now(),
            len(prefix) + message.size_bytes,
            message.subject,
            prefix,
            flags=moved_to(mailbox, ()),
            remote_ip=message.remote_ip,
        )
        if self.read is None:
            return self.store.deliver(incoming).addCallback(_outcome)
        reading = self.read(incoming, entry, owner)
        return reading.addCallback(self.store.deliver).addCallback(_outcome)


def _unavailable(failure: Failure) -> Outcome:
    """One entry's trouble is not the others': what they came to must not be lost."""
    failure.trap(StoreUnavailable)
    return Deferral(STORE_UNAVAILABLE)


def _outcome(stored: bool) -> Outcome:
    return Delivered(STORED, Reach.MAILBOX) if stored else Deferral(OVER_QUOTA)
