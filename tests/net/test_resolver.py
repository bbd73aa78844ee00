"""DNS look-ups with dnspython against a small server on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.net.resolver import DNSResolver, LookupFailed, MXHost, NoSuchDomain, as_ip
from mailrelay.net.threads import ThreadExecutor
from mailrelay.testing.dns_server import DNSServer

reactor: Any = installed_reactor

RECORDS = {
    "peer.test": {"MX": ["20 b.peer.test.", "10 A.peer.test."], "A": ["192.0.2.1"]},
    "null.test": {"MX": ["0 ."]},
    "alias.test": {"CNAME": ["peer.test."]},
    "dangling.test": {"CNAME": ["gone.test."]},
    "ring.test": {"CNAME": ["ring.test."]},
    "host.test": {"A": ["192.0.2.7", "192.0.2.8"], "AAAA": ["2001:db8::7"]},
    "six.test": {"AAAA": ["2001:db8::6"]},
    "txt.test": {"TXT": ['"nothing else"']},
    "many.test": {"MX": [f"{n} mail-host-with-a-long-name-{n}.test." for n in range(200)]},
    "half.test": {"A": ["192.0.2.9"]},
}


class ResolverTests(TestCase):
    """The real resolver on real threads."""

    timeout = 60

    async def resolver(self, timeout: float = 10.0, **server: Any) -> DNSResolver:
        """A resolver that asks a server with these troubles."""
        self.server = await DNSServer(RECORDS, **server).start(self, reactor)
        executor = ThreadExecutor(reactor, 2, "lookups")
        self.addCleanup(executor.stop)
        return DNSResolver(executor, [f"127.0.0.1:{self.server.port}"], timeout)

    async def addresses(
        self, resolver: DNSResolver, host: str, *, ipv4: bool = True, ipv6: bool = True
    ) -> Sequence[str]:
        """The addresses of a host."""
        return await resolver.addresses(host, ipv4=ipv4, ipv6=ipv6)

    async def fails(self, lookup: Deferred[Any], kind: type[Exception]) -> None:
        """The look-up ends so."""
        await self.assertFailure(lookup, kind)

    async def test_no_name(self) -> None:
        """What no name can be does not exist, today or later."""
        resolver = await self.resolver()
        for name in ("a..b.test", "x" * 64 + ".test", ".".join(["x" * 60] * 5)):
            await self.fails(resolver.texts(name), NoSuchDomain)

    async def test_mx(self) -> None:
        """MX hosts without their last dot; none is the empty list."""
        resolver = await self.resolver()
        found = await resolver.mx_hosts("peer.test")
        self.assertEqual(
            sorted((host.preference, host.host.lower()) for host in found),
            [(10, "a.peer.test"), (20, "b.peer.test")],
        )
        self.assertEqual(await resolver.mx_hosts("txt.test"), [])

    async def test_null_mx(self) -> None:
        """A null MX is a host without a name (RFC 7505)."""
        resolver = await self.resolver()
        self.assertEqual(await resolver.mx_hosts("null.test"), [MXHost(0, "")])

    async def test_cname(self) -> None:
        """CNAMEs are followed; those that lead nowhere do not hang."""
        resolver = await self.resolver()
        self.assertEqual(len(await resolver.mx_hosts("alias.test")), 2)
        self.assertEqual(await self.addresses(resolver, "alias.test"), ["192.0.2.1"])
        await self.fails(resolver.mx_hosts("dangling.test"), NoSuchDomain)
        await self.fails(resolver.mx_hosts("ring.test"), LookupFailed)

    async def test_addresses(self) -> None:
        """IPv6 first, and only the families that are asked for."""
        resolver = await self.resolver()
        both = await self.addresses(resolver, "host.test")
        self.assertEqual((both[0], set(both[1:])), ("2001:db8::7", {"192.0.2.7", "192.0.2.8"}))
        self.assertEqual(set(await self.addresses(resolver, "host.test", ipv6=False)), {*both[1:]})
        self.assertEqual(await self.addresses(resolver, "host.test", ipv4=False), both[:1])
        self.assertEqual(await self.addresses(resolver, "six.test"), ["2001:db8::6"])
        self.assertEqual(await self.addresses(resolver, "txt.test"), [])

    async def test_literals(self) -> None:
        """An address is its own answer, and nobody is asked."""
        resolver = await self.resolver()
        for text in ("192.0.2.5", "[192.0.2.5]"):
            self.assertEqual(await self.addresses(resolver, text), ["192.0.2.5"])
        self.assertEqual(await self.addresses(resolver, "[IPv6:2001:db8::5]"), ["2001:db8::5"])
        self.assertEqual(self.server.asked, [])

    async def test_nxdomain(self) -> None:
        """A name that does not exist is said not to."""
        resolver = await self.resolver()
        await self.fails(resolver.mx_hosts("gone.test"), NoSuchDomain)
        await self.fails(resolver.addresses("gone.test", ipv4=True, ipv6=True), NoSuchDomain)

    async def test_servfail(self) -> None:
        """SERVFAIL, REFUSED and silence mean: not now."""
        resolver = await self.resolver(
            timeout=0.5,
            rcodes={"peer.test": "SERVFAIL", "host.test": "REFUSED"},
            silent=frozenset({"six.test"}),
        )
        await self.fails(resolver.mx_hosts("peer.test"), LookupFailed)
        await self.fails(resolver.addresses("host.test", ipv4=True, ipv6=True), LookupFailed)
        await self.fails(resolver.mx_hosts("six.test"), LookupFailed)

    async def test_one_family_fails(self) -> None:
        """A name server that cannot say AAAA does not hide the A record, and the reverse."""
        resolver = await self.resolver(rcodes={"half.test/AAAA": "SERVFAIL"})
        self.assertEqual(await self.addresses(resolver, "half.test"), ["192.0.2.9"])
        resolver = await self.resolver(rcodes={"six.test/A": "SERVFAIL"})
        self.assertEqual(await self.addresses(resolver, "six.test"), ["2001:db8::6"])
        resolver = await self.resolver(rcodes={"txt.test/A": "SERVFAIL"})
        await self.fails(resolver.addresses("txt.test", ipv4=True, ipv6=True), LookupFailed)

    async def test_truncated(self) -> None:
        """An answer too large for UDP is asked for again by TCP."""
        resolver = await self.resolver(truncated=frozenset({"many.test"}))
        self.assertEqual(len(await resolver.mx_hosts("many.test")), 200)
        self.assertEqual(self.server.asked, ["many.test/MX"] * 2)

    async def test_cache(self) -> None:
        """What was answered is not asked again."""
        resolver = await self.resolver()
        for _ in range(2):
            await resolver.mx_hosts("peer.test")
        self.assertEqual(self.server.asked, ["peer.test/MX"])


class AddressTests(SynchronousTestCase):
    """What is an address."""

    def test_as_ip(self) -> None:
        """Bare or in brackets; a name is none."""
        self.assertEqual(as_ip("192.0.2.1"), "192.0.2.1")
        self.assertEqual(as_ip("[IPv6:2001:DB8::1]"), "2001:db8::1")
        self.assertIsNone(as_ip("peer.test"))
