"""From an empty machine to green checks: what quickstart prints is published as it is."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, frozen
from twisted.internet import reactor as installed_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailrelay.cli.quickstart import CONFIG_NAME
from mailrelay.config.load import load_settings
from mailrelay.config.settings import Settings
from mailrelay.control.dns_finding import CheckReport, Status
from mailrelay.directory.dkim import KeyState
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.lookup import FreshResolver, Lookups
from mailrelay.net.threads import ThreadExecutor
from mailrelay.service.controls import open_control
from mailrelay.service.server import Server
from mailrelay.testing.dns_server import DNSServer
from mailrelay.testing.fake_dns import FakeDNS
from mailrelay.testing.loopback import real_threads
from mailrelay.testing.zones import records_of_zone
from tests.cli.operated import run

reactor: Any = installed_reactor

Zone = Mapping[str, Mapping[str, Sequence[str]]]

WRONG = {
    "A": ["192.0.2.99"],
    "PTR": ["host.isp.test."],
    "MX": ["10 elsewhere.test."],
    "TXT": ['"v=nothing"'],
    "SRV": ["0 1 1 elsewhere.test."],
    "CNAME": ["elsewhere.test."],
}


@frozen
class _Client:
    """Asks 127.0.0.1 for what ``host`` serves."""

    host: str
    port: int
    believed: Path

    def get(self, path: str) -> HTTPAnswer:
        """The answer to a GET."""
        context = ssl.create_default_context(cafile=str(self.believed))
        with (
            socket.create_connection(("127.0.0.1", self.port), 30) as plain,
            context.wrap_socket(plain, server_hostname=self.host) as secure,
        ):
            head = f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n"
            secure.sendall(head.encode())
            answer = HTTPResponse(secure)
            answer.begin()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return HTTPAnswer(answer.status, headers, answer.read(), True)


class QuickstartDNSTests(TestCase):
    """One server, its printed zone, and its checks."""

    timeout = 120

    def setUp(self) -> None:
        """What quickstart makes and prints, for a machine at 127.0.0.1."""
        self.directory = Path(os.path.abspath(self.mktemp()))
        if os.geteuid() == 0:
            self.patch(os, "geteuid", lambda: 1)
        words = ("example.org", "me", "--yes", "--ip", "127.0.0.1", "--dir", str(self.directory))
        self.printed = run(self, "quickstart", *words).stdout
        settings = load_settings(self.directory / CONFIG_NAME, {})
        listeners = [evolve(one, endpoint="tcp:0:interface=127.0.0.1") for one in settings.listener]
        self.settings = settings
        self.port: int | None = None  # of https, once it listens
        self.served = evolve(settings, listener=listeners, stop_grace=1.0)

    def zone(self) -> dict[str, dict[str, list[str]]]:
        """The printed records as a name server loads them, and the reverse names beside them."""
        text = self.printed.partition("--zone --config")[2].partition("\n\n")[2]
        records = records_of_zone(text.partition("\n4. ")[0])
        for name, target in re.findall(r"^ +(\S+)\.  PTR  (\S+)$", self.printed, re.MULTILINE):
            records[name] = {"PTR": [target]}
        return records

    async def fetch(self, url: str) -> HTTPAnswer:
        """What this server answers; its certificate is verified as others would."""
        there = urlsplit(url)
        if self.port is None:
            raise CallFailed("nothing listens")
        client = _Client(there.hostname or "", self.port, self.directory / "data" / "tls.pem")
        return await deferToThread(client.get, there.path)

    async def check(self, settings: Settings, lookups: Lookups) -> CheckReport:
        """What the command would find."""
        control = open_control(settings, "test", lambda: 0.0, Random(7))
        try:
            return await control.dns.check("example.org", lookups, self.fetch)
        finally:
            control.close()

    async def test_green(self) -> None:
        """All is well as soon as it is published; the server finds its keys and signs."""
        dns = await DNSServer(self.zone()).start(self, reactor)
        executor = ThreadExecutor(reactor, 4, "lookups")
        self.addCleanup(executor.stop)
        resolver = FreshResolver(executor, [f"127.0.0.1:{dns.port}"])
        before = await self.check(self.settings, resolver)
        [stopped] = [one for one in before.findings if one.status is not Status.OK]
        self.assertIn("the policy cannot be had", stopped.text)
        server = Server(real_threads(self, reactor, resolver), self.served)
        server.privilegedStartService()
        server.startService()
        self.addCleanup(server.stopService)
        self.listens(server)
        await server.keys.look()
        after = await self.check(self.settings, resolver)
        self.assertEqual([one for one in after.findings if one.status is not Status.OK], [])
        texts = [one.text for one in after.findings]
        self.assertEqual(texts.count("mail is signed with this key"), 2)

    def listens(self, server: Server) -> None:
        """Note where its https is."""
        roles = [section.role for section in self.settings.listener]
        host: Any = server.listeners[roles.index("https")].port.getHost()
        self.port = host.port

    async def test_each_record_broken(self) -> None:
        """Without any of them, or with another value, somebody complains of that very name."""
        zone = self.zone()
        server = Server(real_threads(self, reactor, None), self.served)
        server.privilegedStartService()
        server.startService()
        self.addCleanup(server.stopService)
        self.listens(server)
        green = await self.check(self.settings, FakeDNS(zone))
        self.assertTrue(green.is_green, green)
        broken = 0
        for name, own in zone.items():
            for type_ in own:
                without: dict[str, Sequence[str]] = {k: v for k, v in own.items() if k != type_}
                for changed in (without, {**without, type_: WRONG[type_]}):
                    report = await self.check(self.settings, FakeDNS({**zone, name: changed}))
                    told = {one.name for one in report.findings if one.status is not Status.OK}
                    self.assertIn(name, told, (type_, changed))
                    broken += 1
        self.assertGreater(broken, 20)

    def test_keys_wait(self) -> None:
        """Two of them, whose records are in the zone."""
        control = open_control(self.settings, "test", lambda: 0.0, Random(7))
        keys = self.successResultOf(control.directory.records.load()).dkim_keys["example.org"]
        control.close()
        self.assertEqual([key.state for key in keys], [KeyState.NEXT, KeyState.NEXT])
        self.assertLessEqual({key.name for key in keys}, set(self.zone()))
