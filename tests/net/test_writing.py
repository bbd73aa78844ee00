"""Short answers on real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailrelay.net.writing import MOST_BYTES, Outbox

reactor: Any = installed


@implementer(IHalfCloseableProtocol)
class End(Protocol):
    """One end of a connection: what came, and when it was lost."""

    transport: Any
    goes_on = False  # after the other has ended its half

    def __init__(self) -> None:
        self.received = b""
        self.made: Deferred[End] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None

    def connectionMade(self) -> None:
        """The transport is there."""
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        if self._wanted is not None and len(self.received) >= self._wanted[0]:
            wanted, self._wanted = self._wanted[1], None
            wanted.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.lost.callback(None)

    def readConnectionLost(self) -> None:
        """The other end sends no more."""
        if not self.goes_on:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def has(self, size: int) -> Deferred[None]:
        """Fires when so many bytes came."""
        wanted: Deferred[None] = Deferred()
        self._wanted = (size, wanted)
        self.dataReceived(b"")
        return wanted


class OutboxTests(TestCase):
    """Outbox."""

    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]
        """Both ends of a connection; all that is given to the server's socket is noted."""
        self.server, self.client = End(), End()
        factory = Factory.forProtocol(lambda: self.server)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        connecting: Any = Factory.forProtocol(lambda: self.client)
        connecting.startedConnecting = connecting.clientConnectionLost = lambda *_: None
        reactor.connectTCP("127.0.0.1", port.getHost().port, connecting)
        await self.server.made
        await self.client.made
        self.addCleanup(lambda: self.client.lost)
        self.addCleanup(self.client.transport.abortConnection)
        self.sent: list[bytes] = []
        sending = self.server.transport.writeSomeData

        def noted(data: bytes) -> Any:
            self.sent.append(bytes(data))
            return sending(data)

        self.server.transport.writeSomeData = noted
        self.outbox = Outbox(reactor)

    def write(self, data: bytes) -> None:
        """As the server does."""
        self.outbox.write(self.server.transport, data)

    async def test_at_the_end_of_the_round(self) -> None:
        """What is written in one round goes together, and not before the round's end."""
        self.write(b"one ")
        self.write(b"two ")
        self.assertEqual(self.sent, [])
        await self.client.has(8)
        self.write(b"three")
        await self.client.has(13)
        self.assertEqual(self.client.received, b"one two three")
        self.assertEqual(self.sent, [b"one two ", b"three"])

    async def test_order(self) -> None:
        """Twisted's own write keeps its place between ours."""
        self.write(b"one ")
        self.server.transport.write(b"two ")
        self.write(b"three ")
        self.server.transport.write(b"four")
        await self.client.has(18)
        self.assertEqual(self.client.received, b"one two three four")

    async def test_close(self) -> None:
        """What was written before the end of the connection arrives."""
        self.write(b"bye")
        self.server.transport.loseConnection()
        self.write(b", and more")  # as with Twisted's own write
        await self.server.lost
        await self.client.lost
        self.assertEqual(self.client.received, b"bye, and more")

    async def test_half_close(self) -> None:
        """What a timed call writes before it ends its half is sent; the client's half goes on."""

        def end() -> None:
            self.write(b"no more")
            self.server.transport.loseWriteConnection()

        self.client.goes_on = True
        reactor.callLater(0, end)
        await self.client.has(7)
        for _ in range(5):
            self.client.transport.write(b"still sending")
            await deferLater(reactor, 0.01)
        await self.server.has(5 * 13)
        self.assertFalse(self.server.lost.called)
        self.write(b"too late")
        await deferLater(reactor, 0.0)
        self.assertEqual((self.client.received, self.sent), (b"no more", [b"no more"]))

    async def test_slow_client(self) -> None:
        """What the socket does not take at once waits for room; nothing is lost or out of order."""
        self.client.transport.pauseProducing()
        pieces = [bytes([number]) * (MOST_BYTES - 1000) for number in range(200)]
        for piece in pieces:
            self.write(piece)
            round_: Deferred[None] = Deferred()
            reactor.callLater(0, round_.callback, None)
            await round_
        self.assertLess(len(self.client.received), len(pieces) * MOST_BYTES // 2)
        self.client.transport.resumeProducing()
        await self.client.has(sum(map(len, pieces)))
        self.assertEqual(self.client.received, b"".join(pieces))

    async def test_much_at_once(self) -> None:
        """More than waits for the round's end goes Twisted's way, which pauses a producer."""
        told: list[str] = []

        class Producer:
            def pauseProducing(self) -> None:
                told.append("pause")

            def resumeProducing(self) -> None:
                told.append("resume")

            def stopProducing(self) -> None:
                told.append("stop")

        self.server.transport.registerProducer(Producer(), True)
        self.write(b"1")
        self.write(b"2" * (4 * MOST_BYTES))
        self.assertEqual(told, ["pause"])
        await self.client.has(4 * MOST_BYTES + 1)
        self.assertEqual(self.client.received, b"1" + b"2" * (4 * MOST_BYTES))
        self.assertEqual(told, ["pause", "resume"])
        self.server.transport.unregisterProducer()

    async def test_lost(self) -> None:
        """A connection that is gone, before the round's end or when it is sent, is no error."""
        self.client.transport.abortConnection()
        await self.client.lost
        self.write(b"nobody reads this")
        self.write(b", nor this")
        await self.server.lost
        self.write(b"and this goes nowhere")

    async def test_one_that_fails(self) -> None:
        """A failure of one connection is logged, and the end of that one: others are answered."""
        other = self.server.transport

        class Failing(Connection):
            connected = True

            def __init__(self) -> None:
                self.dataBuffer, self._tempDataBuffer, self._tempDataLen = b"", [], 0
                self.aborted = False

            def doWrite(self) -> None:
                raise ZeroDivisionError

            def abortConnection(self) -> None:
                self.aborted = True

        failed = Failing()
        self.outbox.write(failed, b"first")
        self.outbox.write(other, b"second")
        await self.client.has(6)
        self.assertEqual((failed.aborted, self.client.received), (True, b"second"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_others(self) -> None:
        """What is no socket of Twisted's is written to at once."""
        written: list[bytes] = []

        class Memory:
            def write(self, data: bytes) -> None:
                written.append(data)

        clock = Clock()
        Outbox(clock).write(Memory(), b"x")
        self.assertEqual((written, clock.getDelayedCalls()), ([b"x"], []))
