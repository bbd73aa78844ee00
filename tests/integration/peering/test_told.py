"""Two servers in one process: what the relay tells of failures has our consequences."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor as the_reactor

from mailrelay.config.transports import FailSection, RouteSection, TransportSection
from mailrelay.control.peers import PeerDetails
from mailrelay.directory.peers import PeerProtocol
from mailrelay.testing.loopback import Loopback
from tests.integration.peering.peer_client import KEY_ID, SECRET, PeerCase

REFUSING: dict[str, Any] = {
    "transport": [TransportSection("no", fail=FailSection(550, "5.1.1 nobody there"))],
    "route": [RouteSection(domain="*", transport="no")],
}
HANDING: dict[str, Any] = {
    "transport": [TransportSection("relay", peer="relay")],
    "route": [RouteSection(domain="*", transport="relay")],
    "trusted_networks": ("127.0.0.1/32",),
}
KINDS = "SELECT kind FROM event WHERE entry_id IS NOT NULL ORDER BY position"


class ToldTests(PeerCase):
    """A sender whose relay fails all its mail."""

    async def sender(self) -> Loopback:
        """It hands all its mail to the relay, which is ``self.server``."""
        signer = await self.signer(**REFUSING)
        sender = await Loopback.start(self, the_reactor, roles=("mx",), **HANDING)
        # A test's chance gives both servers one id, which would be a loop.
        submitters: Any = sender.server._ways.peers.transport.submitters
        made = submitters[PeerProtocol.MAILRELAY]
        submitters[PeerProtocol.MAILRELAY] = evolve(made, server_id="sender")
        control = sender.control()
        self.addCleanup(control.close)
        details = PeerDetails(
            url=f"http://127.0.0.1:{signer.port}",
            options={"allowed_networks": ("127.0.0.0/8",)},
        )
        key = f"{KEY_ID}:{SECRET.hex()}"
        await control.peers.add("relay", PeerProtocol.MAILRELAY, details, key)
        self.sending = control
        await sender.server._known.load_directory()
        return sender

    def kinds(self) -> list[str]:
        """The sender's events of entries."""
        with self.sending.database.engine.connect() as connection:
            return [str(row[0]) for row in connection.exec_driver_sql(KINDS)]

    def said(self) -> list[str]:
        """What the events say."""
        with self.sending.database.engine.connect() as connection:
            return [str(row[0]) for row in connection.exec_driver_sql("SELECT data FROM event")]

    async def until(self, *expected: str) -> None:
        """Wait for events."""
        seconds = the_reactor.seconds() + 8
        while not set(expected) <= set(self.kinds()):
            self.assertLess(the_reactor.seconds(), seconds, self.said())
            await self.soon()

    async def test_refused(self) -> None:
        """Handed over, then failed, by the next hop's own words."""
        sender = await self.sender()
        await sender.say(
            b"EHLO x",
            b"MAIL FROM:<a@sender.test>",
            b"RCPT TO:<b@remote.test>",
            b"DATA",
            b"From: a@sender.test\r\nSubject: hi\r\n\r\nhello\r\n.",
        )
        await self.until("handed_over", "failed")
        with self.sending.database.engine.connect() as connection:
            query = "SELECT outcome FROM entry WHERE recipient = 'b@remote.test'"
            self.assertEqual(connection.exec_driver_sql(query).scalar(), "failed")
        self.assertEqual(self.kinds()[:2], ["handed_over", "failed"])
