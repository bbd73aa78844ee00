"""An authentication server as Postfix's smtpd asks one (Dovecot's protocol): PLAIN and LOGIN."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase


class AuthenticationServer(ServerFactory):
    """Knows one user."""

    noisy = False

    def __init__(self, username: str, password: str) -> None:
        self.username, self.password = username, password
        self.conversations: set[_Conversation] = set()

    def buildProtocol(self, addr: object) -> _Conversation:
        """See Factory."""
        return _Conversation(self)

    def start(self, case: TestCase, reactor: Any) -> int:
        """Listen until the test ends; the port."""
        port = reactor.listenTCP(0, self, interface="127.0.0.1")
        case.addCleanup(self._disconnect)
        case.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def _disconnect(self) -> None:
        for conversation in list(self.conversations):
            conversation.transport.abortConnection()


class _Conversation(LineOnlyReceiver):
    delimiter = b"\n"
    transport: Any

    def __init__(self, server: AuthenticationServer) -> None:
        self._server = server
        self._names: dict[bytes, bytes] = {}

    def connectionMade(self) -> None:
        self._server.conversations.add(self)
        for line in (
            b"VERSION\t1\t2",
            b"MECH\tPLAIN\tplaintext",
            b"MECH\tLOGIN\tplaintext",
            b"SPID\t1",
            b"CUID\t1",
            b"COOKIE\t00000000000000000000000000000000",
            b"DONE",
        ):
            self.sendLine(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.conversations.discard(self)

    def lineReceived(self, line: bytes) -> None:
        verb, *words = line.split(b"\t")
        if verb == b"AUTH" and words[1] == b"PLAIN":
            given = next(word[5:] for word in words if word.startswith(b"resp="))
            _, username, password = b64decode(given).split(b"\0")
            self._decide(words[0], username, password)
        elif verb == b"AUTH":
            self._ask(words[0], b"Username:")
        elif verb == b"CONT" and words[0] not in self._names:
            self._names[words[0]] = b64decode(words[1])
            self._ask(words[0], b"Password:")
        elif verb == b"CONT":
            self._decide(words[0], self._names.pop(words[0]), b64decode(words[1]))

    def _ask(self, id_: bytes, what: bytes) -> None:
        self.sendLine(b"CONT\t" + id_ + b"\t" + b64encode(what))

    def _decide(self, id_: bytes, username: bytes, password: bytes) -> None:
        known = (self._server.username.encode(), self._server.password.encode())
        answer = b"OK" if (username, password) == known else b"FAIL"
        self.sendLine(answer + b"\t" + id_ + b"\tuser=" + username)
