"""Logging in to a relay host: never in clear, never shown, and trouble is never a bounce."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from scramp import ScramMechanism
from twisted.internet import reactor

from mailrelay.net.tls import TLSLevel
from mailrelay.queue.transport import Result
from mailrelay.testing.certificates import Authority
from mailrelay.testing.scripted_server import Answer, Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, short

AUTHORITY = Authority()
USER, PASSWORD = "üser@us.test", "pässword, secret"
PLAIN = b64encode(f"\0{USER}\0{PASSWORD}".encode())
LATER = "deferral 454 4.7.0"


async def login(peer: Peer) -> None:
    """LOGIN, done right."""
    peer.say(b"334 VXNlcm5hbWU6")
    user = b64decode(await peer.line()).decode()
    peer.say(b"334 UGFzc3dvcmQ6")
    password = b64decode(await peer.line()).decode()
    right = (user, password) == (USER, PASSWORD)
    peer.say(b"235 2.7.0 welcome" if right else b"535 5.7.8 no")


def scram(password: str = PASSWORD, *, last: Sequence[bytes] | None = None) -> Answer:
    """SCRAM-SHA-256 by a server that knows this password; ``last`` is said instead of its end."""

    async def exchange(peer: Peer) -> None:
        mechanism = ScramMechanism("SCRAM-SHA-256")
        stored = mechanism.make_auth_info(password, iteration_count=4096)
        server = mechanism.make_server(lambda _: stored)
        first = peer.lines[-1].split(b" ")[2]
        server.set_client_first(b64decode(first).decode())
        peer.say(b"334 " + b64encode(server.get_server_first().encode()))
        final = b64decode(await peer.line()).decode()
        if last is not None:
            peer.say(*last)
            return
        try:
            server.set_client_final(final)
        except Exception:
            peer.say(b"535 5.7.8 no")
            return
        peer.say(b"334 " + b64encode(server.get_server_final().encode()))
        await peer.expect(b"")
        peer.say(b"235 2.7.0 welcome")

    return exchange


class AuthTests(OutboundTestCase):
    """A relay host with credentials."""

    async def tried(
        self, offer: bytes, answer: Answer | Sequence[Answer], **given: Any
    ) -> tuple[ScriptedServer, Result]:
        """An attempt at a server that offers this within TLS and answers AUTH so."""
        manners = Manners(
            [b"SIZE"],
            [offer] if offer else [],
            tls=AUTHORITY.options(["127.0.0.1"]),
            answers={"AUTH": answer},
        )
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.attempt(
            server.port, login=(USER, PASSWORD), tls=TLSLevel.ENCRYPT, **given
        )
        transcript = "\n".join(result.attempt.transcript)
        for secret in (PASSWORD, PLAIN.decode(), b64encode(PASSWORD.encode()).decode()):
            self.assertNotIn(secret, transcript)
        return server, result

    async def check(self, offer: bytes, answer: Answer, expected: str) -> list[bytes]:
        """The outcome; answers with the commands that the server saw."""
        server, result = await self.tried(offer, answer)
        self.assertEqual(short(result.outcomes[0]), expected, result.attempt.transcript)
        if expected != "delivered 250 2.0.0":
            self.assertEqual(server.contents, [])
            self.assertTrue(result.host_failed)
            self.flushLoggedErrors()
        return server.lines

    async def test_plain(self) -> None:
        """PLAIN with its initial response; the transcript has stars instead."""
        server, result = await self.tried(b"AUTH LOGIN PLAIN", b"235 2.7.0 welcome")
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertIn(b"AUTH PLAIN " + PLAIN, server.lines)
        self.assertIn("C: AUTH PLAIN ****", result.attempt.transcript)

    async def test_plain_asked_again(self) -> None:
        """A server that ignores the initial response is told again, once."""

        async def again(peer: Peer) -> None:
            peer.say(b"334 ")
            await peer.expect(PLAIN)
            peer.say(b"235 2.7.0 welcome")

        await self.check(b"AUTH PLAIN", again, "delivered 250 2.0.0")

        async def for_ever(peer: Peer) -> None:
            while True:
                peer.say(b"334 ")
                await peer.line()

        await self.check(b"AUTH PLAIN", for_ever, LATER)

    async def test_login(self) -> None:
        """LOGIN where there is nothing better."""
        await self.check(b"AUTH LOGIN", login, "delivered 250 2.0.0")
        await self.check(b"AUTH=LOGIN", login, "delivered 250 2.0.0")

    async def test_login_asks_too_much(self) -> None:
        """A third question is not answered."""

        async def curious(peer: Peer) -> None:
            for _ in range(3):
                peer.say(b"334 VXNlcm5hbWU6")
                await peer.line()

        await self.check(b"AUTH LOGIN", curious, LATER)

    async def test_scram(self) -> None:
        """SCRAM before all others: the password does not leave."""
        lines = await self.check(b"AUTH LOGIN PLAIN SCRAM-SHA-256", scram(), "delivered 250 2.0.0")
        self.assertTrue(any(line.startswith(b"AUTH SCRAM-SHA-256 ") for line in lines))

    async def test_scram_server_that_does_not_know_the_password(self) -> None:
        """Neither a wrong proof nor none at all is taken for a welcome."""
        offer = b"AUTH SCRAM-SHA-256"
        await self.check(offer, scram("another"), "deferral 454 4.7.8")
        forged = b"334 " + b64encode(b"v=" + b64encode(bytes(32)))
        await self.check(offer, scram(last=[forged]), LATER)
        await self.check(offer, scram(last=[b"235 2.7.0 welcome"]), LATER)
        await self.check(offer, b"235 2.7.0 welcome", LATER)

    async def test_malformed_challenges(self) -> None:
        """What is no base64, or no SCRAM, ends the login."""
        for challenge in (b"334 ****", b"334 AAAA", b"334", b"334 " + b64encode(b"\xff\xfe")):
            await self.check(b"AUTH SCRAM-SHA-256", challenge, LATER)

    async def test_refused(self) -> None:
        """Wrong credentials, for good or for now, are the operator's to mend: mail waits."""
        for answer in (b"535 5.7.8 wrong", b"454 4.7.0 later", b"421 4.7.0 bye", b"250 what"):
            await self.check(b"AUTH PLAIN", answer, "deferral 454 4.7.8")

    async def test_hung_up_on(self) -> None:
        """A connection that ends at AUTH is a lost connection."""

        async def close(peer: Peer) -> None:
            peer.close()

        await self.check(b"AUTH PLAIN", close, "deferral 451 4.4.2")

    async def test_not_offered(self) -> None:
        """No AUTH, or none that we know: nothing is sent, neither password nor mail."""
        for offer in (b"", b"AUTH", b"AUTH GSSAPI NTLM"):
            lines = await self.check(offer, b"235 2.7.0 welcome", LATER)
            self.assertEqual(lines[-1], b"EHLO us.test")

    async def in_clear(self, manners: Manners, level: TLSLevel, **relay: Any) -> ScriptedServer:
        """An attempt at a server whose AUTH is offered in clear."""
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.attempt(server.port, login=(USER, PASSWORD), tls=level, relay=relay)
        self.last = short(result.outcomes[0])
        self.flushLoggedErrors()
        return server

    async def test_never_in_clear(self) -> None:
        """Without TLS the password is not sent, though AUTH is offered and mail waits for it."""
        manners = Manners([b"AUTH PLAIN LOGIN SCRAM-SHA-256"])
        for level in (TLSLevel.NONE, TLSLevel.MAY):
            server = await self.in_clear(manners, level)
            self.assertEqual((self.last, server.lines), (LATER, [b"EHLO us.test"]))

    async def test_not_in_clear_after_tls_failed(self) -> None:
        """``may`` goes on without TLS when it fails, but not with a password."""
        manners = Manners([b"AUTH PLAIN", b"STARTTLS"], answers={"STARTTLS": b"454 4.7.0 no"})
        server = await self.in_clear(manners, TLSLevel.MAY)
        self.assertEqual(self.last, LATER)
        self.assertFalse(any(line.startswith(b"AUTH") for line in server.lines))

    async def test_in_clear_when_the_route_says_so(self) -> None:
        """A relay host on the same machine may be trusted with it."""
        manners = Manners([b"AUTH PLAIN"], answers={"AUTH": b"235 2.7.0 welcome"})
        server = await self.in_clear(manners, TLSLevel.NONE, auth_without_tls=True)
        self.assertEqual(self.last, "delivered 250 2.0.0")
        self.assertIn(b"AUTH PLAIN " + PLAIN, server.lines)

    async def test_no_helo_with_credentials(self) -> None:
        """A server without EHLO has no AUTH: mail waits, it is not sent without login."""
        manners = Manners(answers={"EHLO": b"502 5.5.1 what?"})
        server = await self.in_clear(manners, TLSLevel.MAY, auth_without_tls=True)
        self.assertEqual((self.last, server.lines), (LATER, [b"EHLO us.test"]))
