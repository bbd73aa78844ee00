"""An SMTP connection as a client, from the first byte to where a transaction may begin.

The stock class does greeting, EHLO and the hand-over to STARTTLS and AUTH; its reply reading
and TLS decision are replaced.

Invariants:

- Nothing that arrived before TLS is believed after it.
- Once TLS is required, nothing is said in clear.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.mail.smtp import ESMTPClient
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.net.peer_tls import CertificateRefused, refusal_of, shown_facts
from mailrelay.net.timeouts import LazyTimeout
from mailrelay.net.tls import Negotiated, TLSLevel, channel_binding, negotiated
from mailrelay.net.writing import Outbox
from mailrelay.outbound.auth import ClientMechanism, Login, base64_text, choose_mechanism
from mailrelay.outbound.scram import ChallengeRefused
from mailrelay.outbound.settings import Timeouts
from mailrelay.outbound.tls_failure import TLSFailed, not_offered
from mailrelay.outbound.tls_policy import AS_SET, Decision
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.outcome import Postponed
from mailrelay.routing.ways import MECHANISMS
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
    mechanisms: Sequence[str] = MECHANISMS
    is_observed: bool = False  # a certificate that is not right is noted, and believed


class SMTPConnection(LazyTimeout, ESMTPClient):
    """``ready`` fires once: a transaction may begin, or why none can.

    The subclass runs transactions: it moves ``stage`` to IN_TRANSACTION and back, is given every
    reply meanwhile, and is told when the connection fails under it.
    """

    transport: Any
    MAX_LENGTH = MAX_REPLY_LINE_BYTES
    delimiter = b"\n"  # some servers end lines with LF alone; a CR before it is cut off
    debug = False
    timeout: Any = None  # the stock class declares it None
    __setattr__ = object.__setattr__  # the stock class looks for a deprecated name each time

    def __init__(
        self,
        plan: SessionPlan,
        clock: IReactorTime,
        transcript: Transcript | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        super().__init__(None, plan.creator, plan.ehlo_name.encode("ascii"))
        self._plan, self.clock = plan, clock
        self._outbox = outbox if outbox is not None else Outbox(clock)
        self.ready: Deferred[None] = Deferred()
        self.stage = Stage.OPENING
        self.extensions = NO_EXTENSIONS
        self.tls: Negotiated | None = None
        self.decision: Decision = AS_SET
        self._own_ip = ""
        self.opened_at = clock.seconds()
        self.certificate: str | None = None  # what the server's says
        self.flaw: CertificateRefused | None = None  # what is wrong with it, when it was looked at
        self.transcript = transcript if transcript is not None else Transcript()
        self.on_closed: Callable[[Any], None] = lambda _: None
        self._lines: list[ReplyLine] = []
        self._mechanism: ClientMechanism | None = None
        self._over_tls = plan.implicit_tls
        self._greeted = False
        self._in_handshake = plan.implicit_tls

    # Connection

    @override
    def connectionMade(self) -> None:
        self.timeout = self._plan.timeouts.greeting
        self._own_ip = getattr(self.transport.getHost(), "host", "")
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
        self._fail(Postponed(CLOSED_BY_US))

    def _fail(self, error: BaseException) -> None:
        """The connection is of no more use; whoever waits learns why."""
        if self.stage is Stage.CLOSED:
            return
        opening, self.stage = self.stage is Stage.OPENING, Stage.CLOSED
        self.setTimeout(None)
        self.transport.abortConnection()
        refusal = refusal_of(self.transport) if opening and self._in_handshake else None
        if refusal is not None and not self._plan.is_observed:
            error = refusal
        elif opening and self._in_handshake and negotiated(self.transport) is None:
            broken = isinstance(error, ConnectionDone | ConnectionLost | Postponed)
            text = f"the handshake came to nothing: {error}"
            error = TLSFailed(text, is_temporary=broken)
        if isinstance(error, TLSFailed | CertificateRefused):
            error.sending_ip = self._own_ip
        if not isinstance(error, SessionRefused):  # that is in the transcript already
            self.transcript.note(str(error))
        if opening:
            self.ready.errback(Failure(error))
        else:
            self._broken_off(error)

    def _broken_off(self, error: BaseException) -> None:
        """The connection failed once it was ready; for the subclass."""

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
        if self.stage is Stage.IN_TRANSACTION:
            self._take_in_transaction(answer)
        elif self.stage is Stage.READY:
            # Unasked: 421 before it closes, or a server that lost count.  Use it no more.
            self._fail(Postponed(answer if answer.is_transient else UNASKED))
        elif answer.code in self._expected:
            self._okresponse(answer.code, answer.text.encode())
        else:
            self._refused = answer
            self._failresponse(answer.code, answer.text.encode())

    def _take_in_transaction(self, answer: Reply) -> None:
        """A reply while a transaction runs; for the subclass.  Raises: MalformedReply."""

    # Getting ready

    @override
    def sendLine(self, line: bytes) -> None:
        self.transcript.said("C", line.decode("utf-8", "replace").rstrip("\r"))
        self._outbox.write(self.transport, line.rstrip(b"\r") + b"\r\n")

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
            self._fail(TLSFailed(f"EHLO was answered {self._refused}", is_missing=True))
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
            self._fail(not_offered())
        else:
            self._log_in()

    def _starttls_refused(self, code: int, resp: bytes) -> None:
        text = f"STARTTLS was answered {self._refused}"
        is_temporary = self._refused.is_transient
        self._fail(TLSFailed(text, is_temporary=is_temporary, is_missing=True))

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
        binding = channel_binding(self.transport) if self._over_tls else None
        login = Login(plan.username, plan.password, plan.nonce, binding)
        offered = self.extensions.auth_mechanisms
        self._mechanism = choose_mechanism(offered, plan.mechanisms, login)
        if self._mechanism is None:
            self._fail(LoginFailed(NO_MECHANISM))
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
            self.certificate = shown_facts(self.transport)
            self.flaw = refusal_of(self.transport)
        self.ready.callback(None)


def _broken(error: BaseException) -> Postponed:
    """What TLS reports of a connection that was fine before."""
    return Postponed(reply(451, "4.4.2", f"connection broken: {error}"))


CLOSING_SECONDS = 10.0
"""How long a peer may take to close its side after our QUIT."""

NO_MECHANISM = reply(454, "4.7.0", "the relay host offers no AUTH that we may use")
CLOSED_BY_US = reply(451, "4.4.2", "connection closed by us")
UNASKED = reply(451, "4.5.0", "the server sent a reply that nobody asked for")
