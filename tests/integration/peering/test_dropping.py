"""Mail that is dropped at a sender while its relay takes it: two servers, and the way between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.protocols.portforward import (
    ProxyClient,
    ProxyClientFactory,
    ProxyFactory,
    ProxyServer,
)
from typing_extensions import override

from mailrelay.config.transports import FailSection, RouteSection, TransportSection
from mailrelay.control.queue import EntryFilter
from mailrelay.peering import asking
from tests.integration.peering.test_told import Pair

BUSY: dict[str, Any] = {
    "transport": [TransportSection("busy", fail=FailSection(450, "4.2.0 not now"))],
    "route": [RouteSection(domain="*", transport="busy")],
}


class HeldAnswers(ProxyFactory):
    """Passes requests on, and keeps answers back until they are released."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0)
        self.protocol = _Front
        self.is_holding = True
        self.has_taken = False
        self._held: list[Callable[[], None]] = []

    def answered(self, data: bytes, pass_on: Callable[[], None]) -> None:
        """Something came back."""
        self.has_taken = self.has_taken or data.startswith(b"HTTP/1.1 202 ")
        if self.is_holding:
            self._held.append(pass_on)
        else:
            pass_on()

    def release(self) -> None:
        """Let the answers go."""
        self.is_holding = False
        for pass_on in self._held:
            pass_on()


class _Back(ProxyClient):
    @override
    def dataReceived(self, data: bytes) -> None:
        if self.peer is not None:  # who asked may be gone
            front: Any = self.peer.factory
            front.answered(data, lambda: super(_Back, self).dataReceived(data))


class _BackFactory(ProxyClientFactory):
    protocol = _Back


class _Front(ProxyServer):
    clientProtocolFactory = _BackFactory


class DroppingTests(Pair):
    """The relay has the message still waiting when the answer says that it took it."""

    relaying = BUSY

    async def dropped(self, *names: str) -> None:
        """Hand a message for b and c over, and drop it for some before the answer is there."""
        self.patch(asking, "LOOK_EVERY", 0.05)
        self.patch(asking, "FIRST_PAUSE", 0.05)
        front = HeldAnswers()
        reactor: Any = the_reactor
        port = reactor.listenTCP(0, front, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        sender = await self.sender(f"http://127.0.0.1:{port.getHost().port}")
        front.port = self.server.port("http")
        await self.submit(sender, b"b", b"c")
        while not front.has_taken:
            await self.soon()
        for name in names:
            await self.sending.queue.drop(EntryFilter(recipient=f"{name}@remote.test"))
        front.release()

    async def ends_as(self, there: dict[str, str | None], here: dict[str, str | None]) -> None:
        """Wait for the outcomes at the relay, and at the sender."""
        seconds = the_reactor.seconds() + 8
        while (self.outcomes(self.control), self.outcomes(self.sending)) != (there, here):
            found = self.outcomes(self.control), self.outcomes(self.sending)
            self.assertLess(the_reactor.seconds(), seconds, found)
            await self.soon()

    def outcomes(self, control: Any) -> dict[str, str | None]:
        """By the first letter of the recipient; None while it waits."""
        query = (
            "SELECT substr(recipient, 1, 1), outcome FROM entry WHERE recipient LIKE '%@remote%'"
        )
        with control.database.engine.connect() as connection:
            return dict(map(tuple, connection.exec_driver_sql(query)))

    async def test_one(self) -> None:
        """One recipient is taken back, and the other waits there as before."""
        await self.dropped("b")
        await self.ends_as({"b": "canceled", "c": None}, {"b": "canceled", "c": "handed_over"})
        self.assertEqual(self.kinds().count("canceled"), 1)

    async def test_all(self) -> None:
        """Nobody gets it, and the relay is told of no more than it has."""
        await self.dropped("b", "c")
        await self.ends_as({"b": "canceled", "c": "canceled"}, {"b": "canceled", "c": "canceled"})
        self.assertEqual(self.kinds().count("canceled"), 2)

    async def test_none(self) -> None:
        """What is dropped for nobody waits there."""
        await self.dropped()
        await self.ends_as({"b": None, "c": None}, {"b": "handed_over", "c": "handed_over"})
