"""What accounts send is signed, and others believe it: small and large, by SMTP and the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dkim as oracle
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.config.transports import RelayHostSection
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import Loopback
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.integration.world import start_world, until


def believed(message: bytes, number: int, keys: Mapping[bytes, bytes]) -> bool:
    """What dkimpy finds of one signature."""
    try:
        return bool(oracle.DKIM(message).verify(number, dnsfunc=lambda name, **_: keys.get(name)))
    except oracle.ValidationError:
        return False


class SigningTests(TestCase):
    """A server with keys, and another server that its mail goes to."""

    timeout = 120

    async def start(self, *, publish: bool = True, **settings: Any) -> Loopback:
        """Start both; the keys are in use."""
        self.outside = await ScriptedServer.start(self, reactor, polite())
        self.resolver = FakeResolver(txt={})
        server = await start_world(
            self,
            reactor,
            roles=("mx", "submission", "http"),
            relay_host=RelayHostSection("127.0.0.1", self.outside.port, tls=TLSLevel.NONE),
            resolver=self.resolver,
            trusted_networks=("127.0.0.1/32",),
            **settings,
        )
        self.control = server.control()
        self.addCleanup(self.control.close)
        self.keys = await self.control.dkim.add("example.org", list(Algorithm))
        if publish:
            await self.control.dkim.activate(self.keys)
            await until(reactor, lambda: KeyState.ACTIVE in self.states(server))
        return server

    def states(self, server: Loopback) -> set[KeyState]:
        """The states that the server knows keys in."""
        known = server.server.directory.dkim_keys
        return {key.state for key in known.get("example.org", ())}

    async def submit(self, server: Loopback, content: bytes) -> bytes:
        """Submit as the account; what came out at the other server."""
        before = len(self.outside.contents)
        answer = await server.submit(content, "you@far.test")
        self.assertEqual(answer[:3], b"250", answer)
        await until(reactor, lambda: len(self.outside.contents) > before)
        return self.outside.contents[-1]

    def believed(self, message: bytes, keys: list[StoredKey]) -> list[bool]:
        """What dkimpy finds of each signature, the first one first."""
        by_name = {f"{key.name}.".encode(): key.record.encode() for key in keys}
        count = message.partition(b"\r\n\r\n")[0].lower().count(b"dkim-signature:")
        return [believed(message, number, by_name) for number in range(count)]

    async def test_submission(self) -> None:
        """Both keys sign; added fields and dots are in what is signed."""
        server = await self.start()
        got = await self.submit(
            server, b"From: user@example.org\r\nSubject: hi\r\n\r\n.dot\r\nbye \r\n\r\n"
        )
        self.assertEqual(self.believed(got, list(self.keys)), [True, True])
        self.assertIn(b"message-id:", got.lower())
        self.assertEqual(self.believed(got.replace(b"bye", b"buy"), list(self.keys)), [False] * 2)

    async def test_large(self) -> None:
        """So is what is in the spool."""
        server = await self.start()
        lines = b"x" * 70 + b"\r\n"
        got = await self.submit(
            server, b"From: user@example.org\r\nSubject: large\r\n\r\n" + lines * 20_000
        )
        self.assertGreater(len(got), 1_000_000)
        self.assertEqual(self.believed(got, list(self.keys)), [True, True])

    async def test_other_mail(self) -> None:
        """What is not our accounts' has no signature of ours; nor has a domain without keys."""
        server = await self.start()
        replies = await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<a@client.test>",
            b"RCPT TO:<you@far.test>",
            b"DATA",
            b"From: user@example.org\r\nSubject: forged\r\n\r\nhi\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250")
        await until(reactor, lambda: self.outside.contents)
        self.assertNotIn(b"DKIM-Signature", self.outside.contents[0])
        got = await self.submit(server, b"From: user@dash.example\r\n\r\nhi\r\n")
        self.assertNotIn(b"DKIM-Signature", got)

    async def test_published(self) -> None:
        """Keys that wait are used once the server sees their records."""
        server = await self.start(publish=False)
        await until(reactor, lambda: self.states(server) == {KeyState.NEXT})
        content = b"From: user@example.org\r\n\r\nhi\r\n"
        self.assertNotIn(b"DKIM-Signature", await self.submit(server, content))
        published: Any = self.resolver.txt
        published |= {key.name: [key.record.encode()] for key in self.keys}
        await server.server.keys.look()
        await until(reactor, lambda: self.states(server) == {KeyState.ACTIVE})
        got = await self.submit(server, content)
        self.assertEqual(self.believed(got, list(self.keys)), [True, True])
