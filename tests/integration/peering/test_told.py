"""Two servers in one process: what the relay tells of failures has our consequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor as the_reactor
from twisted.internet import ssl
from twisted.protocols.portforward import ProxyFactory

from mailrelay.config.settings import SMTPOutSection
from mailrelay.config.transports import FailSection, RouteSection, TransportSection
from mailrelay.control.peers import PeerDetails
from mailrelay.control.queue import EntryFilter
from mailrelay.directory.peers import PeerProtocol
from mailrelay.peering import asking
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import Loopback
from mailrelay.testing.ports import free_port
from mailrelay.testing.scripted_server import ScriptedServer, polite
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


class Pair(PeerCase):
    """A sender whose relay fails all its mail, or has other settings."""

    relaying = REFUSING

    async def until_last(self, *expected: str) -> None:
        """Wait until the newest events are these."""
        seconds = the_reactor.seconds() + 8
        while tuple(self.kinds()[-len(expected) :]) != expected:
            self.assertLess(the_reactor.seconds(), seconds, self.said())
            await self.soon()

    async def change(self, sender: Loopback, **details: Any) -> None:
        """The sender knows the relay otherwise, and tries again at once."""
        await self.sending.peers.set("relay", PeerDetails(**details))
        await sender.server._known.load_directory()
        await self.sending.queue.retry(EntryFilter())

    async def sender(self, url: str = "", **more: Any) -> Loopback:
        """It hands all its mail to the relay, which is ``self.server``."""
        signer = await self.signer(**self.relaying)
        sender = await Loopback.start(self, the_reactor, roles=("mx",), **HANDING, **more)
        # A test's chance gives both servers one id, which would be a loop.
        submitters: Any = sender.server._ways.peers.transport.submitters
        made = submitters[PeerProtocol.MAILRELAY]
        submitters[PeerProtocol.MAILRELAY] = evolve(made, server_id="sender")
        control = sender.control()
        self.addCleanup(control.close)
        details = PeerDetails(
            url=url or f"http://127.0.0.1:{signer.port}",
            options={"allowed_networks": ("127.0.0.0/8",)},
        )
        key = f"{KEY_ID}:{SECRET.hex()}"
        await control.peers.add("relay", PeerProtocol.MAILRELAY, details, key)
        self.sending = control
        await sender.server._known.load_directory()
        return sender

    async def submit(self, sender: Loopback, *names: bytes) -> None:
        """A message for somebody elsewhere."""
        await sender.say(
            b"EHLO x",
            b"MAIL FROM:<a@sender.test>",
            *(b"RCPT TO:<%s@remote.test>" % name for name in names or (b"b",)),
            b"DATA",
            b"From: a@sender.test\r\nSubject: hi\r\n\r\nhello\r\n.",
        )

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


class ToldTests(Pair):
    """What is told, and what happens while nobody tells."""

    async def test_refused(self) -> None:
        """Handed over, then failed, by the next hop's own words."""
        sender = await self.sender()
        await self.submit(sender)
        await self.until("handed_over", "failed")
        with self.sending.database.engine.connect() as connection:
            query = "SELECT outcome FROM entry WHERE recipient = 'b@remote.test'"
            self.assertEqual(connection.exec_driver_sql(query).scalar(), "failed")
        self.assertEqual(self.kinds()[:2], ["handed_over", "failed"])

    async def test_fallback(self) -> None:
        """While the peer is down mail waits, or goes by SMTP where that is said, until it is up."""
        self.patch(asking, "LOOK_EVERY", 0.05)
        self.patch(asking, "LONGEST_PAUSE", 0.05)
        self.patch(asking, "WAIT", 0)
        outside = await ScriptedServer.start(self, the_reactor, polite())
        sender = await self.sender(
            f"http://127.0.0.1:{free_port()}",
            resolver=FakeResolver(hosts={"remote.test": ["127.0.0.1"]}),
            smtp_out=SMTPOutSection(mx_port=outside.port),
        )
        await self.submit(sender)
        await self.until_last("delayed")
        self.assertEqual(outside.lines, [])
        await self.change(sender, options={"fallback": "smtp", "fallback_after": 0.0})
        await self.until_last("delivered")
        [content] = outside.contents
        self.assertIn(b"hello", content)
        port = self.server.port("http")
        await self.change(sender, url=f"http://127.0.0.1:{port}")
        while "handed_over" not in self.kinds():
            await self.submit(sender)
            await self.soon()
        await self.until("failed")


class TLSTests(Pair):
    """A relay whose front speaks TLS, and wants to know who calls."""

    def front(self, authority: Authority) -> ProxyFactory:
        """It passes on to the relay, which is made later, what comes from whom it knows."""
        certificate, key = authority.issue(["127.0.0.1"])
        options = ssl.CertificateOptions(
            privateKey=key,  # type: ignore[arg-type]  # so is PKey
            certificate=certificate,  # type: ignore[arg-type]  # X509 is deprecated
            trustRoot=authority.trust_root,
        )
        front = ProxyFactory("127.0.0.1", 0)
        reactor: Any = the_reactor
        port = reactor.listenSSL(0, front, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"https://127.0.0.1:{port.getHost().port}"
        return front

    async def test_certificates(self) -> None:
        """With its authority and our certificate mail is handed over; without either it waits."""
        authority, folder = Authority(), Path(self.mktemp()).absolute()
        folder.mkdir()
        root, own = folder / "root.pem", folder / "own.pem"
        root.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        certificate, key = authority.issue(["sender.test"])
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        own.write_bytes(certificate.public_bytes(Encoding.PEM) + plain)
        front = self.front(authority)
        sender = await self.sender(self.url)
        front.port = self.server.port("http")
        await self.submit(sender)
        await self.until_last("delayed")
        self.assertIn("certificate", self.said()[-1])
        await self.change(sender, options={"trusted_ca": str(root)})
        await self.until_last("rescheduled", "delayed")
        self.assertIn("certificate required", self.said()[-1])
        await self.change(sender, options={"client_certificate": str(own)})
        await self.until_last("handed_over", "failed")
        await self.change(sender, options={"client_certificate": str(root)})  # without a key
        await self.submit(sender)
        await self.until_last("delayed")
        self.assertIn("cannot be used", self.said()[-1])
