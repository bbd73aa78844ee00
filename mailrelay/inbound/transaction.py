"""One mail transaction of a session: MAIL to the end of the content (RFC 5321 section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from mailrelay.acceptance.accept import Acceptance, queued_reply
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.refusal import refused_reply
from mailrelay.acceptance.returned import ONE_REPORT
from mailrelay.acceptance.screening import Screening
from mailrelay.acceptance.synchronous import Synchronous
from mailrelay.inbound.context import Context
from mailrelay.inbound.replies import (
    ASCII_ADDRESS,
    BARE_NEWLINE,
    CHUNK_OK,
    CHUNK_TOO_LARGE,
    FUTURE_RELEASE_ELSEWHERE,
    FUTURE_RELEASE_PAST,
    MUST_LOGIN,
    MUST_START_TLS,
    NUL_IN_CONTENT,
    ONE_AT_A_TIME,
    RECIPIENT_OK,
    REQUIRETLS_NEEDS_TLS,
    SENDER_OK,
    START_INPUT,
)
from mailrelay.inbound.session import Session
from mailrelay.message.trace import with_protocol
from mailrelay.policy.limits import TOO_LARGE, TOO_MANY_ERRORS, TOO_MANY_RECIPIENTS
from mailrelay.policy.relay import refuse_recipient, refuse_sender
from mailrelay.policy.simulated import Simulated, fails_at_mail, fails_at_rcpt, simulated_failure
from mailrelay.smtp.command import Bdat, Mail, Rcpt
from mailrelay.smtp.content import NewlineRepair
from mailrelay.smtp.reader import ContentData, ContentEnd, Reader
from mailrelay.smtp.reply import Reply
from mailrelay.smtp.session import Phase, Sequencer

LONGEST_HOLD = 60 * 86400
"""FUTURERELEASE: seconds ahead at the most."""

T = TypeVar("T")

Decision = Reply | Deferred[Reply]


class MailTransaction:
    """Envelope and content, from command to command.  One per session; ``reset`` empties it.

    ``caught_up`` is called when the spool took what made ``is_behind`` true.
    """

    def __init__(
        self,
        context: Context,
        session: Session,
        reader: Reader,
        sequencer: Sequencer,
        caught_up: Callable[[], None],
    ) -> None:
        self._context, self._session = context, session
        self._reader, self._sequencer, self._caught_up = reader, sequencer, caught_up
        self._limits = context.listener.limits
        self._envelope: Envelope | None = None
        self._content: IncomingContent | None = None
        self._door: Acceptance | Synchronous = context.acceptance
        self._refusal: Reply | None = None  # of the content that is being read
        self._repair: NewlineRepair | None = None
        self._last_chunk = False
        self._empty_chunks = 0
        self._began_at = 0.0
        self._accepting = False
        self._late: IDelayedCall | None = None  # a simulated answer

    @property
    def is_behind(self) -> bool:
        """Whether the spool has not yet taken what came."""
        return self._content is not None and self._content.is_behind

    @property
    def is_under_way(self) -> bool:
        """Whether MAIL was accepted and its message is not yet."""
        return self._envelope is not None or self._accepting

    def reset(self) -> None:
        """Forget the transaction: RSET, EHLO, STARTTLS, or the connection is gone."""
        if self._content is not None:
            self._content.abandon()
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._content = self._envelope = self._refusal = None

    # Envelope

    def mail(self, command: Mail) -> Decision:
        """The answer to MAIL."""
        refusal = self._refuse_mail(command)
        if refusal is not None:
            return refusal
        simulated = fails_at_mail(command.reverse_path) if self._simulates else None
        if simulated is not None:
            return self._simulate(simulated)
        screening = self._screening
        if screening is not None:
            refusal = screening.refuse_mail(self._session.peer_ip, command.reverse_path)
            if refusal is not None:
                return refusal
        self._sequencer.accepted(command.verb)
        self._envelope = Envelope(command)
        return SENDER_OK

    @property
    def _screening(self) -> Screening | None:
        """Who is asked about the peer, where nobody vouches for it."""
        return None if self._session.submitter.may_relay else self._context.screening

    def _refuse_mail(self, command: Mail) -> Reply | None:
        context, session = self._context, self._session
        if context.listener.role.is_submission and not session.submitter.may_relay:
            needs_tls = not session.tls and not context.listener.auth_without_tls
            return MUST_START_TLS if needs_tls else MUST_LOGIN
        if command.size_bytes is not None and command.size_bytes > self._limits.message_bytes:
            return TOO_LARGE
        if command.require_tls and not session.tls:
            return REQUIRETLS_NEEDS_TLS  # RFC 8689 section 3
        return (
            self._refuse_future(command)
            or context.store_trouble()
            or refuse_sender(context.directory(), session.submitter, command.reverse_path)
        )

    def _refuse_future(self, command: Mail) -> Reply | None:
        if command.hold_for is None and command.hold_until is None:
            return None
        if not self._context.listener.role.is_submission:
            return FUTURE_RELEASE_ELSEWHERE
        now = self._context.now()
        until = command.hold_until or now + (command.hold_for or 0)
        return None if now <= until <= now + LONGEST_HOLD else FUTURE_RELEASE_PAST

    def rcpt(self, command: Rcpt) -> Decision:
        """The answer to RCPT."""
        assert self._envelope is not None
        refusal = self._refuse_rcpt(command, self._envelope)
        if refusal is not None:
            return refusal
        simulated = fails_at_rcpt(command.forward_path) if self._simulates else None
        if simulated is not None:
            return self._simulate(simulated)
        screening = self._screening
        if screening is None:
            return self._screened(None, command, self._envelope)
        envelope, peer_ip = self._envelope, self._session.peer_ip
        answer = screening.refuse_recipient(peer_ip, envelope.reverse_path, command.forward_path)
        if isinstance(answer, Deferred):
            return answer.addCallback(self._screened, command, envelope)
        return self._screened(answer, command, envelope)

    def _screened(self, refusal: Reply | None, command: Rcpt, envelope: Envelope) -> Reply:
        """Take a recipient, unless there is a refusal."""
        if refusal is not None:
            return refusal
        self._sequencer.accepted(command.verb)
        envelope.recipients.append(command)
        return RECIPIENT_OK

    def _refuse_rcpt(self, command: Rcpt, envelope: Envelope) -> Reply | None:
        context, submitter = self._context, self._session.submitter
        if len(envelope.recipients) >= self._limits.recipients:
            return TOO_MANY_RECIPIENTS
        if command.beyond_ascii and not envelope.mail.smtputf8:
            return ASCII_ADDRESS
        directory, others = context.directory(), envelope.recipients
        returning = context.acceptance.making.returning
        if returning.is_ours(directory, command.forward_path):
            path, now = envelope.reverse_path, context.now()
            return returning.refuse(directory, command.forward_path, path, others, now)
        if others and returning.is_ours(directory, others[0].forward_path):
            return ONE_REPORT
        refusal = refuse_recipient(directory, submitter, command.forward_path)
        if refusal is None and others:
            paths = (others[0].forward_path, command.forward_path)
            if any(directory.is_synchronous(path) for path in paths):
                return ONE_AT_A_TIME
        if refusal is None and submitter.account is not None:
            account = submitter.account
            return context.over_daily_limit(account, len(envelope.recipients) + 1)
        return refusal

    # Content

    def data(self) -> Reply:
        """The answer to DATA."""
        self._begin_content()
        self._reader.expect_data()
        return START_INPUT

    def bdat(self, command: Bdat) -> Reply | None:
        """The answer to BDAT, None while its chunk is read."""
        first = self._content is None
        if first:
            self._begin_content()
        assert self._content is not None
        self._sequencer.accepted(command.verb)
        total = self._content.size_bytes + command.size_bytes
        if total > self._limits.message_bytes and self._refusal is None:
            self._refuse_content(TOO_LARGE)
        if command.size_bytes == 0 and not command.last:
            self._empty_chunks += 1
            if self._empty_chunks > self._limits.junk_commands:
                return TOO_MANY_ERRORS
        self._last_chunk = command.last
        return self._read_chunk(command, first=first)

    def swallow(self, command: Bdat, refusal: Reply) -> Reply | None:
        """Read a refused chunk all the same: its bytes follow (RFC 3030 section 4.2)."""
        self._refusal, self._last_chunk = refusal, False
        return self._read_chunk(command, first=True)

    def _read_chunk(self, command: Bdat, *, first: bool) -> Reply | None:
        if command.size_bytes > 2 * self._limits.message_bytes:
            return CHUNK_TOO_LARGE
        self._reader.expect_chunk(command.size_bytes, first=first)
        return None

    def _begin_content(self) -> None:
        self._door = self._way_in()
        is_known_again = self._door is not self._context.acceptance
        self._content = IncomingContent(
            self._context.open_spool, self._caught_up, digests=is_known_again
        )
        self._refusal = None
        self._empty_chunks = 0
        self._began_at = self._context.clock.seconds()
        self._repair = NewlineRepair() if self._context.listener.repair_newlines else None

    def _way_in(self) -> Acceptance | Synchronous:
        """Who takes the message: the queue, or an application that answers at once."""
        context, envelope = self._context, self._envelope
        assert envelope is not None
        if context.synchronous is None or len(envelope.recipients) != 1:
            return context.acceptance
        [recipient] = envelope.recipients
        is_synchronous = context.directory().is_synchronous(recipient.forward_path)
        return context.synchronous if is_synchronous else context.acceptance

    def content_data(self, event: ContentData) -> None:
        """Take a piece of content, or find that it is to be refused."""
        if self._refusal is not None or self._content is None:
            return
        if event.bare and self._repair is None:
            self._refuse_content(BARE_NEWLINE)
            return
        if b"\0" in event.data:  # RFC 2045 section 2.8; some servers read CRLF NUL . as an end
            self._refuse_content(NUL_IN_CONTENT)
            return
        data = self._repair.chunk(event.data) if self._repair is not None else event.data
        if self._content.size_bytes + len(data) > self._limits.message_bytes:
            self._refuse_content(TOO_LARGE)
            return
        self._content.write(data)

    def _refuse_content(self, refusal: Reply) -> None:
        """Read the rest, keep none of it, then answer once (threat: SMTP smuggling)."""
        self._refusal = refusal
        if self._content is not None:
            self._content.abandon()

    def content_end(self, event: ContentEnd) -> Decision:
        """The answer to the end of DATA or of a chunk."""
        if self._content is None:  # of a chunk that was swallowed
            refusal, self._refusal = self._refusal, None
            assert refusal is not None
            return refusal
        if self._sequencer.phase is Phase.CHUNKS and not self._last_chunk:
            return self._refusal or CHUNK_OK
        if self._refusal is None:
            self._complete(self._content, event)
        return self._end_of_message()

    def _complete(self, content: IncomingContent, event: ContentEnd) -> None:
        if self._repair is not None:
            content.write(self._repair.end())
        elif event.bare:
            self._refuse_content(BARE_NEWLINE)

    def _end_of_message(self) -> Decision:
        """The whole content is here: refuse it, or make it ours."""
        content, envelope, refusal = self._content, self._envelope, self._refusal
        assert content is not None and envelope is not None
        self._content = self._envelope = self._refusal = None
        self._sequencer.transaction_over()
        if refusal is not None:
            content.abandon()
            return refusal
        simulated = self._simulated_at_end(envelope)
        if simulated is not None:
            content.abandon()
            return self._simulate(simulated)
        self._accepting = True
        judges = None if self._session.submitter.may_relay else self._context.judges
        accepting = self._door.accept(self._source(envelope), envelope, content, judges)
        accepting.addBoth(self._accepting_over)
        return accepting.addCallbacks(self._accepted, refused_reply, callbackArgs=(self._began_at,))

    def _accepting_over(self, result: T) -> T:
        self._accepting = False
        return result

    def _accepted(self, accepted: Any, began_at: float) -> Reply:
        counters = self._context.counters
        counters.accepted += 1
        counters.on_accept(self._context.clock.seconds() - began_at)
        return queued_reply(accepted)

    def _source(self, envelope: Envelope) -> Source:
        listener, session = self._context.listener, self._session
        logged_in = session.submitter.account is not None
        return Source(
            door="submission" if logged_in else listener.role.value,
            protocol=with_protocol(
                esmtp=session.esmtp,
                tls=session.tls,
                authenticated=logged_in,
                smtputf8=envelope.mail.smtputf8,
            ),
            submitter=session.submitter,
            peer_ip=session.peer_ip,
            helo=session.hello_name,
            tls=session.tls_text,
            hide_peer=logged_in and listener.hide_submitters,
            keeps_from_id=logged_in,
            needs_from=logged_in,
        )

    # Simulated failures

    @property
    def _simulates(self) -> bool:
        return self._context.simulate and not self._context.listener.role.is_submission

    def _simulated_at_end(self, envelope: Envelope) -> Simulated | None:
        if not self._simulates:
            return None
        asked = (simulated_failure(recipient.forward_path) for recipient in envelope.recipients)
        return next((one for one in asked if one is not None), None)

    def _simulate(self, simulated: Simulated) -> Decision:
        if not simulated.after:
            return simulated.reply
        answer: Deferred[Reply] = Deferred()
        later = self._context.clock.callLater
        self._late = later(simulated.after, answer.callback, simulated.reply)
        return answer
