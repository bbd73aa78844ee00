"""Connections kept for the next message, and what happens to those that went bad meanwhile."""

from __future__ import annotations

from twisted.internet import reactor

from mailrelay.outbound.transport import SMTPTransport
from mailrelay.testing.scripted_server import Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, short


class PoolTests(OutboundTestCase):
    """Two messages, one after the other."""

    async def twice(self, server: ScriptedServer, transport: SMTPTransport) -> list[str]:
        """Their outcomes."""
        outcomes = []
        for _ in range(2):
            outcomes.append(short(await self.outcome(server.port, transport=transport)))
        return outcomes

    async def test_reuse(self) -> None:
        """The second message takes the first one's connection, and its history says so."""
        server = await ScriptedServer.start(self, reactor, polite())
        transport = self.transport()
        await self.outcome(server.port, transport=transport)
        result = await self.attempt(server.port, transport=transport)
        self.assertEqual(len(server.peers), 1)
        self.assertEqual(len(server.contents), 2)
        self.assertEqual(
            list(result.attempt.transcript)[:2], ["(connection reused)", "C: MAIL FROM:<a@us.test>"]
        )

    async def test_reuse_after_a_refusal(self) -> None:
        """A refused message leaves a good connection behind, with RSET sent."""
        server = await ScriptedServer.start(
            self, reactor, polite(RCPT=[b"550 5.1.1 no such user", b"250 ok"])
        )
        outcomes = await self.twice(server, self.transport())
        self.assertEqual(outcomes, ["failure 550 5.1.1", "delivered 250 2.0.0"])
        self.assertEqual(len(server.peers), 1)

    async def test_not_between_destinations(self) -> None:
        """Other credentials are another destination: its connections are not shared."""
        script = polite(EHLO=b"250-x\r\n250 AUTH PLAIN", AUTH=b"235 ok")
        server = await ScriptedServer.start(self, reactor, script)
        transport = self.transport()
        relay = {"auth_without_tls": True}
        for user in ("one", "two"):
            await self.attempt(server.port, transport=transport, login=(user, "pw"), relay=relay)
        self.assertEqual(len(server.peers), 2)

    async def test_most_transactions(self) -> None:
        """After so many transactions a connection is closed with QUIT."""
        server = await ScriptedServer.start(self, reactor, polite())
        await self.twice(server, self.transport(reuse_most=1))
        self.assertEqual(len(server.peers), 2)
        self.assertEqual(server.peers[0].lines[-1], b"QUIT")

    async def test_idle_connection_is_closed(self) -> None:
        """A connection that nobody wants is closed with QUIT, and nothing is left of it."""
        server = await ScriptedServer.start(self, reactor, polite())
        transport = self.transport(reuse_idle_for=0.01)
        await self.outcome(server.port, transport=transport)
        await server.peers[0].gone
        await self.pool.gone()
        self.assertEqual(server.lines[-1], b"QUIT")
        self.assertEqual(self.pool.open_connections, 0)

    async def test_closed_meanwhile(self) -> None:
        """A kept connection that the server closed is noticed, and a new one made."""
        for word in ([], [b"421 4.4.2 idle too long"], [b"250 what?"]):

            async def leave(peer: Peer, word: list[bytes] = word) -> None:
                peer.say(b"250 2.0.0 taken")
                await peer.sleep(0.01)
                peer.say(*word)
                if word != [b"250 what?"]:
                    peer.close()

            server = await ScriptedServer.start(self, reactor, polite(**{".": leave}), polite())
            transport = self.transport()
            await self.outcome(server.port, transport=transport)
            await self.pool.gone()
            outcome = await self.outcome(server.port, transport=transport)
            self.assertEqual(short(outcome), "delivered 250 2.0.0")
            self.assertEqual(len(server.peers), 2)

    async def test_closed_at_the_next_message(self) -> None:
        """Closed or reset in answer to MAIL: the message goes out at once on a new one."""

        async def close(peer: Peer) -> None:
            peer.close()

        async def cut(peer: Peer) -> None:
            peer.cut()

        for answer in (close, cut):
            server = await ScriptedServer.start(
                self, reactor, polite(MAIL=[b"250 ok", answer]), polite()
            )
            transport = self.transport()
            await self.outcome(server.port, transport=transport)
            result = await self.attempt(server.port, transport=transport)
            self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
            self.assertEqual(len(server.peers), 2)
            self.assertIn("S: 220 peer.test ESMTP", result.attempt.transcript)

    async def test_an_answer_is_an_answer(self) -> None:
        """421 to MAIL on a kept connection was said of this message: no second try at once."""
        server = await ScriptedServer.start(
            self, reactor, polite(MAIL=[b"250 ok", b"421 4.7.0 enough for today"])
        )
        outcomes = await self.twice(server, self.transport())
        self.assertEqual(outcomes, ["delivered 250 2.0.0", "deferral 421 4.7.0"])
        self.assertEqual(len(server.peers), 1)

    async def test_unasked_reply_with_the_final_one(self) -> None:
        """A reply too many is not taken for the answer to the next message's MAIL."""

        async def too_much(peer: Peer) -> None:
            peer.say(b"250 2.0.0 taken", b"550 5.0.0 and another thing")

        server = await ScriptedServer.start(self, reactor, polite(**{".": too_much}), polite())
        transport = self.transport()
        outcomes = await self.twice(server, transport)
        self.assertEqual(outcomes, ["delivered 250 2.0.0"] * 2)
        self.assertEqual(len(server.peers), 2)

    async def test_reply_before_the_first_command(self) -> None:
        """Replies that nobody asked for, sent with that to EHLO, are not MAIL's."""
        server = await ScriptedServer.start(
            self, reactor, polite(EHLO=b"250 peer.test\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken")
        )
        self.assertEqual(short(await self.outcome(server.port)), "deferral 451 4.5.0")
        self.assertEqual(server.lines, [b"EHLO us.test"])

    async def test_abort(self) -> None:
        """At the end of the grace period what is under way is a deferral."""
        asked: list[Peer] = []

        async def silent(peer: Peer) -> None:
            asked.append(peer)
            self.pool.abort_all()
            await peer.be_silent()

        server = await ScriptedServer.start(self, reactor, polite(**{".": silent}))
        self.assertEqual(short(await self.outcome(server.port)), "deferral 451 4.4.2")
        await self.pool.gone()
        self.assertEqual(self.pool.open_connections, 0)
