"""TLS towards a next hop: none, may, encrypt, verify, by STARTTLS and from the first byte."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from twisted.internet import reactor
from twisted.internet.ssl import CertificateOptions, TLSVersion

from mailrelay.net.tls import TLSLevel
from mailrelay.queue.transport import Result
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.scripted_server import Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, mx_job, short

AUTHORITY = Authority()
STRANGER = Authority("somebody else")
NAME = "mx.peer.test"
CERTIFICATES = {
    "right": AUTHORITY.options([NAME]),
    "wildcard": AUTHORITY.options(["*.peer.test"]),
    "wrong name": AUTHORITY.options(["other.test"]),
    "expired": AUTHORITY.options([NAME], valid_for=timedelta(days=-1)),
    "of a stranger": STRANGER.options([NAME]),
}
PLAIN, IN_TLS, NOT_SENT = "plain", "TLS", "deferral 454 4.7.5"


class TLSTestCase(OutboundTestCase):
    """One message by MX to mx.peer.test, which is a scripted server."""

    trust_root = AUTHORITY.trust_root

    async def by_mx(self, server: ScriptedServer, level: TLSLevel, **fields: Any) -> Result:
        """An attempt at this level."""
        resolver = FakeResolver(mx={"peer.test": [(1, NAME)]})
        overrides = {NAME: f"127.0.0.1:{server.port}"}
        transport = self.transport(resolver, level, host_overrides=overrides)
        return await transport.attempt(mx_job("peer.test", **fields))

    def how(self, server: ScriptedServer, result: Result) -> str:
        """How the message was sent, or why it was not; the history must say the same."""
        if not server.contents:
            return short(result.outcomes[0])
        tls = result.attempt.tls
        if tls is None:
            return PLAIN
        self.assertRegex(tls, r"^TLSv1\.[23] \S+$")
        return IN_TLS

    def assert_nothing_in_clear(self, server: ScriptedServer) -> None:
        """No command but those that lead to TLS was seen."""
        self.assertLessEqual({line[:8] for line in server.lines}, {b"EHLO us.", b"STARTTLS"})


class StartTLSTests(TLSTestCase):
    """Levels over STARTTLS."""

    async def check(self, certificate: CertificateOptions, level: str, expected: str) -> None:
        """What comes of it, and that it was not said in clear unless it may be."""
        manners = Manners(extensions_in_tls=[b"SIZE"], tls=certificate)
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.by_mx(server, TLSLevel(level))
        self.assertEqual(self.how(server, result), expected, result.attempt.transcript)
        if expected == IN_TLS:
            self.assertEqual(server.lines[:3], [b"EHLO us.test", b"STARTTLS", b"EHLO us.test"])
            self.assertIn(b"SIZE=", server.lines[3])  # what was offered in TLS counts
        if level in ("encrypt", "verify") and expected != IN_TLS:
            self.assert_nothing_in_clear(server)
        self.flushLoggedErrors()

    async def test_every_level_and_certificate(self) -> None:
        """Only ``verify`` looks at the certificate; ``none`` does not even ask."""
        for name, certificate in CERTIFICATES.items():
            good = name in ("right", "wildcard")
            for level, expected in {
                "none": PLAIN,
                "may": IN_TLS,
                "encrypt": IN_TLS,
                "verify": IN_TLS if good else NOT_SENT,
            }.items():
                with self.subTest(f"{level}, {name}"):
                    await self.check(certificate, level, expected)

    async def test_certificate_of_the_address(self) -> None:
        """A relay host named by its address is verified by its address."""
        for names, expected in ((["127.0.0.1"], IN_TLS), ([NAME], NOT_SENT)):
            manners = Manners(tls=AUTHORITY.options(names))
            server = await ScriptedServer.start(self, reactor, polite(manners))
            result = await self.attempt(server.port, tls=TLSLevel.VERIFY)
            self.assertEqual(self.how(server, result), expected)
        self.flushLoggedErrors()

    async def without(self, level: TLSLevel, manners: Manners, expected: str) -> None:
        """What comes of a server that cannot do TLS."""
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.by_mx(server, level)
        self.assertEqual(self.how(server, result), expected, result.attempt.transcript)
        if expected == PLAIN:
            self.assertIsNone(result.attempt.tls)
        else:
            self.assert_nothing_in_clear(server)
        self.flushLoggedErrors()

    async def test_not_offered(self) -> None:
        """Without STARTTLS ``may`` goes on in clear, the others wait for a better day."""
        await self.without(TLSLevel.MAY, Manners(), PLAIN)
        await self.without(TLSLevel.ENCRYPT, Manners(), NOT_SENT)
        await self.without(TLSLevel.VERIFY, Manners(), NOT_SENT)

    async def test_helo_only(self) -> None:
        """A server that knows no EHLO knows no STARTTLS."""
        manners = Manners(answers={"EHLO": b"502 what?"})
        await self.without(TLSLevel.MAY, manners, PLAIN)
        await self.without(TLSLevel.ENCRYPT, manners, NOT_SENT)

    async def test_refused_or_broken(self) -> None:
        """Offered, and then not: by a reply, by garbage, by silence, by hanging up."""

        async def garbage(peer: Peer) -> None:
            peer.say(b"220 go")
            await peer.take(1)
            peer.send(b"this is not TLS\r\n" * 10)
            await peer.be_silent()  # the rest of the ClientHello may have a CRLF in it

        async def close(peer: Peer) -> None:
            peer.say(b"220 go")
            await peer.take(1)
            peer.close()

        async def cut(peer: Peer) -> None:
            peer.say(b"220 go")
            await peer.take(1)
            peer.cut()

        for answer in (b"454 4.7.0 not now", b"502 5.5.1 what?", b"250 ok", garbage, close, cut):
            manners = Manners([b"STARTTLS"], answers={"STARTTLS": answer})
            await self.without(TLSLevel.MAY, manners, PLAIN)
            await self.without(TLSLevel.ENCRYPT, manners, NOT_SENT)
            await self.without(TLSLevel.VERIFY, manners, NOT_SENT)

    async def test_old_version(self) -> None:
        """TLS below 1.2 is none."""
        old = AUTHORITY.options([NAME], highest=TLSVersion.TLSv1_1)
        await self.check(old, "may", PLAIN)
        await self.check(old, "encrypt", NOT_SENT)
        await self.check(old, "verify", NOT_SENT)

    async def test_version_is_in_the_history(self) -> None:
        """What was agreed on is recorded, of a reused connection too."""
        manners = Manners(tls=AUTHORITY.options([NAME], highest=TLSVersion.TLSv1_2))
        server = await ScriptedServer.start(self, reactor, polite(manners))
        transport = self.transport()
        for _ in range(2):
            result = await self.attempt(server.port, transport=transport, tls=TLSLevel.ENCRYPT)
            self.assertRegex(str(result.attempt.tls), r"^TLSv1\.2 ECDHE")
        self.assertEqual(len(server.peers), 1)

    async def test_injected_replies(self) -> None:
        """What came in clear behind the 220 is not believed in TLS (CVE-2021-38371)."""
        injected = b"250-peer.test\r\n250 AUTH PLAIN\r\n"
        for data in (b"220 go\r\n" + injected, b"220 go\r\n2", b"220 go\r\n\r\n"):

            async def inject(peer: Peer, data: bytes = data) -> None:
                peer.send(data)
                peer.start_tls(CERTIFICATES["right"])

            manners = Manners([b"STARTTLS"], answers={"STARTTLS": inject})
            await self.without(TLSLevel.ENCRYPT, manners, NOT_SENT)
            await self.without(TLSLevel.VERIFY, manners, NOT_SENT)
            await self.without(TLSLevel.MAY, manners, PLAIN)

    async def test_offers_in_clear_are_forgotten(self) -> None:
        """Extensions named before TLS and not after it are not used (RFC 3207 section 4.2)."""
        manners = Manners([b"CHUNKING", b"DSN"], extensions_in_tls=[], tls=CERTIFICATES["right"])
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.by_mx(server, TLSLevel.ENCRYPT, ret="FULL")
        self.assertEqual(self.how(server, result), IN_TLS)
        self.assertIn(b"DATA", server.lines)
        self.assertIn(b"MAIL FROM:<a@us.test>", server.lines)

    async def test_no_second_starttls(self) -> None:
        """A server that offers STARTTLS within TLS is not asked again."""
        manners = Manners(extensions_in_tls=[b"STARTTLS"], tls=CERTIFICATES["right"])
        server = await ScriptedServer.start(self, reactor, polite(manners))
        self.assertEqual(self.how(server, await self.by_mx(server, TLSLevel.VERIFY)), IN_TLS)
        self.assertEqual(server.lines.count(b"STARTTLS"), 1)

    async def test_cut_in_tls(self) -> None:
        """A connection that ends without TLS's goodbye is a lost one."""

        async def cut(peer: Peer) -> None:
            peer.cut()

        manners = Manners(tls=CERTIFICATES["right"], answers={".": cut})
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.by_mx(server, TLSLevel.VERIFY)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.2")


class RequireTLSTests(TLSTestCase):
    """REQUIRETLS (RFC 8689): verified, passed on, or returned."""

    async def at(self, manners: Manners, level: TLSLevel = TLSLevel.MAY) -> tuple[str, Result]:
        """What comes of a message that asks for it, by a relay host; nothing in clear but that."""
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.attempt(server.port, tls=level, require_tls=True)
        how = self.how(server, result)
        if how == IN_TLS:
            self.assertIn(b"MAIL FROM:<a@us.test> REQUIRETLS", server.lines)
        else:
            self.assertFalse([line for line in server.lines if line.startswith(b"MAIL")])
        self.flushLoggedErrors()
        return how, result

    def offering(self, *names: str, **options: Any) -> Manners:
        """A server that offers it within TLS, with a certificate for ``names``."""
        tls = AUTHORITY.options(list(names), **options)
        return Manners(extensions_in_tls=[b"REQUIRETLS"], tls=tls)

    async def test_by_mx(self) -> None:
        """Hosts that only an unsigned MX record names are not asked, whatever they would offer."""
        server = await ScriptedServer.start(self, reactor, polite(self.offering(NAME)))
        for level in TLSLevel:
            result = await self.by_mx(server, level, require_tls=True)
            [outcome] = result.outcomes
            self.assertEqual(short(outcome), "failure 550 5.7.30")
            self.assertIn("relay host", outcome.reply.text)
            self.assertFalse(result.host_failed)
        self.assertEqual(server.peers, [])

    async def test_verified_and_offered(self) -> None:
        """A relay host that offers it and has a good certificate gets the message."""
        for level in (TLSLevel.VERIFY, TLSLevel.MAY):
            how, _ = await self.at(self.offering("127.0.0.1"), level)
            self.assertEqual(how, IN_TLS)

    async def test_not_offered(self) -> None:
        """One that does not offer it in TLS never will get this message."""
        tls = AUTHORITY.options(["127.0.0.1"])
        manners = Manners([b"REQUIRETLS"], extensions_in_tls=[], tls=tls)
        self.assertEqual((await self.at(manners))[0], "failure 550 5.7.30")

    async def test_not_verified(self) -> None:
        """Whatever the relay host's level is, a certificate that is not its own is not enough."""
        for manners in (
            self.offering(NAME),
            self.offering("127.0.0.1", valid_for=timedelta(days=-1)),
            Manners(tls=STRANGER.options(["127.0.0.1"])),
        ):
            for level in (TLSLevel.VERIFY, TLSLevel.MAY):
                how, result = await self.at(manners, level)
                self.assertEqual(how, "failure 550 5.7.10", result.attempt.transcript)

    async def test_in_clear(self) -> None:
        """An offer in clear is worth nothing, nor is one that is taken back."""
        self.assertEqual((await self.at(Manners([b"REQUIRETLS"])))[0], "failure 550 5.7.10")
        refused = Manners([b"STARTTLS"], answers={"STARTTLS": b"502 5.5.1 what?"})
        self.assertEqual((await self.at(refused))[0], "failure 550 5.7.10")

    async def test_tls_is_away(self) -> None:
        """What may be better next time is a deferral: 4yz, a broken connection."""

        async def close(peer: Peer) -> None:
            peer.say(b"220 go")
            await peer.take(1)
            peer.close()

        for answer in (b"454 4.7.0 not now", close):
            manners = Manners([b"STARTTLS"], answers={"STARTTLS": answer})
            self.assertEqual((await self.at(manners))[0], NOT_SENT)

    async def test_not_on_a_connection_that_was_not_verified(self) -> None:
        """A kept connection of the same destination does not do."""
        manners = Manners(extensions_in_tls=[b"REQUIRETLS"], tls=CERTIFICATES["of a stranger"])
        server = await ScriptedServer.start(self, reactor, polite(manners))
        transport = self.transport()
        await self.attempt(server.port, transport=transport)
        result = await self.attempt(server.port, transport=transport, require_tls=True)
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.7.10")
        self.assertEqual((len(server.peers), len(server.contents)), (2, 1))
        self.flushLoggedErrors()


class ImplicitTLSTests(TLSTestCase):
    """TLS from the first byte, towards a relay host named by its address."""

    async def check(self, names: list[str], level: TLSLevel, expected: str) -> None:
        """What comes of a certificate for ``names``."""
        tls = AUTHORITY.options(names)
        server = await ScriptedServer.start(self, reactor, polite(), tls=tls)
        result = await self.attempt(server.port, tls=level, relay={"implicit_tls": True})
        self.assertEqual(self.how(server, result), expected)
        if expected == IN_TLS:
            self.assertNotIn(b"STARTTLS", server.lines)
        self.flushLoggedErrors()

    async def test_levels(self) -> None:
        """``verify`` looks at the certificate, ``encrypt`` does not."""
        await self.check(["127.0.0.1"], TLSLevel.VERIFY, IN_TLS)
        await self.check(["127.0.0.1"], TLSLevel.ENCRYPT, IN_TLS)
        await self.check([NAME], TLSLevel.ENCRYPT, IN_TLS)
        await self.check([NAME], TLSLevel.VERIFY, NOT_SENT)
        await self.check([NAME], TLSLevel.MAY, IN_TLS)

    async def test_server_without_tls(self) -> None:
        """A server that greets in clear is not asked again in clear, whatever the level."""
        for level in (TLSLevel.ENCRYPT, TLSLevel.MAY):
            server = await ScriptedServer.start(self, reactor, _greet)
            result = await self.attempt(server.port, tls=level, relay={"implicit_tls": True})
            [outcome] = result.outcomes
            self.assertEqual(short(outcome), NOT_SENT)
            self.assertIn(f"first byte on port {server.port} of 127.0.0.1", outcome.reply.text)
            self.assertEqual(len(server.peers), 1)


async def _greet(peer: Peer) -> None:
    """Greet in clear, whatever comes."""
    peer.say(b"220 peer.test ESMTP")
