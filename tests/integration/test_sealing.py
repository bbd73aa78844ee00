"""Forwarded mail: sealed when it goes on, and believed when trusted servers sealed it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import dkim as oracle
from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from mailrelay.acceptance.passing import ForwardingSettings
from mailrelay.config.transports import RelayHostSection
from mailrelay.control.mailbox import MessageFilter
from mailrelay.directory.aliases import Rewrite
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.mailauth.arc import ChainResult
from mailrelay.mailauth.arc_seal import Sealing, seal
from mailrelay.mailauth.arc_verify import ARCOutcome
from mailrelay.mailauth.dkim import Algorithm, BodyDigest, raw_fields
from mailrelay.mailauth.dkim_sign import BODY, SigningKey, new_key, sign
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import make_settings
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.integration.test_forwarding import LIST, MEMBER, OTHER, Place
from tests.integration.test_signed_copies import signers
from tests.integration.world import start_world, until

reactor: Any = global_reactor

BANK = SigningKey("bank.test", "s1", new_key(Algorithm.ED25519))
OUTER = SigningKey("outer.test", "arc", new_key(Algorithm.RSA))  # a forwarder before us
HOSTS = {name: ["127.0.0.1"] for name in ("client.test", "bank.test", "good.test")}
RECORDS = {
    "good.test": b"v=spf1 ip4:127.0.0.1 -all",
    "_dmarc.good.test": b"v=DMARC1; p=reject",
    "_dmarc.bank.test": b"v=DMARC1; p=reject",
    "s1._domainkey.bank.test": BANK.record().encode(),
    "arc._domainkey.outer.test": OUTER.record().encode(),
}
PASSED = "mx.outer.test; spf=pass (ip;4) smtp.mailfrom=a@x.test; dmarc=pass header.from=bank.test"
CONTENT = b"From: a@bank.test\r\nTo: you@far.test\r\nSubject: hi\r\n\r\nhello\r\n"


def digest(body: bytes) -> bytes:
    """The hash of BODY."""
    made = BodyDigest(BODY)
    made.update(body)
    return made.finish()


def signed(content: bytes, key: SigningKey = BANK) -> bytes:
    """``content`` with a signature of DKIM."""
    header, _, body = content.partition(b"\r\n\r\n")
    return sign(raw_fields(header), digest(body), [key], reactor.seconds()) + content


def sealed(content: bytes, results: str = PASSED) -> bytes:
    """``content`` as the forwarder passes it on."""
    header, _, body = content.partition(b"\r\n\r\n")
    sealing = Sealing(results, ARCOutcome(ChainResult.NONE))
    return seal(raw_fields(header), digest(body), sealing, OUTER, reactor.seconds()) + content


class World:
    """A server that judges, and where its mail goes."""

    def __init__(self, place: Place, keys: Sequence[StoredKey]) -> None:
        self.place, self.keys = place, keys

    async def sent(self, content: bytes, sender: str = "a@good.test") -> bytes:
        """What a member elsewhere gets of a stranger's message to the list."""
        before = len(self.place.outside.contents)
        answers = await self.place.post(LIST, content, sender)
        assert answers[-1][:3] == b"250", answers
        await self.place.gone(before + 1)
        return self.place.outside.contents[-1]

    async def kept(self) -> list[tuple[str, str, Any]]:
        """The place of each message in mailboxes, its content, and what is known of it."""
        found = await self.place.control.messages.find(MessageFilter())
        contents = [await self.place.control.messages.content(one.id) for _, one in found]
        return [
            (one.mailbox, (content or b"").decode(), one)
            for (_, one), content in zip(found, contents, strict=True)
        ]

    def chain(self, message: bytes) -> Any:
        """What dkimpy finds of the seals."""
        names = {f"{key.name}.".encode(): key.record.encode() for key in self.keys}
        names |= {f"{name}.".encode(): record for name, record in RECORDS.items()}
        result, _, reason = oracle.arc_verify(message, dnsfunc=lambda name, **_: names.get(name))
        return (result or b"ended").decode(), reason


async def start(case: TestCase, keys: bool = True, **forwarding: Any) -> World:
    """Start it; example.org has keys in use unless without."""
    outside = await ScriptedServer.start(case, reactor, polite())
    plain = make_settings(case, ("mx",), "sqlite:///mailrelay.db", None, {}).listener
    server = await start_world(
        case,
        reactor,
        listener=[evolve(one, judge=True) for one in plain],
        relay_host=RelayHostSection("127.0.0.1", outside.port, tls=TLSLevel.NONE),
        resolver=FakeResolver(hosts=HOSTS, txt={n: [text] for n, text in RECORDS.items()}),
        forwarding=ForwardingSettings(**forwarding),
    )
    control = server.control()
    case.addCleanup(control.close)
    made: Sequence[StoredKey] = []
    if keys:
        made = await control.dkim.add("example.org", [Algorithm.RSA])
        await control.dkim.activate(made)
        known = server.server
        await until(
            reactor,
            lambda: (
                [key.state for key in known.directory.dkim_keys.get("example.org", ())]
                == [KeyState.ACTIVE]
            ),
        )
    return World(Place(server, control, outside), made)


class SealingTests(TestCase):
    """What goes on."""

    timeout = 120

    async def test_sealed(self) -> None:
        """A copy for another server is sealed with what was found; the one for a mailbox is not."""
        world = await start(self)
        await world.place.alias(LIST, MEMBER, OTHER)
        for body in (b"", b"x" * 70 + b"\r\n" * 2000):
            got = await world.sent(signed(CONTENT + body))
            self.assertEqual(world.chain(got), ("pass", "success"))
            told = re.findall(rb"(?s)ARC-Authentication-Results: (.*?)\r\nDeliv", got)[0]
            self.assertIn(b"i=1; mx.example.org;", told)
            self.assertIn(b"dmarc=pass", told)
            self.assertEqual(world.chain(got.replace(b"hello", b"hallo"))[0], "fail")
        for _, content, _ in await world.kept():
            self.assertNotIn("ARC-Seal", content)

    async def test_changed(self) -> None:
        """So is one whose From is the alias, and one of a list: the seal is of what leaves."""
        world = await start(self)
        await world.place.alias(LIST, MEMBER, rewrite=Rewrite.ALIAS, is_list=True, owner=OTHER)
        got = await world.sent(signed(CONTENT))
        self.assertEqual(world.chain(got), ("pass", "success"))
        self.assertEqual(signers(got, world.keys), ["example.org"])
        self.assertIn(b"list+a=bank.test@example.org", got)

    async def test_sealed_before(self) -> None:
        """A chain is continued, and told of; a broken one has its end told."""
        world = await start(self)
        await world.place.alias(LIST, MEMBER, OTHER)
        got = await world.sent(sealed(signed(CONTENT)))
        self.assertEqual(world.chain(got), ("pass", "success"))
        self.assertIn(b"ARC-Seal: i=2; a=rsa-sha256; cv=pass;", got)
        self.assertIn(b"arc=pass", got)
        broken = sealed(CONTENT).replace(b"spf=pass", b"spf=fail")
        got = await world.sent(signed(broken))
        self.assertIn(b"ARC-Seal: i=2; a=rsa-sha256; cv=fail;", got)
        self.assertEqual(world.chain(got)[0], "ended")
        again = await world.sent(got.replace(b"Delivered-To", b"X-To"))
        self.assertNotIn(b"i=3", again)
        self.assertIn(b"arc=fail", again)

    async def test_not_sealed(self) -> None:
        """Where that is switched off, or there are no keys."""
        for world in (await start(self, seal=False), await start(self, keys=False)):
            await world.place.alias(LIST, MEMBER)
            self.assertNotIn(b"ARC-", await world.sent(signed(CONTENT)))


class TrustingTests(TestCase):
    """What comes by a forwarder whose seals are believed."""

    timeout = 120

    async def reply(self, world: World, content: bytes) -> bytes:
        """The answer to a message for a mailbox."""
        return (await world.place.post("other@example.org", content, "a@client.test"))[-1]

    async def test_believed(self) -> None:
        """What it found to be right is taken, though DMARC fails here; the reason is kept."""
        world = await start(self, keys=False, trusted_sealers=("Outer.test",))
        self.assertEqual((await self.reply(world, sealed(CONTENT)))[:3], b"250")
        await world.place.kept(1)
        [(place, content, _)] = await world.kept()
        self.assertEqual(place, "Inbox")
        self.assertIn("arc=pass", content)
        self.assertIn("dmarc=fail", content)

    async def test_not_believed(self) -> None:
        """Not what others sealed, nor what it did not find right, nor of another domain."""
        world = await start(self, keys=False, trusted_sealers=("outer.test",))
        other = PASSED.replace("bank.test", "good.test")
        for content in (
            CONTENT,
            sealed(CONTENT, PASSED.replace("dmarc=pass", "dmarc=fail")),
            sealed(CONTENT, other),
            sealed(CONTENT, f'mx.outer.test; x="; {PASSED}"; dmarc=fail (dmarc=pass)'),
            sealed(CONTENT) + b"more\r\n",
            sealed(CONTENT).replace(b"dmarc=pass", b"dmarc=PASS"),
        ):
            self.assertEqual((await self.reply(world, content))[:10], b"550 5.7.26", content)
        stranger = await start(self, keys=False)
        self.assertEqual((await self.reply(stranger, sealed(CONTENT)))[:10], b"550 5.7.26")


class AuthorTests(TestCase):
    """Aliases that look at whether the author's signature holds."""

    timeout = 120

    async def test_fallback(self) -> None:
        """From becomes the alias where DMARC would fail at the member's, and only there."""
        world = await start(self)
        await world.place.alias(LIST, MEMBER, dmarc_fallback=True)
        got = await world.sent(CONTENT.replace(b"bank", b"good"))  # SPF alone stands for it
        self.assertIn(b"From: <list+a=good.test@example.org>\r\n", got)
        self.assertEqual(signers(got, world.keys), ["example.org"])
        got = await world.sent(signed(CONTENT))
        self.assertIn(b"\r\nFrom: a@bank.test\r\n", got)
        got = await world.sent(CONTENT.replace(b"bank", b"client"))  # no policy
        self.assertIn(b"\r\nFrom: a@client.test\r\n", got)

    async def test_requires(self) -> None:
        """What the author's domain did not sign is refused, if a copy would go elsewhere."""
        world = await start(self)
        await world.place.alias(LIST, MEMBER, OTHER, requires_dkim=True)
        await world.place.alias("inner@example.org", OTHER, requires_dkim=True)
        await world.place.alias("outer@example.org", LIST)
        plain = CONTENT.replace(b"bank", b"client")
        for recipient in (LIST, "outer@example.org"):
            answer = (await world.place.post(recipient, plain, "a@client.test"))[-1]
            self.assertEqual(answer[:10], b"550 5.7.22", answer)
        other = signed(plain, BANK)
        self.assertEqual((await world.place.post(LIST, other))[-1][:10], b"550 5.7.22")
        self.assertEqual((await world.place.post("inner@example.org", plain))[-1][:3], b"250")
        self.assertIn(b"hello", await world.sent(signed(CONTENT)))
