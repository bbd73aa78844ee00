"""An SMTP server that behaves as a test tells it to, badly if wanted, on a port of 127.0.0.1.

A script is an ``async`` function of a ``Peer``.  ``polite`` makes the script of an ordinary
server, some of whose answers are the test's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase


class PeerGone(Exception):
    """The client has left: a script ends with this, and nobody is told."""


class Unexpected(Exception):
    """The client did what the script does not allow: the test fails."""


class Peer(Protocol):
    """One connection, as its script sees it; afterwards a record of what came in.

    ``lines`` are the commands, ``contents`` what arrived by DATA, unstuffed, or by BDAT;
    ``raw_contents`` is what DATA brought before the dots were taken out, the end included.
    """

    transport: Any

    def __init__(self, server: ScriptedServer, script: Script) -> None:
        self._server, self._script = server, script
        self._buffer = bytearray()
        self._waiting: Deferred[None] | None = None
        self.gone: Deferred[None] = Deferred()
        self.is_gone = False
        self._is_leaving = False
        self.received_bytes = 0
        self.lines: list[bytes] = []
        self.contents: list[bytes] = []
        self.raw_contents: list[bytes] = []

    # What a script may do

    def say(self, *lines: bytes) -> None:
        """Write lines; each gets its CRLF."""
        self.send(b"".join(line + b"\r\n" for line in lines))

    def send(self, data: bytes) -> None:
        """Write bytes as they are; nothing after ``close`` or ``cut``."""
        if not self._is_leaving:
            self.transport.write(data)

    async def say_slowly(self, line: bytes) -> None:
        """Write a line byte by byte, each on its own way."""
        self.transport.setTcpNoDelay(True)
        for index in range(len(line) + 2):
            self.send((line + b"\r\n")[index : index + 1])
            await self.sleep(0.001)

    async def line(self) -> bytes:
        """The next line, without its CRLF."""
        while self._is_leaving or (end := self._buffer.find(b"\r\n")) < 0:
            await self._more()
        line = self._cut(end + 2)[:-2]
        self.lines.append(line)
        return line

    async def expect(self, start: bytes) -> bytes:
        """The next line, which must begin so."""
        line = await self.line()
        if not line.upper().startswith(start.upper()):
            raise Unexpected(f"{line!r} instead of {start!r}")
        return line

    async def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self._buffer) < size:
            await self._more()
        return self._cut(size)

    async def content(self) -> bytes:
        """What DATA brings, up to CRLF.CRLF, its dots taken out."""
        data = bytearray()
        while not data.endswith(b"\r\n.\r\n") and data != b".\r\n":
            while (end := self._buffer.find(b"\n")) < 0:
                await self._more()
            data += self._cut(end + 1)
        self.raw_contents.append(bytes(data))
        plain = (b"\r\n" + bytes(data[:-3])).replace(b"\r\n.", b"\r\n")[2:]
        self.contents.append(plain)
        return plain

    async def swallow_content(self) -> int:
        """Read what DATA brings without keeping it; how many bytes it was, the end included."""
        before = self.received_bytes - len(self._buffer)
        while (end := self._buffer.find(b"\r\n.\r\n")) < 0:
            del self._buffer[:-4]
            await self._more()
        del self._buffer[: end + 5]
        return self.received_bytes - len(self._buffer) - before

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        timer = self._server.reactor.callLater(seconds, self._wake)
        try:
            while timer.active():
                await waiting
                self._waiting = waiting = Deferred()
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()

    async def be_silent(self) -> None:
        """Do nothing until the client leaves; what it sends is read and forgotten."""
        while True:
            await self._more()
            self._buffer.clear()

    def close(self) -> None:
        """Close the connection in order."""
        self._is_leaving = True
        self.transport.loseConnection()

    def cut(self) -> None:
        """Reset the connection."""
        self._is_leaving = True
        self.transport.abortConnection()

    def start_tls(self, options: IOpenSSLContextFactory) -> None:
        """Begin a TLS handshake; what came before it is a mistake of the client's."""
        if self._buffer:
            raise Unexpected(f"in clear after STARTTLS: {bytes(self._buffer)!r}")
        self.transport.startTLS(options)

    # Protocol

    def connectionMade(self) -> None:
        """See Protocol."""
        self._server.peers.append(self)
        Deferred.fromCoroutine(self._run()).addErrback(self._server.problems.append)

    async def _run(self) -> None:
        try:
            await self._script(self)
            await self.be_silent()
        except PeerGone:
            pass
        except Exception:
            self.cut()
            raise

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self.received_bytes += len(data)
        self._buffer += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.is_gone = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(PeerGone())
        self.gone.callback(None)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _more(self) -> None:
        if self.is_gone:
            raise PeerGone
        self._waiting = Deferred()
        await self._waiting

    def _cut(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


class ScriptedServer(ServerFactory):
    """Runs the n-th script for the n-th connection, the last one for all that follow."""

    noisy = False

    def __init__(self, reactor: Any, scripts: Sequence[Script]) -> None:
        self.reactor = reactor
        self.peers: list[Peer] = []
        self.problems: list[Failure] = []
        self._scripts = scripts
        self._given = 0
        self.port = 0

    @classmethod
    async def start(
        cls,
        case: TestCase,
        reactor: Any,
        *scripts: Script,
        tls: IOpenSSLContextFactory | None = None,
        interface: str = "127.0.0.1",
    ) -> ScriptedServer:
        """Listen until the test ends, which fails if a script did.  ``tls`` is implicit TLS."""
        server = cls(reactor, scripts)
        factory = TLSMemoryBIOFactory(tls, False, server) if tls else server
        endpoint = TCP4ServerEndpoint(reactor, 0, interface=interface)
        port: Any = await endpoint.listen(factory)
        server.port = port.getHost().port
        case.addCleanup(server._check)
        case.addCleanup(server.disconnect)
        case.addCleanup(port.stopListening)
        return server

    def buildProtocol(self, addr: object) -> Peer:
        """See Factory."""
        script = self._scripts[min(self._given, len(self._scripts) - 1)]
        self._given += 1
        return Peer(self, script)

    async def disconnect(self) -> None:
        """Cut all connections; returns when they are gone."""
        for peer in list(self.peers):
            if not peer.is_gone:
                peer.cut()
                await peer.gone

    def _check(self) -> None:
        for problem in self.problems:
            problem.raiseException()

    @property
    def lines(self) -> list[bytes]:
        """All commands, of all connections in order."""
        return [line for peer in self.peers for line in peer.lines]

    @property
    def contents(self) -> list[bytes]:
        """All contents, of all connections in order."""
        return [content for peer in self.peers for content in peer.contents]


Answer: TypeAlias = bytes | Script
"""A reply without its last CRLF, or whatever the test does instead of replying."""

Answers: TypeAlias = Answer | Sequence[Answer]
"""One, or one after the other; the last one stays."""


@frozen
class Manners:
    """An ordinary server's answers.

    ``answers`` are by verb, ``.`` for the one after the content.  ``EHLO`` is answered with
    ``extensions``, which are ``extensions_in_tls`` once in TLS.
    """

    extensions: Sequence[bytes] = (b"PIPELINING", b"8BITMIME")
    extensions_in_tls: Sequence[bytes] | None = None
    greeting: Answer = b"220 peer.test ESMTP"
    answers: Mapping[str, Answers] = field(factory=dict)
    tls: IOpenSSLContextFactory | None = None


_USUAL: Mapping[str, bytes] = {
    "HELO": b"250 peer.test",
    "STARTTLS": b"220 2.0.0 begin",
    "MAIL": b"250 2.1.0 ok",
    "RCPT": b"250 2.1.5 ok",
    "RSET": b"250 2.0.0 ok",
    "NOOP": b"250 2.0.0 ok",
    "DATA": b"354 go on",
    "BDAT": b"250 2.0.0 taken",
    ".": b"250 2.0.0 taken",
    "QUIT": b"221 2.0.0 bye",
}


def polite(manners: Manners | None = None, /, **answers: Answers) -> Script:
    """The script of an ordinary server with these manners; ``answers`` may be given by name."""
    chosen = manners or Manners()

    async def script(peer: Peer) -> None:
        await _Ordinary(peer, chosen, {**chosen.answers, **answers}).serve()

    return script


class _Ordinary:
    def __init__(self, peer: Peer, manners: Manners, answers: Mapping[str, Answers]) -> None:
        self._peer, self._manners = peer, manners
        self._answers = {
            verb: [given] if isinstance(given, bytes) or callable(given) else list(given)
            for verb, given in answers.items()
        }
        self._in_tls = False

    async def serve(self) -> None:
        await self._give(self._manners.greeting)
        while True:
            line = await self._peer.line()
            verb = line.split(b" ")[0].upper().decode()
            if verb == "BDAT":
                self._peer.contents.append(await self._peer.take(int(line.split(b" ")[1])))
            answer = await self._give(self._answer(verb))
            if verb == "DATA" and answer.startswith(b"354"):
                await self._peer.content()
                await self._give(self._answer("."))
            elif verb == "STARTTLS" and answer.startswith(b"220") and self._manners.tls:
                self._peer.start_tls(self._manners.tls)
                self._in_tls = True
            elif verb == "QUIT":
                self._peer.close()

    def _answer(self, verb: str) -> Answer:
        given = self._answers.get(verb)
        if given:
            return given.pop(0) if len(given) > 1 else given[0]
        return self._ehlo() if verb == "EHLO" else _USUAL.get(verb, b"500 5.5.1 what?")

    def _ehlo(self) -> bytes:
        manners = self._manners
        extensions = manners.extensions
        if self._in_tls and manners.extensions_in_tls is not None:
            extensions = manners.extensions_in_tls
        elif manners.tls is not None and not self._in_tls:
            extensions = (*extensions, b"STARTTLS")
        lines = [b"peer.test", *extensions]
        return b"\r\n".join([*(b"250-" + line for line in lines[:-1]), b"250 " + lines[-1]])

    async def _give(self, answer: Answer) -> bytes:
        if callable(answer):
            await answer(self._peer)
            return b""
        self._peer.say(answer)
        return answer
