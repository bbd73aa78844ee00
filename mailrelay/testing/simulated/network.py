"""TCP in memory and in virtual time, with what connections do when a node dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    UserError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from mailrelay.testing.simulated.world import World

LATENCY = 0.004


@implementer(ITransport, IConsumer)
class End:
    """One end of a connection, the transport of ``protocol``."""

    def __init__(self, world: World, own: IPv4Address, peer: IPv4Address) -> None:
        self._world, self._own, self._peer_address = world, own, peer
        self.other: End
        self.protocol: Any = None
        self.on_lost: Callable[[Failure], None] = lambda reason: None
        self.connected = True
        self.disconnecting = self.aborted = False
        self._arrives_at = 0.0
        self._unsent = 0
        self._paused = False
        self._waiting: list[tuple[bytes, Callable[[], None] | None]] = []
        self._producer: Any = None
        self._streaming = False

    # ITransport

    def write(self, data: bytes) -> None:
        """See ITransport."""
        self.write_noted(data, None)

    def write_noted(self, data: bytes, taken: Callable[[], None] | None) -> None:
        """Write; ``taken`` is called once the other side's protocol has it."""
        if not self.connected or self.disconnecting or not data:
            return
        self._unsent += 1
        latency = LATENCY * (0.5 + self._world.random.random())
        self._arrives_at = max(self._arrives_at, self._world.seconds() + latency)
        delay = self._arrives_at - self._world.seconds()
        self._world.clock.callLater(delay, self._arrive, data, taken)

    def writeSequence(self, data: Any) -> None:
        """See ITransport."""
        self.write(b"".join(data))

    def _arrive(self, data: bytes, taken: Callable[[], None] | None) -> None:
        self.other.receive(data, taken)
        self._unsent -= 1
        if not self.connected:
            return
        if self._producer is not None and not self._unsent and not self._streaming:
            self._producer.resumeProducing()
        self._close_when_sent()

    def receive(self, data: bytes, taken: Callable[[], None] | None) -> None:
        """What arrives."""
        if not self.connected:
            return
        if self._paused:
            self._waiting.append((data, taken))
            return
        self.protocol.dataReceived(data)
        if taken is not None and self.connected:
            taken()

    def loseConnection(self) -> None:
        """See ITransport."""
        self.disconnecting = True
        self._close_when_sent()

    def _close_when_sent(self) -> None:
        if self.disconnecting and not self._unsent and self._producer is None:
            self.lose(ConnectionDone(), ConnectionDone())

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        self.disconnecting = self.aborted = True
        self.lose(ConnectionAborted(), ConnectionLost())

    def lose(self, here: Exception, there: Exception) -> None:
        """The connection ends: both sides are told, each in its time."""
        self._world.clock.callLater(0, self._lost, here)
        self._world.clock.callLater(LATENCY, self.other._lost, there)

    def vanish(self) -> None:
        """This side's process is dead: only the other one is told."""
        if self.connected:
            self.connected = False
            self._world.clock.callLater(LATENCY, self.other._lost, ConnectionLost())

    def _lost(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = False
        failure = Failure(reason)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(failure)
        self.on_lost(failure)

    def getPeer(self) -> IPv4Address:
        """See ITransport."""
        return self._peer_address

    def getHost(self) -> IPv4Address:
        """See ITransport."""
        return self._own

    # IConsumer and IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None
        self._close_when_sent()

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._paused = False
        self._world.clock.callLater(0, self._take_waiting)

    def _take_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for data, taken in waiting:
            self.receive(data, taken)


@implementer(IListeningPort)
@define(eq=False)
class _Port:
    network: Network
    where: tuple[str, int]
    factory: Any

    def startListening(self) -> None:
        """See IListeningPort."""
        self.network.listening[self.where] = self
        self.factory.doStart()

    def stopListening(self) -> None:
        """See IListeningPort."""
        self.network.listening.pop(self.where, None)
        self.factory.doStop()

    def getHost(self) -> IPv4Address:
        """See IListeningPort."""
        return IPv4Address("TCP", *self.where)


@define(eq=False)
class Network:
    """Who listens where, and connections between them."""

    world: World
    listening: dict[tuple[str, int], Any] = field(factory=dict)
    _next_port: int = 40_000
    _served: dict[tuple[str, int], list[End]] = field(factory=dict)

    def take_down(self, where: tuple[str, int], seconds: float) -> None:
        """Cut what is connected there, and refuse what comes, for a while."""
        port = self.listening.pop(where, None)
        if port is None:
            return
        for end in self._served.pop(where, ()):
            if end.connected:
                end.abortConnection()
        self.world.clock.callLater(seconds, self.listening.__setitem__, where, port)

    def listen(self, ip: str, port: int, factory: Any) -> Any:
        """``factory`` gets what connects to the address."""
        listening = _Port(self, (ip, port), factory)
        listening.startListening()
        return listening

    def connect(
        self, from_ip: str, to: tuple[str, int], factory: Any, opened: Callable[[End], None]
    ) -> None:
        """Connect ``factory``'s next protocol; ``opened`` is told of each new end.

        ``factory`` is told of a failure as by ``connectTCP``.
        """
        connector = _Connector(to)
        factory.doStart()
        factory.startedConnecting(connector)
        self.world.clock.callLater(LATENCY, self._connected, from_ip, connector, factory, opened)

    def _connected(
        self, from_ip: str, connector: _Connector, factory: Any, opened: Callable[[End], None]
    ) -> None:
        if connector.stopped:
            factory.clientConnectionFailed(connector, Failure(UserError()))
            factory.doStop()
            return
        port = self.listening.get(connector.to)
        calling = None
        self._next_port += 1
        here = IPv4Address("TCP", from_ip, self._next_port)
        there = IPv4Address("TCP", *connector.to)
        answering = port.factory.buildProtocol(here) if port is not None else None
        if answering is not None:
            calling = factory.buildProtocol(there)
            if calling is None:  # who called is dead by now
                return
        if port is None or answering is None:
            factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            factory.doStop()
            return
        near, far = End(self.world, here, there), End(self.world, there, here)
        near.other, far.other = far, near
        self._served.setdefault(connector.to, []).append(far)
        near.protocol, far.protocol = calling, answering
        accepted = getattr(port, "accepted", None)
        opened(near)
        if accepted is not None:
            accepted(far)

        def lost(reason: Failure) -> None:
            factory.clientConnectionLost(connector, reason)
            factory.doStop()

        near.on_lost = lost
        connector.end = near
        near.protocol.makeConnection(near)
        if far.connected:
            far.protocol.makeConnection(far)


@define(eq=False)
class _Connector:
    to: tuple[str, int]
    stopped: bool = False
    end: End | None = None

    def stopConnecting(self) -> None:
        """See IConnector."""
        self.stopped = True

    def disconnect(self) -> None:
        """See IConnector."""
        if self.end is not None:
            self.end.loseConnection()

    def getDestination(self) -> IPv4Address:
        """See IConnector."""
        return IPv4Address("TCP", *self.to)


@implementer(IReactorTime)
class NodeReactor:
    """The reactor of one life of a node: what it began ends with it."""

    def __init__(self, network: Network, ip: str) -> None:
        self.network, self.ip = network, ip
        self._world = network.world
        self._calls: dict[int, Any] = {}
        self._names: dict[int, str] = {}
        self._given = 0
        self._ends: list[End] = []
        self._ports: list[_NodePort] = []
        self.is_dead = False

    def seconds(self) -> float:
        """See IReactorTime."""
        return self._world.seconds()

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> IDelayedCall:
        """See IReactorTime."""
        self._given += 1
        key = self._given

        def run() -> None:
            self._calls.pop(key, None)
            callable(*args, **kwargs)

        call = self._world.clock.callLater(max(0.0, delay), run)
        self._calls[key] = call
        self._names[key] = f"{getattr(callable, '__qualname__', callable)}{args}"
        return call

    def left(self) -> list[str]:
        """What is still to be called."""
        return [self._names[key] for key, call in self._calls.items() if call.active()]

    def getDelayedCalls(self) -> list[Any]:
        """See IReactorTime."""
        return [call for call in self._calls.values() if call.active()]

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See IReactorTCP."""
        listening = _NodePort(self.network, (interface or self.ip, port), factory, self._opened)
        listening.startListening()
        self._ports.append(listening)
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: object = None
    ) -> None:
        """See IReactorTCP."""
        self.network.connect(self.ip, (host, port), _OfLife(self, factory), self._opened)

    def _opened(self, end: End) -> None:
        self._ends.append(end)

    @property
    def open_ends(self) -> int:
        """Connections that are open, and not being aborted."""
        return sum(end.connected and not end.aborted for end in self._ends)

    def die(self) -> None:
        """kill -9: nothing of this life happens any more; the others see connections break."""
        self.is_dead = True
        for call in self.getDelayedCalls():
            call.cancel()
        self._calls.clear()
        for port in self._ports:
            self.network.listening.pop(port.where, None)
        for end in self._ends:
            end.vanish()


@define(eq=False)
class _NodePort(_Port):
    accepted: Callable[[End], None]


@frozen
class _OfLife:
    """A client factory that is forgotten when its node dies."""

    reactor: NodeReactor
    wrapped: Any

    def __getattr__(self, name: str) -> Any:
        if self.reactor.is_dead:
            return lambda *args: None
        return getattr(self.wrapped, name)
