"""The SMTP client: a connection that is ready once, then a transaction at a time.

Invariant: after the final dot the message may be sent more than once: a lost reply is a deferral.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.net.writing import Outbox
from mailrelay.outbound.content import Outgoing, send_content
from mailrelay.outbound.opening import UNASKED, SessionPlan, SMTPConnection, Stage
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.outcome import Postponed, outcome_of_error
from mailrelay.smtp.dialogue import (
    Done,
    Send,
    SendContent,
    SendNothingAsContent,
    Step,
    Transaction,
    Wait,
)
from mailrelay.smtp.reply import MalformedReply, Reply, reply


class SMTPClientProtocol(SMTPConnection):
    """Once ``ready`` has fired, ``transact`` may be called, again after each transaction."""

    _log = Logger()

    def __init__(
        self,
        plan: SessionPlan,
        clock: IReactorTime,
        transcript: Transcript | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        super().__init__(plan, clock, transcript, outbox)
        self.transactions = 0
        self.answered = False  # whether the running transaction got any reply
        self._transaction: Transaction | None = None
        self._outgoing: Outgoing | None = None
        self._finished: Deferred[Done] | None = None
        self._sending: Any = None

    def transact(self, transaction: Transaction, outgoing: Outgoing) -> Deferred[Done]:
        """Run one transaction.

        Fails with what broke it off before any reply, else tells what the replies amount to;
        either way this protocol is closed then.
        """
        self.answered = False
        if self.stage is not Stage.READY:
            return fail(Postponed(reply(451, "4.4.2", "connection closed before the next batch")))
        if self.clearLineBuffer():
            self._fail(Postponed(UNASKED))
            return fail(Postponed(UNASKED))
        self.stage = Stage.IN_TRANSACTION
        self.transactions += 1
        self._transaction, self._outgoing = transaction, outgoing
        finished = self._finished = Deferred()
        self._perform(transaction.start())
        return finished

    @override
    def _take_in_transaction(self, answer: Reply) -> None:
        assert self._transaction is not None
        self.answered = True
        if answer.code == 421:  # it closes the connection (RFC 5321 section 3.8)
            self._fail(Postponed(answer))
            return
        if self._sending is not None and answer.is_positive:
            # It cannot have what was not sent yet.
            raise MalformedReply(f"{answer.code} before the content's end")
        self._perform(self._transaction.take(answer))

    @override
    def _fail(self, error: BaseException) -> None:
        if self._sending is not None:
            self._sending.stop()
        super()._fail(error)

    @override
    def _broken_off(self, error: BaseException) -> None:
        finished, self._finished = self._finished, None
        transaction, self._transaction = self._transaction, None
        self._outgoing = None
        if finished is None or transaction is None:
            return
        if self.answered:
            finished.callback(transaction.broken_off(outcome_of_error(error).reply))
        else:
            finished.errback(Failure(error))

    def _perform(self, step: Step) -> None:
        match step:
            case Send():
                self._await_reply()
                self.transcript.said("C", step.data.decode().replace("\r\n", "\n").rstrip("\n"))
                self._outbox.write(self.transport, step.data)
            case SendContent():
                self._send_content(chunked=step.chunked)
            case Wait():
                self._await_reply()
            case SendNothingAsContent():
                self.setTimeout(self._plan.timeouts.end_of_content)
                self.transcript.said("C", ".")
                self.transport.write(b".\r\n")
            case Done():
                self._done(step)

    def _await_reply(self) -> None:
        assert self._transaction is not None
        timeouts = self._plan.timeouts
        is_data = self._transaction.awaits_data_reply
        self.setTimeout(timeouts.data if is_data else timeouts.command)

    def _send_content(self, *, chunked: bool) -> None:
        assert self._outgoing is not None
        size = self._outgoing.size_bytes
        shown = f"BDAT {size} LAST" if chunked else f"({size} bytes of content)\n."
        self.transcript.said("C", shown)
        if chunked:
            self.transport.write(f"BDAT {size} LAST\r\n".encode())
        self.setTimeout(self._plan.timeouts.content_block)
        self._sending = send_content(
            self.transport,
            self._outgoing,
            self._outbox,
            stuffed=not chunked,
            progress=self.resetTimeout,
        )
        self._sending.finished.addCallbacks(self._content_sent, self._content_missing)

    def _content_sent(self, _: object) -> None:
        self._sending = None
        if self._transaction is not None:
            self.setTimeout(self._plan.timeouts.end_of_content)

    def _content_missing(self, failure: Failure) -> None:
        self._log.failure("content cannot be read", failure)
        self._fail(Postponed(reply(451, "4.3.0", "local error: content cannot be read")))

    def _done(self, done: Done) -> None:
        finished, self._finished = self._finished, None
        self._transaction = self._outgoing = None
        if self._sending is not None:
            # Answered before the content's end: what is left of it would be read as commands.
            self._sending.stop()
            self._sending = None
            self.stage = Stage.CLOSED
            self.setTimeout(None)
            self.transport.abortConnection()
        else:
            self.stage = Stage.READY
            self.setTimeout(None)
        assert finished is not None
        finished.callback(done)
