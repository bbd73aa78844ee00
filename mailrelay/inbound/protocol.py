"""The SMTP server: bytes in, replies out, in order.

Order is the Sequencer's business, grammar ``smtp/command.py``'s, policy ``acceptance/``'s.

Invariants:

- One event at a time: while an answer is awaited, nothing that follows is looked at, and when
  much waits the transport is paused (RFC 2920 wants replies in command order).
- Content is never read as commands, nor anything sent before TLS believed after it.
- The idle timer runs only while it is the client's turn; from the beginning of content to its
  end, between BDAT chunks too, windows of time run in its place, and each must bring some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from mailrelay.acceptance.refusal import LOCAL_ERROR
from mailrelay.directory.model import Account
from mailrelay.inbound.authentication import Authentication
from mailrelay.inbound.context import Context, Role
from mailrelay.inbound.replies import (
    BARE_NEWLINE,
    BYE,
    EXPN_REFUSED,
    HELP,
    HTTP_HERE,
    NO_TLS_AVAILABLE,
    NOOP_OK,
    RESET,
    START_TLS,
    TLS_ALREADY,
    TLS_NOT_LAST,
    VRFY_ANSWER,
    greeting,
    hello,
)
from mailrelay.inbound.session import Session
from mailrelay.inbound.transaction import MailTransaction
from mailrelay.net.timeouts import LazyTimeout
from mailrelay.policy.limits import IDLE, SHUTTING_DOWN, TOO_MANY_ERRORS, TOO_SLOW
from mailrelay.policy.relay import Submitter
from mailrelay.smtp.command import (
    LINE_TOO_LONG,
    MAX_AUTH_LINE_BYTES,
    MAX_COMMAND_LINE_BYTES,
    BadCommand,
    Bdat,
    Command,
    Line,
    Mail,
    Rcpt,
    parse_command,
)
from mailrelay.smtp.reader import (
    CommandLine,
    ContentData,
    ContentEnd,
    Event,
    LineTooLong,
    Reader,
)
from mailrelay.smtp.reply import Reply
from mailrelay.smtp.session import Phase, Sequencer

WAITING_BYTES = 64 * 1024
"""Unread input beyond this pauses the transport."""

CLOSE_AFTER = 10.0
"""Seconds until a connection that does not close is aborted."""

Decision = Reply | Deferred[Reply] | None  # None: the reply is sent, or content comes first


@implementer(IPushProducer)
class SMTPServerProtocol(LazyTimeout, ESMTP):
    """One SMTP session.  Of the stock class it keeps the timeouts and the transport's ways."""

    transport: Any
    timeout: Any  # seconds; the stock class declares an int
    _log = Logger()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self.clock = context.clock
        self._limits = context.listener.limits
        self._reader = Reader()
        self._sequencer = Sequencer()
        self._session = Session(tls=context.listener.role is Role.SUBMISSIONS)
        self._transaction = MailTransaction(
            context, self._session, self._reader, self._sequencer, self._advance
        )
        self._authentication: Authentication | None = None  # reads the client's lines
        self._exchange: Authentication | None = None  # the last one: its answer may be late
        self._busy = False  # an answer is awaited
        self._advancing = False
        self._paused = False
        self._output_full = False
        self._closing = False
        self._leaving = False  # the server stops: close when the transaction is over
        self._errors = 0
        self._junk = 0
        self._window_bytes: int | None = None  # of content, in the window that runs
        self._abort: IDelayedCall | None = None

    # Connection

    @override
    def connectionMade(self) -> None:
        self._context.sessions.add(self)
        peer_ip = getattr(self.transport.getPeer(), "host", None) or "local"
        self._session.peer_ip, self._session.transport = peer_ip, self.transport
        self.timeout = self._limits.idle_after
        refusal = self._context.connections.opened(peer_ip, self._limits)
        if refusal is not None:
            self._answer_and_close(refusal)
            return
        self.transport.registerProducer(self, True)
        self._session.submitter = Submitter(trusted=self._context.is_trusted(peer_ip))
        screening = None if self._session.submitter.trusted else self._context.screening
        screened = screening.connected(peer_ip) if screening is not None else None
        if screened is None:
            self._greet(None)
        else:
            self._busy = True
            screened.addCallback(self._greet)

    def _greet(self, refusal: Reply | None) -> None:
        """Say who we are, or why we do not talk."""
        self._busy = False
        if self._closing:
            return
        if refusal is not None:
            self._answer_and_close(refusal)
            return
        self.setTimeout(self.timeout)
        self.send(greeting(self._context.hostname))
        self._advance()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self.endTimeouts()
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        self._context.sessions.discard(self)
        self._context.connections.closed(self._session.peer_ip)
        self._transaction.reset()
        if self._exchange is not None:
            self._exchange.abandon()

    @override
    def timeoutConnection(self) -> None:
        came = self._window_bytes
        if came is None:
            self._answer_and_close(IDLE)
        elif came >= self._limits.content_window_bytes or self._transaction.is_behind:
            self._begin_window()
        else:
            self._answer_and_close(TOO_SLOW)

    def _answer_and_close(self, answer: Reply) -> None:
        self.send(answer)
        self._close()

    def _close(self) -> None:
        self._closing = True
        self.setTimeout(None)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        # A peer that never reads, or never ends its TLS handshake, does not keep the socket.
        abort = self.transport.abortConnection
        self._abort = self._context.clock.callLater(CLOSE_AFTER, abort)

    def leave(self) -> None:
        """The server stops: close now, or when the transaction under way is over."""
        self._leaving = True
        if not self._transaction.is_under_way and not self._closing:
            self._answer_and_close(SHUTTING_DOWN)

    def abort(self) -> None:
        """The server stops now."""
        self.transport.abortConnection()

    # Flow

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self._reader.feed(data)
        self._advance()

    def pauseProducing(self) -> None:
        """The client does not read its replies: take no more commands."""
        self._output_full = True
        self._flow()

    def resumeProducing(self) -> None:
        """There is room for replies again."""
        self._output_full = False
        self._advance()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    @property
    def _held(self) -> bool:
        return self._busy or self._output_full or self._transaction.is_behind

    def _advance(self) -> None:
        """Take what was read, an event at a time, until an answer has to be awaited."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not (self._closing or self._held):
                event = self._reader.next_event()
                if event is None:
                    break
                self._take(event)
        finally:
            self._advancing = False
        self._flow()

    def _flow(self) -> None:
        """Read from the socket, or let TCP hold the client back when much waits.

        A full output alone does not stop the reading: TLS, too, says so while it must read first.
        """
        pause = self._held and self._reader.waiting_bytes > WAITING_BYTES
        if pause != self._paused and not self._closing:
            self._paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _take(self, event: Event) -> None:
        match event:
            case ContentData():
                if self._window_bytes is not None:
                    self._window_bytes += len(event.data)
                self._transaction.content_data(event)
            case ContentEnd():
                decision = self._transaction.content_end(event)
                if self._sequencer.phase is Phase.READY:  # a message came: MAIL alone is junk too
                    self._junk = 0
                self._respond(decision)
            case CommandLine(bare=False) if self._authentication is not None:
                self._respond(self._authentication.respond(event.line))
            case CommandLine() if self._authentication is None:
                self._respond(self._decide(event))
            case CommandLine() | LineTooLong():  # no line of an AUTH exchange: it ends
                if self._authentication is not None:
                    self._logged_in(None, None)
                self._respond(LINE_TOO_LONG if isinstance(event, LineTooLong) else BARE_NEWLINE)

    # Answers

    def send(self, answer: Reply) -> None:
        """The one door for replies."""
        self._context.outbox.write(self.transport, answer.to_wire())

    def _respond(self, decision: Decision) -> None:
        if isinstance(decision, Deferred):
            self._busy = True
            self._window_bytes = None
            self.setTimeout(None)  # it is our turn
            decision.addErrback(self._local_error).addCallback(self._awaited)
        elif decision is not None:
            self._answered(decision)
        elif self._reader.in_content:
            self._await_client()

    def _local_error(self, failure: Failure) -> Reply:
        self._log.failure("local error in an SMTP session", failure)
        return LOCAL_ERROR

    def _awaited(self, answer: Reply) -> None:
        self._busy = False
        if not self._closing:
            self._answered(answer)
        self._advance()

    def _answered(self, answer: Reply) -> None:
        self.send(answer)
        if answer.code in (221, 421):
            self._close()
            return
        if self._leaving and not self._transaction.is_under_way:
            self._answer_and_close(SHUTTING_DOWN)
            return
        if answer.code >= 400:
            self._context.counters.refused += 1
            self._errors += 1
            if self._errors >= self._limits.errors:
                self._answer_and_close(TOO_MANY_ERRORS)
                return
        self._await_client()

    def _await_client(self) -> None:
        """It is the client's turn.  A window that runs goes on: a drip wins no time."""
        if not (self._reader.in_content or self._sequencer.phase is Phase.CHUNKS):
            self._window_bytes = None
            self.setTimeout(self.timeout)
        elif self._window_bytes is None:
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_bytes = 0
        self.setTimeout(self._limits.content_window)

    # Commands

    def _decide(self, event: CommandLine) -> Decision:
        self._context.counters.commands += 1
        if self._sequencer.phase is Phase.GREETED and event.line.startswith(_HTTP_VERBS):
            return HTTP_HERE  # threat: cross-protocol requests
        if event.bare:
            return BARE_NEWLINE
        try:
            command = parse_command(event.line)
        except BadCommand as bad:
            return bad.reply
        refusal = self._sequencer.refuse(command.verb)
        if refusal is None:
            return self._obey(command)
        if isinstance(command, Bdat):
            return self._transaction.swallow(command, refusal)
        return refusal

    def _obey(self, command: Command) -> Decision:
        match command:
            case Mail():
                return self._transaction.mail(command)
            case Rcpt():
                return self._transaction.rcpt(command)
            case Bdat():
                return self._transaction.bdat(command)
            case Line():
                return _COMMANDS[command.verb](self, command)

    def _hello(self, command: Line) -> Reply:
        self._sequencer.accepted(command.verb)
        self._transaction.reset()
        self._session.esmtp = command.verb == "EHLO"
        self._session.hello_name = command.argument
        return self._idle_answer(hello(self._context, command, tls=self._session.tls))

    def _rset(self, command: Line) -> Reply:
        self._sequencer.accepted(command.verb)
        self._transaction.reset()
        return self._idle_answer(RESET)

    def _idle_answer(self, answer: Reply) -> Reply:
        """Commands that bring no mail are not free for ever."""
        self._junk += 1
        return TOO_MANY_ERRORS if self._junk > self._limits.junk_commands else answer

    def _starttls(self, command: Line) -> Decision:
        certificate = self._context.certificate
        if self._session.tls:
            return TLS_ALREADY
        if certificate is None:
            return NO_TLS_AVAILABLE
        if self._reader.waiting_bytes:
            # What was sent in clear behind STARTTLS must not be taken as sent in TLS.
            self._reader.discard()
            return TLS_NOT_LAST
        self._sequencer.accepted(command.verb)
        self._transaction.reset()
        self.send(START_TLS)
        self.transport.startTLS(certificate.options())
        self._session.tls_started()
        self.setTimeout(self.timeout)
        return None

    def _auth(self, command: Line) -> Decision:
        self._authentication = Authentication(self._context, self._session, self._logged_in)
        self._exchange = self._authentication
        self._reader.max_line_bytes = MAX_AUTH_LINE_BYTES
        return self._authentication.start(command.argument)

    def _logged_in(self, account: Account | None, login: str | None) -> None:
        """The AUTH exchange is over, with a login or without."""
        self._authentication = None
        self._reader.max_line_bytes = MAX_COMMAND_LINE_BYTES
        if account is None:
            self._context.counters.auth_failures += 1
        else:
            self._session.submitter = Submitter(account, self._session.submitter.trusted, login)


_HTTP_VERBS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ")

_COMMANDS: dict[str, Callable[[SMTPServerProtocol, Line], Decision]] = {
    "HELO": SMTPServerProtocol._hello,
    "EHLO": SMTPServerProtocol._hello,
    "RSET": SMTPServerProtocol._rset,
    "STARTTLS": SMTPServerProtocol._starttls,
    "AUTH": SMTPServerProtocol._auth,
    "NOOP": lambda self, command: self._idle_answer(NOOP_OK),
    "HELP": lambda self, command: self._idle_answer(HELP),
    "VRFY": lambda self, command: self._idle_answer(VRFY_ANSWER),
    "EXPN": lambda self, command: EXPN_REFUSED,
    "QUIT": lambda self, command: BYE,
    "DATA": lambda self, command: self._transaction.data(),
}
