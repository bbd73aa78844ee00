"""Requests of others to the node: one connection each, given up after a while, or hung up on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from mailrelay.testing.simulated.http_hops import Answer, Answering, read_head, written
from mailrelay.testing.simulated.network import Network
from mailrelay.testing.simulated.world import World

PATIENCE = 60.0
"""Seconds that an answer is waited for."""

HUNG_UP = 0.1
"""How likely who calls goes away before the answer."""


@frozen
class Caller:
    """Somebody at ``ip`` who calls the node at ``node``."""

    world: World
    network: Network
    ip: str
    node: tuple[str, int]

    def post(
        self, target: str, fields: Mapping[str, str], body: bytes, answered: Answering
    ) -> None:
        """Ask once; ``answered`` is told None when there is no answer."""
        host = f"{self.node[0]}:{self.node[1]}"
        request = written(f"POST {target} HTTP/1.1", {"Host": host, **fields}, body)
        factory = _CallFactory(_Call(self.world, request, answered))
        self.network.connect(self.ip, self.node, factory, lambda end: None)


class _CallFactory(ClientFactory):
    noisy = False

    def __init__(self, protocol: _Call) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._protocol.end(None)


class _Call(Protocol):
    transport: Any

    def __init__(self, world: World, request: bytes, answered: Answering) -> None:
        self._world, self._request, self._answered = world, request, answered
        self._buffer = b""
        self._over = False
        self._timer: Any = None

    def connectionMade(self) -> None:
        """See Protocol."""
        world = self._world
        patience = PATIENCE
        if world.seconds() < world.calm_after and world.chance(HUNG_UP):
            world.count("caller hung up")
            patience = world.random.uniform(0.005, 0.2)
        self._timer = world.clock.callLater(patience, self.transport.abortConnection)
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._buffer += data
        read = read_head(self._buffer)
        if read is not None and not self._over:
            first, fields, body = read
            self.end(Answer(int(first.split(" ")[1]), body, fields))
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.end(None)

    def end(self, answer: Answer | None) -> None:
        """Tell it, once."""
        if self._over:
            return
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._answered(answer)
