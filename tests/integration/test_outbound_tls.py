"""One server sends to another whose domain has an MTA-STS policy, which that one serves itself."""

from __future__ import annotations

import os
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates
from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from mailrelay.certificates.settings import TLSSection
from mailrelay.config.settings import DNSSection, SMTPOutSection
from mailrelay.control.mta_sts import mta_sts_id
from mailrelay.directory.model import MTASTSMode
from mailrelay.net.dnssec import TLSA
from mailrelay.observe.events import Event
from mailrelay.storage.mta_sts import DatabaseMTASTS
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeDNSSEC, FakeResolver
from mailrelay.testing.loopback import Loopback
from tests.integration.world import mailbox, soon, until

reactor: Any = installed_reactor
FAR, HOST, POLICY_HOST = "far.example", "mx.far.example", "mta-sts.far.example"
PUBLIC = "93.184.215.14"


class Ported:
    """The reactor, but that connections to the public address go to a port here."""

    def __init__(self, ports: dict[int, int]) -> None:
        self._ports = ports

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def connectTCP(self, host: str, port: int, *rest: Any, **named: Any) -> Any:
        """See IReactorTCP."""
        if host == PUBLIC:
            host, port = "127.0.0.1", self._ports[port]
        return reactor.connectTCP(host, port, *rest, **named)


class MTASTSTests(TestCase):
    """Whole servers, real HTTPS, real SMTP over TLS."""

    timeout = 120

    def setUp(self) -> None:
        """An authority that this process's clients believe."""
        self.authority = Authority()
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        root = self.folder / "root.pem"
        pem = self.authority.certificate.public_bytes(serialization.Encoding.PEM)
        root.write_bytes(pem)
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(root)
        if before is None:
            self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        else:
            self.addCleanup(os.environ.__setitem__, "SSL_CERT_FILE", before)

    def certificate(self, authority: Authority, names: list[str], **options: Any) -> TLSSection:
        """Files for a server."""
        made, key = authority.issue(names, **options)
        certificate, private = self.folder / "far.pem", self.folder / "far-key.pem"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return TLSSection(str(certificate), str(private))

    async def start(
        self,
        tls: TLSSection,
        *,
        mode: MTASTSMode = MTASTSMode.ENFORCE,
        dane: FakeDNSSEC | None = None,
    ) -> None:
        """Both servers; the far one serves its policy, and has TLSA records of ``dane``."""
        self.far = await Loopback.start(
            self, reactor, roles=("mx", "https"), hostname=HOST, tls=tls
        )
        control = self.far.control()
        self.addCleanup(control.close)
        await control.directory.add_domain(FAR)
        await control.directory.add_address(f"user@{FAR}", "user")
        await control.directory.set_domain(FAR, mta_sts=mode)
        await until(reactor, lambda: self._domain is not None)
        policy_id = mta_sts_id(self._domain, [HOST])
        self.resolver = FakeResolver(
            mx={FAR: [(1, HOST)]},
            hosts={HOST: ["127.0.0.1"], POLICY_HOST: [PUBLIC]},
            txt={f"_mta-sts.{FAR}": [f"v=STSv1; id={policy_id}".encode()]},
        )
        self.near = await Loopback.start(
            self,
            Ported({443: self.far.port("https")}),
            roles=("mx",),
            resolver=self.resolver,
            validating=dane,
            dns=DNSSection(("127.0.0.1",), validating=dane is not None),
            trusted_networks=("127.0.0.1/32",),
            smtp_out=SMTPOutSection(mx_port=self.far.port("mx"), mta_sts=True),
        )

    @property
    def _domain(self) -> Any:
        known = self.far.server.directory.domains.get(FAR)
        addresses = self.far.server.directory.addresses
        return known if known and known.mta_sts_changed_at and ("user", FAR) in addresses else None

    async def send(self) -> Event:
        """Send a message; what the first attempt came to."""
        replies = await self.near.say(
            b"EHLO client.test",
            b"MAIL FROM:<user@example.org>",
            f"RCPT TO:<user@{FAR}>".encode(),
            b"DATA",
            b"Subject: hi\r\n\r\nhello\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250", replies)
        control = self.near.control()
        self.addCleanup(control.close)
        message_id = int(replies[-1].split()[-1])
        for _ in range(3000):
            events = await control.queue.records.events(message_id)
            ended = [event for event in events if "tls_policy" in event.data]
            if ended:
                return ended[0]
            await soon(reactor)
        raise AssertionError("there was no attempt")

    async def test_enforced(self) -> None:
        """Fetched, kept, obeyed, told in the history."""
        await self.start(self.certificate(self.authority, [HOST, POLICY_HOST]))
        event = await self.send()
        self.assertEqual(event.kind.value, "delivered", event.data)
        self.assertEqual(event.data["tls_policy"], "mta-sts")
        self.assertIn("mode enforce", str(event.data["tls_because"]))
        self.assertIn(HOST, str(event.data["certificate"]))
        self.assertEqual(len(await mailbox(self.far, 1)), 1)
        kept = await DatabaseMTASTS(self.near.server.stores.database).get(FAR)
        assert kept is not None
        self.assertEqual((kept.policy.mode, kept.policy.hosts), (MTASTSMode.ENFORCE, (HOST,)))

    async def test_wrong_certificates(self) -> None:
        """One that is not the MX host's is not believed; one of the policy's host counts there."""
        await self.start(self.certificate(self.authority, [POLICY_HOST]))
        event = await self.send()
        self.assertEqual(event.kind.value, "delayed", event.data)
        self.assertEqual((event.data["tls_policy"], event.data["status"]), ("mta-sts", "4.7.5"))
        self.assertIn("is not for mx.far.example", str(event.data["reply"]))
        transcript = "\n".join(map(str, event.data["transcript"]))  # type: ignore[call-overload]
        self.assertNotIn("MAIL FROM", transcript)

    async def test_policy_of_nobody(self) -> None:
        """A policy that comes with a wrong certificate is none: the mail goes as before."""
        for names, options in (([HOST], {}), ([HOST, POLICY_HOST], {"days": -1})):
            days = timedelta(days=options.get("days", 1))
            await self.start(self.certificate(self.authority, names, valid_for=days))
            event = await self.send()
            self.assertEqual(event.kind.value, "delivered", event.data)
            self.assertEqual(event.data["tls_policy"], "may")
            self.assertIn("cannot be fetched", str(event.data["tls_because"]))

    async def test_dane(self) -> None:
        """TLSA records go before the policy; what does not fit them gets nothing."""
        tls = self.certificate(Authority("nobody knows it"), [HOST])
        [shown] = load_pem_x509_certificates(Path(tls.certificate).read_bytes())
        stranger, _ = self.authority.issue([HOST])
        for certificate, expected in ((shown, "delivered"), (stranger, "delayed")):
            key = certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            record = TLSA(3, 1, 1, sha256(key).digest())
            dns = FakeDNSSEC({FAR: [(1, HOST)]}, {HOST: ["127.0.0.1"]}, {HOST: [record]})
            await self.start(tls, dane=dns)
            event = await self.send()
            self.assertEqual((event.kind.value, event.data["tls_policy"]), (expected, "dane"))

    async def test_testing(self) -> None:
        """A policy that is tried out keeps no mail back."""
        tls = self.certificate(self.authority, [POLICY_HOST])
        await self.start(tls, mode=MTASTSMode.TESTING)
        event = await self.send()
        self.assertEqual(event.kind.value, "delivered", event.data)
        self.assertIn("only told", str(event.data["tls_because"]))
