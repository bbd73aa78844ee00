"""Certificates of a real authority, pebble, without a restart."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from mailrelay.certificates.pair import Pair
from mailrelay.certificates.settings import HTTP_01, TLS_ALPN_01, ACMESettings, TLSSection
from mailrelay.config.settings import ListenerSection
from mailrelay.net.resolver import DNSResolver
from mailrelay.net.threads import ThreadExecutor
from mailrelay.service import certificates as service
from mailrelay.service.acme import Renewals
from mailrelay.testing.dns_server import DNSServer
from mailrelay.testing.loopback import Loopback
from mailrelay.testing.pebble import EAB_KEY, EAB_KID, PROGRAM, Pebble
from mailrelay.testing.ports import free_port
from tests.certificates.shaken import believer, shown_by_starttls, shown_by_tls

reactor: Any = the_reactor
HERE = {"A": ["127.0.0.1"]}
HOST, POLICY = "mx.example.org", "mta-sts.example.org"
NAMES = {
    HOST: HERE,
    POLICY: HERE,
    "autoconfig.example.org": {"A": ["192.0.2.1"]},
}


class ACMETests(TestCase):
    """A server and an authority that know each other; the server has no files."""

    timeout = 120
    server: Loopback

    async def begin(
        self,
        challenge: str = TLS_ALPN_01,
        *,
        is_binding: bool = False,
        is_up: bool = True,
        **acme: Any,
    ) -> None:
        """Start both."""
        if PROGRAM is None:
            raise SkipTest("there is no pebble")
        self.patch(service, "LOOK_EVERY", 0.3)
        dns = await DNSServer(NAMES).start(self, reactor)
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        ports = {"http": free_port(), "https": free_port(), "mx": 0, "submissions": 0}
        self.pebble = Pebble(
            *(self.folder / "pebble", ports["http"], ports["https"]), dns.port, is_binding
        )
        self.addCleanup(self.pebble.stop)
        self.pebble.prepare()
        if is_up:
            await deferToThread(self.pebble.start)
        lookups = ThreadExecutor(reactor, 2, "lookups")
        self.addCleanup(lookups.stop)
        self.server = await Loopback.start(
            self,
            reactor,
            data_dir=self.folder / "data",
            resolver=DNSResolver(lookups, [f"127.0.0.1:{dns.port}"]),
            listener=[
                ListenerSection(role, f"tcp:{port}:interface=127.0.0.1")
                for role, port in ports.items()
            ],
            tls=TLSSection(),
            acme=ACMESettings(
                terms_agreed=True,
                contact="postmaster@example.org",
                directory=self.pebble.directory,
                ca_file=str(self.pebble.ca_file),
                challenge=challenge,
                **acme,
            ),
        )

    @property
    def renewals(self) -> Renewals:
        """The server's."""
        found = self.server.server.tls.renewals
        assert found is not None
        return found

    @property
    def held(self) -> dict[str, Pair]:
        """What was ordered."""
        return self.server.server.tls.certificates.ordered

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that the server does by itself."""
        started = time.monotonic()
        while not is_so():
            if time.monotonic() - started > 60:
                raise AssertionError(f"it did not happen: {self.renewals.standings}")
            waited: Deferred[None] = Deferred()
            reactor.callLater(0.1, waited.callback, None)
            await waited

    async def check(self) -> None:
        """They are shown by name, with the whole chain, on every listener, without a restart."""
        root = ssl.create_default_context(cadata=(await deferToThread(self.pebble.root)).decode())
        port = self.server.port("mx")
        self.assertEqual(await deferToThread(shown_by_starttls, port, root, HOST), [HOST])
        for role in ("https", "submissions"):
            for name in (HOST, POLICY):
                port = self.server.port(role)
                self.assertEqual(await deferToThread(shown_by_tls, port, root, name), [name])

    async def test_tls_alpn_01(self) -> None:
        """hostname, and of the domains' names those that resolve here; then one once more."""
        await self.begin()
        port = self.server.port("https")
        self.assertEqual(await deferToThread(shown_by_tls, port, believer(), POLICY), [HOST])
        await self.until(lambda: set(self.held) == {HOST, POLICY})
        await self.check()
        folder = self.folder / "data" / "acme"
        kept = sorted(path.name for path in (folder / "certificates").iterdir())
        self.assertEqual(kept, [f"{POLICY}.pem", f"{HOST}.pem"])
        for path in folder.rglob("*"):
            if path.name != "self-signed.pem":
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        first = self.held[HOST]
        self.renewals.store.ask(HOST)
        await self.until(lambda: self.held[HOST] is not first)
        second = self.held[HOST]
        self.assertNotEqual(first.certificate.serial_number, second.certificate.serial_number)
        self.assertEqual(first.tlsa, second.tlsa)
        await self.until(lambda: not self.renewals.store.asked())

    async def test_http_01_with_a_binding(self) -> None:
        """By port 80, with an external account; nothing is left there afterwards."""
        await self.begin(HTTP_01, is_binding=True, eab_kid=EAB_KID, eab_key=EAB_KEY)
        await self.until(lambda: set(self.held) == {HOST, POLICY})
        await self.check()
        self.assertEqual(self.server.server.tls.certificates.challenges._tokens, {})

    async def test_trouble(self) -> None:
        """It starts without the authority, is refused for want of a binding, is proved wrong."""
        await self.begin(is_up=False, is_binding=True, names=(HOST,))
        await self.until(lambda: "" in self.renewals.standings)
        port = self.server.port("mx")
        self.assertEqual(await deferToThread(shown_by_starttls, port, believer(), HOST), [HOST])
        await self.until(lambda: self.renewals.standings[""].error is not None)
        await deferToThread(self.pebble.start)
        self.renewals.store.ask(HOST)
        await self.until(lambda: "binding" in str(self.renewals.standings[""].error))
        self.pebble.stop()
        self.pebble.is_binding, self.pebble.tls_port = False, free_port()
        self.pebble.configure()
        await deferToThread(self.pebble.start)
        await self.until(lambda: self.renewals.failing == 1 and HOST in self.renewals.standings)
        await self.until(lambda: "not proved" in str(self.renewals.standings[HOST].error))
        self.assertEqual(self.held, {})
