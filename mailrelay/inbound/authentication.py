"""The AUTH exchange of one session (RFC 4954), from the command to its last reply."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from mailrelay.directory.login import Overloaded
from mailrelay.directory.model import Account
from mailrelay.inbound.auth import ISubmitter
from mailrelay.inbound.context import Context
from mailrelay.inbound.replies import (
    AUTH_ALREADY,
    AUTH_BUSY,
    AUTH_CANCELED,
    AUTH_FAILED,
    AUTH_NEEDS_TLS,
    AUTH_NOT_BASE64,
    AUTH_NOT_HERE,
    AUTH_OK,
    AUTH_SYNTAX,
    AUTH_TOO_OFTEN,
    AUTH_UNKNOWN,
    mechanisms,
)
from mailrelay.inbound.sasl import (
    Challenge,
    Login,
    MalformedResponse,
    Mechanism,
    NotAuthorized,
    Plain,
    Scram,
    Verify,
)
from mailrelay.inbound.session import Session
from mailrelay.smtp.reply import Reply

FAILURE_DELAY = 1.0
"""Seconds before a failed login is answered: a guesser waits, the server does not."""

Decision = Reply | Deferred[Reply]


class Authentication:
    """One exchange.  ``ended`` is called once, when it is over: with account and login, or None."""

    def __init__(
        self,
        context: Context,
        session: Session,
        ended: Callable[[Account | None, str | None], None],
    ) -> None:
        self._context, self._session, self._ended = context, session, ended
        self._mechanism: Mechanism | None = None
        self._verified: Account | None = None
        self._login: str | None = None
        self._late: IDelayedCall | None = None

    def start(self, argument: str) -> Decision:
        """The answer to AUTH."""
        words = argument.split()
        refusal = self._refuse(words)
        if refusal is not None:
            return self._over(refusal)
        self._mechanism = self._make(words[0].upper())
        if self._mechanism is None:
            return self._over(AUTH_UNKNOWN)
        if len(words) == 1:
            return self._step(None)
        if words[1] == "=":  # RFC 4954 section 4: an empty initial response
            return self._step(b"")
        return self._decoded(words[1].encode())

    def _refuse(self, words: list[str]) -> Reply | None:
        listener = self._context.listener
        if not listener.role.is_submission:
            return AUTH_NOT_HERE
        if self._session.submitter.account is not None:
            return AUTH_ALREADY
        if not self._session.tls and not listener.auth_without_tls:
            return AUTH_NEEDS_TLS
        return AUTH_SYNTAX if len(words) not in (1, 2) else None

    def _make(self, name: str) -> Mechanism | None:
        ip = self._session.peer_ip
        if name not in mechanisms(tls=self._session.tls):
            return None
        if name == "PLAIN":
            return Plain(ip)
        if name == "LOGIN":
            return Login(ip)
        verifiers = self._context.authenticator.scram_verifiers
        plus = name.endswith("-PLUS")
        return Scram(
            ip,
            verifiers,
            binding=channel_binding(self._session.transport) if plus else None,
            may_bind=self._session.tls,
            nonce=self._context.nonce(),
        )

    def respond(self, line: bytes) -> Decision:
        """The answer to a line of the client's."""
        if line == b"*":
            return self._over(AUTH_CANCELED)
        if self._verified is not None:  # the last word was heard
            return self._over(AUTH_OK, self._verified)
        return self._decoded(line)

    def _decoded(self, line: bytes) -> Decision:
        try:
            return self._step(b64decode(line, validate=True))
        except binascii.Error:
            return self._over(AUTH_NOT_BASE64)

    def _step(self, response: bytes | None) -> Decision:
        assert self._mechanism is not None
        try:
            step = self._mechanism.step(response)
        except MalformedResponse as error:
            return self._over(Reply(501, str(error), AUTH_SYNTAX.status))
        except NotAuthorized:
            return self._over(AUTH_FAILED)
        if isinstance(step, Challenge):
            return Reply(334, b64encode(step.data).decode())
        self._login = step.credentials.identity
        login: Deferred[Any] = self._context.portal.login(step.credentials, None, ISubmitter)
        return login.addCallbacks(self._logged_in, self._failed, callbackArgs=(step,))

    def _logged_in(self, granted: tuple[object, Account, object], step: Verify) -> Reply:
        account = granted[1]
        if step.last_word is not None:  # RFC 5802: the server proves itself too
            self._verified = account
            return Reply(334, b64encode(step.last_word).decode())
        return self._over(AUTH_OK, account)

    def _failed(self, failure: Failure) -> Reply | Deferred[Reply]:
        if failure.check(Overloaded):
            return self._over(AUTH_BUSY)
        failure.trap(LoginFailed, UnauthorizedLogin)
        known = failure.check(UnauthorizedLogin) is not None
        answer = self._over(AUTH_FAILED if known else AUTH_TOO_OFTEN)
        late: Deferred[Reply] = Deferred()
        self._late = self._context.clock.callLater(FAILURE_DELAY, late.callback, answer)
        return late

    def abandon(self) -> None:
        """The connection is gone: nobody waits for the answer."""
        if self._late is not None and self._late.active():
            self._late.cancel()

    def _over(self, answer: Reply, account: Account | None = None) -> Reply:
        self._ended(account, self._login)
        return answer


def channel_binding(transport: Any) -> tuple[str, bytes] | None:
    """What ties SCRAM to this TLS connection: tls-exporter (RFC 9266), tls-unique before 1.3."""
    handle = transport.getHandle()
    if not isinstance(handle, SSL.Connection):
        return None
    if handle.get_protocol_version_name() == "TLSv1.3":
        exported = handle.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return "tls-exporter", exported
    finished = handle.get_peer_finished()  # the client's is the first one of a full handshake
    return ("tls-unique", finished) if finished else None
