"""Listeners behind a proxy, on real sockets: whom the server takes the client for."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import ListenerSection
from mailrelay.policy.limits import TOO_MANY_CONNECTIONS, Limits
from mailrelay.testing.clocks import LeapingClock
from mailrelay.testing.loopback import Loopback, RawClient
from tests.integration.world import mailbox, soon

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_1(ip: str) -> bytes:
    """The text header of a connection from ``ip``."""
    kind = "TCP6" if ":" in ip else "TCP4"
    own = "2001:db8::25" if ":" in ip else "192.0.2.25"
    return f"PROXY {kind} {ip} {own} 40000 25\r\n".encode()


def version_2(ip: str, more: bytes = b"") -> bytes:
    """The binary header, with ``more`` behind the addresses."""
    packed = ip_address(ip).packed
    own = packed[::-1]
    addresses = packed + own + struct.pack("!HH", 40000, 25) + more
    family = 0x21 if len(packed) == 16 else 0x11
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(addresses)) + addresses


LOCAL = SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)
TAGS = b"\x04\x00\x03abc"
BAD = [
    b"EHLO client.test\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.25 40000\r\n",
    b"PROXY TCP4 192.0.2.300 192.0.2.25 40000 25\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.25 40000 25\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.25 65536 25\r\n",
    b"PROXY TCP4 " + b"1" * 200,
    b"proxy TCP4 192.0.2.1 192.0.2.25 40000 25\r\n",
    SIGNATURE + struct.pack("!BBH", 0x11, 0x11, 12) + b"x" * 12,
    SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4) + b"x" * 4,
    SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 60000),
]


class ProxyCase(TestCase):
    """A server with a listener of each role that expects the header."""

    timeout = 60
    proxy_protocol = True

    async def start(self, **settings: Any) -> Loopback:
        """Start it."""
        listeners = [
            ListenerSection(
                role,
                "tcp:0:interface=127.0.0.1",
                proxy_protocol=self.proxy_protocol,
                hide_submitters=False,
            )
            for role in ("mx", "submissions")
        ]
        return await Loopback.start(self, reactor, listener=listeners, **settings)

    async def behind(self, server: Loopback, header: bytes, role: str = "mx") -> RawClient:
        """A connection that begins with ``header``."""
        client = await server.connect(role)
        client.send(header)
        return client

    async def first_reply(self, server: Loopback, header: bytes) -> bytes:
        """What a connection that begins with ``header`` hears."""
        return await (await self.behind(server, header)).reply()

    async def deliver(self, client: RawClient) -> None:
        """Have a message accepted."""
        lines = (b"MAIL FROM:<a@client.test>", b"RCPT TO:<user@example.org>", b"DATA")
        for line in (b"EHLO client.test", *lines, b"a: b\r\n\r\nhello\r\n."):
            self.assertIn((await client.ask(line))[:3], (b"250", b"354"))


class BehindProxyTests(ProxyCase):
    """``proxy_protocol = true``."""

    async def test_address_in_received(self) -> None:
        """The client's address, not the proxy's, is in the trace; the proxy's own is kept."""
        server = await self.start()
        headers = {
            "192.0.2.1": version_1("192.0.2.1"),
            "IPv6:2001:db8::1": version_1("2001:db8::1"),
            "192.0.2.2": version_2("192.0.2.2"),
            "IPv6:2001:db8::2": version_2("2001:db8::2", TAGS),
            "127.0.0.1": LOCAL,
        }
        for count, (address, header) in enumerate(headers.items(), 1):
            client = await self.behind(server, header)
            self.assertEqual((await client.reply())[:3], b"220")
            await self.deliver(client)
            self.assertIn(f"[{address}]".encode(), (await mailbox(server, count))[-1])

    async def test_header_and_what_follows(self) -> None:
        """Header and commands may come in one segment, or a byte at a time."""
        server = await self.start()
        for header in (version_1("192.0.2.1"), version_2("192.0.2.1", TAGS)):
            client = await self.behind(server, header + b"NOOP\r\n")
            self.assertEqual([r[:3] for r in await client.replies(2)], [b"220", b"250"])
            client = await server.connect()
            transport: Any = client.transport
            transport.setTcpNoDelay(True)
            for at in range(len(header)):
                client.send(header[at : at + 1])
                await soon(reactor, 0)
            self.assertEqual((await client.reply())[:3], b"220")

    async def test_limits_per_address(self) -> None:
        """Connections are counted by the client's address, IPv6 by its /64."""
        server = await self.start(limits=Limits(connections_per_address=1))
        refused = TOO_MANY_CONNECTIONS.to_wire()
        for first, same, other in (
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ):
            self.assertEqual((await self.first_reply(server, version_1(first)))[:3], b"220")
            self.assertEqual(await self.first_reply(server, version_2(same)), refused)
            self.assertEqual((await self.first_reply(server, version_2(other)))[:3], b"220")

    async def test_trusted_network(self) -> None:
        """It is the client's network that may relay, not the proxy's."""
        server = await self.start(trusted_networks=["192.0.2.0/24"])
        for ip, code in (("192.0.2.1", b"250"), ("198.51.100.1", b"550")):
            client = await self.behind(server, version_1(ip))
            await client.reply()
            await client.ask(b"EHLO client.test")
            await client.ask(b"MAIL FROM:<a@client.test>")
            self.assertEqual((await client.ask(b"RCPT TO:<far@example.net>"))[:3], code)

    async def test_tls_behind_it(self) -> None:
        """STARTTLS and TLS from the first byte work behind the header."""
        server = await self.start()
        client = await self.behind(server, version_2("192.0.2.1"))
        await client.reply()
        await client.ask(b"EHLO client.test")
        await client.ask(b"STARTTLS")
        client.start_tls()
        await self.deliver(client)
        self.assertIn(b"TLSv1", (await mailbox(server, 1))[0])
        client = await self.behind(server, version_1("192.0.2.1"), "submissions")
        client.start_tls()
        self.assertEqual((await client.reply())[:3], b"220")
        self.assertIn(b"AUTH ", await client.ask(b"EHLO client.test"))

    async def test_bad_header(self) -> None:
        """What does not begin with a header is closed without a word."""
        server = await self.start()
        for bad in BAD:
            client = await self.behind(server, bad)
            self.assertEqual(await client.reply(), b"", bad)
            self.assertTrue(client.is_closed)
        self.assertEqual(server.server._connections.total, 0)

    async def test_header_that_does_not_come(self) -> None:
        """The header is waited for no longer than a command."""
        clock = LeapingClock.start(self, reactor)
        server = await self.start(clock=clock)
        clients = [await self.behind(server, start) for start in (b"", b"PROXY ", SIGNATURE)]
        await (await self.behind(server, LOCAL)).reply()  # those before it were taken, too
        clock.advance(Limits().idle_after + 1)
        for client in clients:
            self.assertEqual(await client.reply(), b"")
            self.assertTrue(client.is_closed)


class WithoutProxyTests(ProxyCase):
    """``proxy_protocol = false``, as it is unless set."""

    proxy_protocol = False

    async def test_header_is_not_believed(self) -> None:
        """A header is a bad command, and the client is who it is."""
        server = await self.start()
        client = await self.behind(server, version_1("192.0.2.1"))
        self.assertEqual((await client.reply())[:3], b"220")
        self.assertEqual((await client.reply())[:9], b"500 5.5.1")
        await self.deliver(client)
        [content] = await mailbox(server, 1)
        self.assertIn(b"[127.0.0.1]", content)
        self.assertNotIn(b"192.0.2.1", content)

    async def test_binary_header_is_not_believed(self) -> None:
        """Neither is the binary one: none of its lines is a command."""
        server = await self.start()
        client = await self.behind(server, version_2("192.0.2.1") + b"\r\n")
        self.assertEqual((await client.reply())[:3], b"220")
        client.send(b"NOOP\r\n")
        replies: list[bytes] = []
        while not (replies and replies[-1].startswith(b"250")):
            replies.append(await client.reply())
        self.assertEqual({reply[:1] for reply in replies[:-1]}, {b"5"})
