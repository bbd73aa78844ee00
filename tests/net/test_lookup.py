"""Look-ups of operators, of real name servers on loopback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from mailrelay.net.lookup import Found, FreshResolver
from mailrelay.net.own_addresses import outgoing_addresses
from mailrelay.net.resolver import LookupFailed
from mailrelay.net.threads import ThreadExecutor
from mailrelay.testing.dns_server import DNSServer
from mailrelay.testing.fake_dns import FakeDNS

reactor: Any = installed_reactor

RECORDS: dict[str, Mapping[str, Sequence[str]]] = {
    "host.test": {
        "A": ["192.0.2.7"],
        "TXT": ['"v=spf1 " "mx -all"', '"\\195\\169"'],
        "MX": ["10 host.test.", "20 b.test."],
        "SRV": ["0 1 465 host.test."],
        "TLSA": ["3 1 1 " + "AB" * 32],
        "CAA": ['0 issue "ca.test"'],
    },
    "alias.test": {"CNAME": ["host.test."]},
}


class FreshTests(TestCase):
    """The real one, and the fake that stands in for it."""

    timeout = 60

    async def test_both_say_the_same(self) -> None:
        """Values of every type, aliases, names without such records, and no names."""
        server = await DNSServer(RECORDS).start(self, reactor)
        fake = FakeDNS(RECORDS)
        resolver = self.resolver(server)
        for name in ("host.test", "alias.test", "gone.test"):
            for type_ in ("A", "AAAA", "TXT", "MX", "SRV", "TLSA", "CAA", "PTR"):
                real = await resolver.find(name, type_)
                self.assertEqual(real, await fake.find(name, type_), (name, type_))
        found = await resolver.find("alias.test", "TXT")
        self.assertEqual(found, Found("host.test", ["v=spf1 mx -all", "\xc3\xa9"]))

    async def test_asks_each_time(self) -> None:
        """What was there before does not hide what was published since."""
        records: dict[str, Mapping[str, Sequence[str]]] = {"a.test": {"A": ["192.0.2.1"]}}
        server = await DNSServer(records).start(self, reactor)
        resolver = self.resolver(server)
        await resolver.find("a.test", "A")
        records["a.test"] = {"A": ["192.0.2.2"]}
        self.assertEqual((await resolver.find("a.test", "A")).values, ["192.0.2.2"])
        found = await resolver.addresses("a.test", ipv4=True, ipv6=False)
        self.assertEqual(found, ["192.0.2.2"])

    async def test_failures(self) -> None:
        """They are LookupFailed, and so is a name that is none."""
        rcodes = {"broken.test": "SERVFAIL"}
        server = await DNSServer({}, rcodes, frozenset({"silent.test"})).start(self, reactor)
        resolver = self.resolver(server, timeout=0.5)
        for name in ("broken.test", "silent.test", "a..b", "x" * 64 + ".test"):
            await self.assertFailure(resolver.find(name, "TXT"), LookupFailed)

    def resolver(self, server: DNSServer, timeout: float = 10.0) -> FreshResolver:
        """One that asks ``server``."""
        executor = ThreadExecutor(reactor, 2, "lookups")
        self.addCleanup(executor.stop)
        return FreshResolver(executor, [f"127.0.0.1:{server.port}"], timeout)

    def test_own_addresses(self) -> None:
        """None that only this machine's network knows."""
        for address in outgoing_addresses():
            self.assertFalse(address.startswith(("10.", "127.", "192.168.", "fe80", "fd")))
