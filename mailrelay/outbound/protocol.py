"""The SMTP client: one connection, made ready once, then a transaction at a time.

The stock class does greeting, EHLO and the hand-over to STARTTLS and AUTH; its reply reading,
TLS decision and content sending are replaced.

Invariants:

- Nothing that arrived before TLS is believed after it.
- Once TLS is required, nothing is said in clear.
- After the final dot the message may be sent more than once: a lost reply is a deferral.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail.smtp import ESMTPClient
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.net.timeouts import LazyTimeout
from mailrelay.net.tls import Negotiated, TLSLevel, negotiated
from mailrelay.net.writing import write_now
from mailrelay.outbound.auth import ChallengeRefused, ClientMechanism, base64_text, choose_mechanism
from mailrelay.outbound.content import Outgoing, send_content
from mailrelay.outbound.settings import Timeouts
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
from mailrelay.smtp.extensions import NO_EXTENSIONS, Extensions
from mailrelay.smtp.reply import (
    MAX_REPLY_LINE_BYTES,
    MAX_REPLY_LINES,
    MalformedReply,
    Reply,
    ReplyLine,
    assemble,
    parse_single,
    reply,
)


class SessionRefused(Exception):
    """The server does not let us begin; ``reply`` is its, or ours where it broke the rules."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class TLSFailed(Exception):
    """No TLS as required, or its handshake failed; ``may`` goes on without."""


class LoginFailed(Postponed):
    """Credentials are the operator's to mend: the mail waits for that."""


class Stage(Enum):
    """How far a connection is."""

    OPENING = auto()
    READY = auto()
    IN_TRANSACTION = auto()
    CLOSED = auto()


@frozen
class SessionPlan:
    """What a connection is to be before it may be used."""

    host: str
    ehlo_name: str
    level: TLSLevel
    implicit_tls: bool
    creator: IOpenSSLClientConnectionCreator | None
    timeouts: Timeouts
    username: str | None = None
    password: str | None = None
    auth_without_tls: bool = False
    nonce: str = ""


class SMTPClientProtocol(LazyTimeout, ESMTPClient):
    """``ready`` fires with this protocol, or fails, once; then ``transact`` may be called."""

    transport: Any
    MAX_LENGTH = MAX_REPLY_LINE_BYTES
    delimiter = b"\n"  # some servers end lines with LF alone; a CR before it is cut off
    debug = False
    timeout: Any = None  # the stock class declares it None
    __setattr__ = object.__setattr__  # the stock class looks for a deprecated name each time
    _log = Logger()

    def __init__(
        self, plan: SessionPlan, clock: IReactorTime, transcript: Transcript | None = None
    ) -> None:
        super().__init__(None, plan.creator, plan.ehlo_name.encode("ascii"))
        self._plan, self.clock = plan, clock
        self.ready: Deferred[SMTPClientProtocol] = Deferred()
        self.stage = Stage.OPENING
        self.extensions = NO_EXTENSIONS
        self.tls: Negotiated | None = None
        self.transcript = transcript if transcript is not None else Transcript()
        self.transactions = 0
        self.on_closed: Callable[[SMTPClientProtocol], None] = lambda _: None
        self._lines: list[ReplyLine] = []
        self._transaction: Transaction | None = None
        self._outgoing: Outgoing | None = None
        self._finished: Deferred[Done] | None = None
        self._sending: Any = None
        self._mechanism: ClientMechanism | None = None
        self._over_tls = plan.implicit_tls
        self._greeted = False
        self._in_handshake = plan.implicit_tls
        self.answered = False  # whether the running transaction got any reply

    # Connection

    @override
    def connectionMade(self) -> None:
        self.timeout = self._plan.timeouts.greeting
        super().connectionMade()
        self._tlsMode = self._plan.implicit_tls

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.endTimeouts()
        error = reason.value or ConnectionDone()
        if not isinstance(error, ConnectionDone | ConnectionLost) and not self._in_handshake:
            error = _broken(error)
        self._fail(error)
        self.on_closed(self)

    @override
    def timeoutConnection(self) -> None:
        if self.stage is Stage.CLOSED:  # it does not close its side
            self.transport.abortConnection()
            return
        waited = "no reply in time" if self._greeted else "no greeting in time"
        self._fail(Postponed(reply(451, "4.4.2", f"{waited} from {self._plan.host}")))

    def close(self) -> None:
        """Say QUIT and leave; the answer is not waited for, the peer's closing a little."""
        if self.stage is Stage.READY:
            self.stage = Stage.CLOSED
            self.sendLine(b"QUIT\r")
            self.setTimeout(CLOSING_SECONDS)
            self.transport.loseConnection()

    def abort(self) -> None:
        """Leave at once."""
        self._fail(Postponed(reply(451, "4.4.2", "connection closed by us")))

    def _fail(self, error: BaseException) -> None:
        """The connection is of no more use; whoever waits learns why."""
        if self.stage is Stage.CLOSED:
            return
        opening, self.stage = self.stage is Stage.OPENING, Stage.CLOSED
        self.setTimeout(None)
        if self._sending is not None:
            self._sending.stop()
        finished, self._finished = self._finished, None
        transaction, self._transaction = self._transaction, None
        self._outgoing = None
        self.transport.abortConnection()
        if opening and self._in_handshake and negotiated(self.transport) is None:
            error = TLSFailed(f"the handshake came to nothing: {error}")
        if not isinstance(error, SessionRefused):  # that is in the transcript already
            self.transcript.note(str(error))
        if opening:
            self.ready.errback(Failure(error))
        elif finished is not None and transaction is not None and self.answered:
            finished.callback(transaction.broken_off(outcome_of_error(error).reply))
        elif finished is not None:
            finished.errback(Failure(error))

    # Replies

    @override
    def lineReceived(self, line: bytes) -> None:
        if self.stage is Stage.CLOSED:
            return
        line = line.removesuffix(b"\r")
        try:
            answer = parse_single(line) if not self._lines else None
            if answer is None:
                self._lines.append(ReplyLine.parse(line))
            if len(self._lines) > MAX_REPLY_LINES:
                raise MalformedReply(f"a reply of more than {MAX_REPLY_LINES} lines")
            if answer is None:
                if self._lines[-1].more:
                    return
                answer = assemble(self._lines)
                self._lines = []
            self.resetTimeout()  # by whole replies: lines that trickle in must not keep us
            self._greeted = True
            self._in_handshake = False
            # What a SASL mechanism asks may show what it was told.
            self.transcript.said("S", "334 ****" if answer.code == 334 else str(answer))
            self._take(answer)
        except MalformedReply as error:
            self._fail(error)

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        self._fail(MalformedReply("a reply line that is too long"))

    def _take(self, answer: Reply) -> None:
        if self._transaction is not None:
            self.answered = True
            if answer.code == 421:  # it closes the connection (RFC 5321 section 3.8)
                self._fail(Postponed(answer))
                return
            if self._sending is not None and answer.is_positive:
                # It cannot have what was not sent yet.
                raise MalformedReply(f"{answer.code} before the content's end")
            self._perform(self._transaction.take(answer))
        elif self.stage is Stage.READY:
            # Unasked: 421 before it closes, or a server that lost count.  Use it no more.
            self._fail(Postponed(answer if answer.is_transient else _UNASKED))
        elif answer.code in self._expected:
            self._okresponse(answer.code, answer.text.encode())
        else:
            self._refused = answer
            self._failresponse(answer.code, answer.text.encode())

    # Getting ready

    @override
    def sendLine(self, line: bytes) -> None:
        self.transcript.said("C", line.decode("utf-8", "replace").rstrip("\r"))
        write_now(self.transport, line.rstrip(b"\r") + b"\r\n")

    def _send_secret(self, line: bytes, shown: str) -> None:
        self.transcript.said("C", shown)
        self.transport.write(line + b"\r\n")

    @override
    def smtpConnectionFailed(self, code: int, resp: bytes) -> None:
        if code < 400:
            raise MalformedReply(f"{code} when it was not its turn")
        self._fail(SessionRefused(self._refused))

    def _ehlo_refused(self, code: int, resp: bytes) -> None:
        """No HELO instead: TLS or AUTH is needed, and the operator must know."""
        if self._refused.is_transient:
            self._fail(SessionRefused(self._refused))
        elif self._needs_tls and not self._over_tls:
            self._fail(TLSFailed(f"EHLO was answered {self._refused}"))
        else:
            self._fail(LoginFailed(reply(454, "4.7.0", f"EHLO was answered {self._refused}")))

    @override
    def esmtpState_ehlo(self, code: int, resp: bytes) -> None:
        self.setTimeout(self._plan.timeouts.command)
        super().esmtpState_ehlo(code, resp)
        if self._needs_tls or self._plan.username:
            self._failresponse = self._ehlo_refused

    @property
    def _needs_tls(self) -> bool:
        return self._plan.level in (TLSLevel.ENCRYPT, TLSLevel.VERIFY)

    @override
    def smtpState_helo(self, code: int, resp: bytes) -> None:
        if self._refused.code == 421:
            self._fail(SessionRefused(self._refused))
            return
        super().smtpState_helo(code, resp)
        self._failresponse = self.smtpConnectionFailed

    @override
    def esmtpState_serverConfig(self, code: int, resp: bytes) -> None:
        self.extensions = Extensions.of(resp.decode("utf-8", "replace").split("\n")[1:])
        if self._over_tls or self._plan.level is TLSLevel.NONE:
            self._log_in()
        elif "STARTTLS" in self.extensions:
            self._expected = [220]
            self._okresponse = self.esmtpState_starttls
            self._failresponse = self._starttls_refused
            self.sendLine(b"STARTTLS")
        elif self._needs_tls:
            self._fail(TLSFailed("the server does not offer STARTTLS"))
        else:
            self._log_in()

    def _starttls_refused(self, code: int, resp: bytes) -> None:
        self._fail(TLSFailed(f"STARTTLS was answered {self._refused}"))

    @override
    def esmtpState_starttls(self, code: int, resp: bytes) -> None:
        if self.clearLineBuffer():
            # What came with the 220 was not sent within TLS: somebody may have put it there.
            self._fail(TLSFailed("the server sent data in clear after its answer to STARTTLS"))
            return
        self.transport.startTLS(self._plan.creator)
        self._over_tls = self._tlsMode = self._in_handshake = True
        self.extensions = NO_EXTENSIONS
        self.esmtpState_ehlo(code, resp)

    def _log_in(self) -> None:
        plan = self._plan
        if plan.username is None or plan.password is None:
            self.smtpState_from(250, b"")
            return
        if not self._over_tls and not plan.auth_without_tls:
            self._fail(LoginFailed(reply(454, "4.7.0", "no TLS, so the password is not sent")))
            return
        self._mechanism = choose_mechanism(
            self.extensions.auth_mechanisms, plan.username, plan.password, plan.nonce
        )
        if self._mechanism is None:
            self._fail(LoginFailed(reply(454, "4.7.0", "the relay host offers no AUTH we know")))
            return
        self._expected = [235, 334]
        self._okresponse = self._challenged
        self._failresponse = self._login_refused
        line = f"AUTH {self._mechanism.name}"
        initial = self._mechanism.initial
        if initial is None:
            self.sendLine(line.encode())
        else:
            self._send_secret(line.encode() + b" " + base64_text(initial), f"{line} ****")

    def _challenged(self, code: int, resp: bytes) -> None:
        assert self._mechanism is not None
        try:
            if code == 235:
                if not self._mechanism.is_complete:
                    raise ChallengeRefused("the server did not prove that it knows the password")
                self.smtpState_from(code, resp)
                return
            response = self._mechanism.respond(b64decode(resp, validate=True))
        except (Base64Error, ChallengeRefused) as error:
            self._fail(LoginFailed(reply(454, "4.7.0", f"login failed: {error}")))
            return
        self._send_secret(base64_text(response), "****")

    def _login_refused(self, code: int, resp: bytes) -> None:
        self._fail(LoginFailed(reply(454, "4.7.8", f"login refused: {self._refused}")))

    @override
    def smtpState_from(self, code: int, resp: bytes) -> None:
        """The seam where the stock class would begin a message: we are ready."""
        self.stage = Stage.READY
        self.setTimeout(None)
        if self._over_tls:
            self.tls = negotiated(self.transport)
        self.ready.callback(self)

    # Transactions

    def transact(self, transaction: Transaction, outgoing: Outgoing) -> Deferred[Done]:
        """Run one transaction.

        Fails with what broke it off before any reply, else tells what the replies amount to;
        either way this protocol is closed then.
        """
        self.answered = False
        if self.clearLineBuffer():
            self._fail(Postponed(_UNASKED))
            return fail(Postponed(_UNASKED))
        self.stage = Stage.IN_TRANSACTION
        self.transactions += 1
        self._transaction, self._outgoing = transaction, outgoing
        finished = self._finished = Deferred()
        self._perform(transaction.start())
        return finished

    def _perform(self, step: Step) -> None:
        match step:
            case Send():
                self._await_reply()
                self.transcript.said("C", step.data.decode().replace("\r\n", "\n").rstrip("\n"))
                write_now(self.transport, step.data)
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
            self.transport, self._outgoing, stuffed=not chunked, progress=self.resetTimeout
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


def _broken(error: BaseException) -> Postponed:
    """What TLS reports of a connection that was fine before."""
    return Postponed(reply(451, "4.4.2", f"connection broken: {error}"))


CLOSING_SECONDS = 10.0
"""How long a peer may take to close its side after our QUIT."""

_UNASKED = reply(451, "4.5.0", "the server sent a reply that nobody asked for")
