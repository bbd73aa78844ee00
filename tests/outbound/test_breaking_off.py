"""Every way in which a server breaks off or breaks the rules, and what that comes to."""

from __future__ import annotations

import socket

from twisted.internet import reactor

from mailrelay.outbound.transcript import MOST_BYTES
from mailrelay.queue.transport import Result
from mailrelay.testing.scripted_server import Answer, Answers, Peer, ScriptedServer, polite
from tests.outbound.delivery import OutboundTestCase, short


async def close(peer: Peer) -> None:
    """Close instead of answering."""
    peer.close()


async def cut(peer: Peer) -> None:
    """Reset instead of answering."""
    peer.cut()


def then_close(answer: bytes) -> Answer:
    """Answer, and close at once."""

    async def said(peer: Peer) -> None:
        peer.say(answer)
        peer.close()

    return said


def raw(data: bytes) -> Answer:
    """These bytes as they are."""

    async def sent(peer: Peer) -> None:
        peer.send(data)

    return sent


def after_354(answer: Answer) -> Answer:
    """Break off while the content comes."""

    async def said(peer: Peer) -> None:
        peer.say(b"354 go on")
        await peer.take(10)
        if callable(answer):
            await answer(peer)
        else:
            peer.say(answer)
        await peer.be_silent()

    return said


GARBAGE: dict[str, bytes] = {
    "no code": b"hello there\r\n",
    "a sign": b"+25 ok\r\n",
    "two digits": b"25 ok\r\n",
    "four digits": b"2500 ok\r\n",
    "a code of class 0": b"050 noise\r\n",
    "a code of class 1": b"150 wait\r\n",
    "a code of class 6": b"650 huh\r\n",
    "a tab": b"250\tok\r\n",
    "an empty line": b"\r\n",
    "a NUL": b"250 o\0k\r\n",
    "a lone CR": b"250 o\rk\r\n",
    "two codes": b"250-one\r\n251 two\r\n",
    "binary": bytes(range(128, 256)) + b"\r\n",
    "an endless line": b"250 " + b"x" * 5000,
    "a too long line": b"250 " + b"x" * 5000 + b"\r\n",
    "endless lines": b"250-more\r\n" * 300,
}


class OpeningTests(OutboundTestCase):
    """Before a transaction."""

    async def opening(self, **answers: Answers) -> Result:
        """An attempt at a server with these answers."""
        server = await ScriptedServer.start(self, reactor, polite(**answers))
        return await self.attempt(server.port)

    async def test_refused(self) -> None:
        """Where nobody listens there is a deferral, and the destination is known to fail."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            result = await self.attempt(unused.getsockname()[1])
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.1")
        self.assertTrue(result.host_failed)
        self.assertEqual(result.attempt.host, "127.0.0.1")

    async def test_gone_before_the_greeting(self) -> None:
        """A connection that ends without a word is a deferral, closed or reset."""
        for script in (close, cut):
            server = await ScriptedServer.start(self, reactor, script)
            result = await self.attempt(server.port)
            self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.2")
            self.assertTrue(result.host_failed)

    async def greeted(self, greeting: bytes) -> str:
        """What comes of a greeting."""

        async def script(peer: Peer) -> None:
            peer.send(greeting)
            await peer.be_silent()

        server = await ScriptedServer.start(self, reactor, script)
        return short(await self.outcome(server.port))

    async def test_greetings(self) -> None:
        """4yz and 5yz greetings count as what they say; no other code is a greeting."""
        cases = {
            b"421 4.3.2 busy\r\n": "deferral 421 4.3.2",
            b"450 later\r\n": "deferral 450 None",
            b"554 5.3.2 no service here\r\n": "failure 554 5.3.2",
            b"554-no\r\n554 mail here\r\n": "failure 554 None",
            b"521 never\r\n": "failure 521 None",
            b"250 ok\r\n": "deferral 451 4.5.0",
            b"354 go on\r\n": "deferral 451 4.5.0",
        }
        for greeting, expected in cases.items():
            self.assertEqual(await self.greeted(greeting), expected, greeting)

    async def test_garbage_for_a_greeting(self) -> None:
        """What is no reply is a deferral, and the connection is given up."""
        for name, data in GARBAGE.items():
            self.assertEqual(await self.greeted(data), "deferral 451 4.5.0", name)

    async def test_garbage_is_in_the_transcript(self) -> None:
        """An operator sees what the server said that was no reply."""
        server = await ScriptedServer.start(
            self, reactor, polite(EHLO=raw(b"what\x07 is this\r\n"))
        )
        result = await self.attempt(server.port)
        self.assertIn("(not an SMTP reply: what? is this)", result.attempt.transcript)

    async def test_transcript_is_bounded(self) -> None:
        """However much the server says, 16 KiB of it are kept."""
        endless = b"".join(b"250-%s\r\n" % (b"\xc3\xa4" * 400) for _ in range(150)) + b"250 end"
        result = await self.opening(EHLO=endless)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        size = len("\n".join(result.attempt.transcript).encode())
        self.assertTrue(MOST_BYTES // 2 < size <= MOST_BYTES, size)

    async def test_helo_after_a_refused_ehlo(self) -> None:
        """Who does not know EHLO gets HELO, and no extension is used."""
        server = await ScriptedServer.start(
            self, reactor, polite(EHLO=b"502 5.5.1 what?", HELO=b"250 hi")
        )
        self.assertEqual(short(await self.outcome(server.port)), "delivered 250 2.0.0")
        self.assertEqual(
            server.lines[:4],
            [
                b"EHLO us.test",
                b"HELO us.test",
                b"MAIL FROM:<a@us.test>",
                b"RCPT TO:<someone@peer.test>",
            ],
        )

    async def test_helo_refused_too(self) -> None:
        """Who knows neither says whether that is for now or for good."""
        cases = {
            b"550 5.7.1 go away": "failure 550 5.7.1",
            b"450 not now": "deferral 450 None",
            b"354 huh": "deferral 451 4.5.0",
        }
        for answer, expected in cases.items():
            result = await self.opening(EHLO=b"502 what?", HELO=answer)
            self.assertEqual(short(result.outcomes[0]), expected)

    async def test_no_helo_after_421(self) -> None:
        """421 means that the server leaves: it is not asked again."""
        server = await ScriptedServer.start(self, reactor, polite(EHLO=b"421 4.3.2 busy"))
        self.assertEqual(short(await self.outcome(server.port)), "deferral 421 4.3.2")
        self.assertEqual(server.lines, [b"EHLO us.test"])

    async def test_gone_after_ehlo(self) -> None:
        """A connection that ends at EHLO is a deferral."""
        for answer in (close, cut):
            result = await self.opening(EHLO=answer)
            self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.2")

    async def test_reply_in_pieces(self) -> None:
        """A reply may come byte by byte; lines may end with LF alone."""

        async def slowly(peer: Peer) -> None:
            await peer.say_slowly(b"250-peer.test\r\n250-PIPELINING\n250 SIZE 1000")

        server = await ScriptedServer.start(self, reactor, polite(EHLO=slowly))
        self.assertEqual(short(await self.outcome(server.port)), "delivered 250 2.0.0")
        self.assertIn(b"SIZE=", server.lines[1])


class TransactionTests(OutboundTestCase):
    """Within a transaction, pipelined and not."""

    async def results(self, **answers: Answers) -> list[str]:
        """What comes of it for two recipients; the same whether pipelined or not."""
        found = []
        for ehlo in (b"250-peer.test\r\n250 PIPELINING", b"250 peer.test"):
            script = polite(EHLO=ehlo, **answers)
            server = await ScriptedServer.start(self, reactor, script)
            result = await self.attempt(server.port, ["one@peer.test", "two@peer.test"])
            self.assertFalse(result.host_failed)
            self.assertEqual(result.attempt.ip, f"127.0.0.1:{server.port}")
            self.assertIn("C: MAIL FROM:<a@us.test>", result.attempt.transcript)
            found.append(" / ".join(short(outcome) for outcome in result.outcomes))
        return found

    async def check(self, expected: str, **answers: Answers) -> None:
        """Both recipients' outcomes, or one for both."""
        both = expected if " / " in expected else f"{expected} / {expected}"
        self.assertEqual(await self.results(**answers), [both, both])

    async def test_codes_beside_250(self) -> None:
        """Any 2yz is a yes (RFC 5321 section 4.2: the first digit decides)."""
        await self.check("delivered 259 2.9.9", **{"RCPT": b"251 ok", ".": b"259 2.9.9 fine"})

    async def test_closed_after_each_command(self) -> None:
        """A connection that ends anywhere before the final reply is a deferral, never more."""
        for verb in ("MAIL", "RCPT", "DATA", "."):
            for answer in (close, cut):
                await self.check("deferral 451 4.4.2", **{verb: answer})

    async def test_421_at_each_point(self) -> None:
        """421 is the reason for all whose fate is open, and ends the connection."""
        for verb in ("MAIL", "RCPT", "DATA", "."):
            await self.check("deferral 421 4.3.2", **{verb: then_close(b"421 4.3.2 bye")})

    async def test_refusals(self) -> None:
        """4yz and 5yz at each point are what they say."""
        for verb in ("MAIL", "RCPT", "DATA", "."):
            await self.check("deferral 450 4.2.0", **{verb: b"450 4.2.0 later"})
            await self.check("failure 550 5.7.1", **{verb: b"550 5.7.1 never"})

    async def test_refusal_counts_though_the_server_hangs_up(self) -> None:
        """5yz and then silence is 5yz: many servers close after it."""
        await self.check("failure 550 5.7.1", MAIL=then_close(b"550 5.7.1 blocked"))
        await self.check("failure 554 5.7.1", DATA=then_close(b"554 5.7.1 blocked"))
        await self.check("failure 554 5.7.1", **{".": then_close(b"554 5.7.1 spam")})

    async def test_own_refusal_is_kept_when_the_connection_ends(self) -> None:
        """One recipient's 5yz stands, the other's fate is open."""
        await self.check(
            "failure 550 5.1.1 / deferral 451 4.4.2",
            RCPT=[b"550 5.1.1 no such user", b"250 ok"],
            DATA=close,
        )

    async def test_partial_refusal(self) -> None:
        """Each recipient has its own outcome, and the content goes to those accepted."""
        await self.check(
            "failure 550 5.1.1 / delivered 250 2.0.0", RCPT=[b"550 5.1.1 no such user", b"250 ok"]
        )
        await self.check(
            "deferral 450 4.2.1 / delivered 250 2.0.0", RCPT=[b"450 4.2.1 later", b"250 ok"]
        )

    async def test_nobody_wanted_but_data_taken(self) -> None:
        """A server that says 354 though it refused all recipients gets nothing (RFC 2920)."""
        server = await ScriptedServer.start(
            self, reactor, polite(RCPT=b"550 5.1.1 no", **{".": b"554 5.5.1 no valid recipients"})
        )
        result = await self.attempt(server.port)
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.1.1")
        self.assertEqual(server.contents, [b""])

    async def test_content_stays_here_when_the_sender_is_refused(self) -> None:
        """Though recipients and DATA are accepted, a refused MAIL means that nothing is sent."""
        server = await ScriptedServer.start(
            self, reactor, polite(MAIL=b"550 5.7.1 not you", **{".": b"250 2.0.0 got nothing"})
        )
        result = await self.attempt(server.port)
        self.assertEqual(short(result.outcomes[0]), "failure 550 5.7.1")
        self.assertEqual(server.contents, [b""])

    async def test_garbage_at_each_point(self) -> None:
        """What is no reply is a deferral for whoever is not refused yet."""
        for verb in ("MAIL", "RCPT", "DATA", "."):
            for name in ("no code", "two codes", "endless lines", "an endless line"):
                with self.subTest(f"{name} at {verb}"):
                    await self.check("deferral 451 4.5.0", **{verb: raw(GARBAGE[name])})

    async def test_3yz_out_of_turn(self) -> None:
        """354 where it cannot be is a server that lost count: a deferral."""
        for verb in ("MAIL", "RCPT", "."):
            await self.check("deferral 451 4.5.0", **{verb: b"354 go on"})

    async def test_2yz_for_data(self) -> None:
        """250 in answer to DATA is no leave to send."""
        server = await ScriptedServer.start(self, reactor, polite(DATA=b"250 ok"))
        result = await self.attempt(server.port)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.5.0")
        self.assertEqual(server.lines[-1], b"RSET")

    async def test_cut_within_a_reply(self) -> None:
        """Half a 250 is none."""

        async def half(peer: Peer) -> None:
            peer.send(b"250 2.0.0 tak")
            peer.close()

        await self.check("deferral 451 4.4.2", **{".": half})

    async def test_cut_within_the_content(self) -> None:
        """A connection that ends while the content is sent is a deferral."""
        await self.check("deferral 451 4.4.2", DATA=after_354(cut))

    async def large(self, answer: Answer) -> Result:
        """An attempt with content that the server does not read to its end."""
        server = await ScriptedServer.start(self, reactor, polite(DATA=after_354(answer)))
        transport = self.transport()
        self.spool = b"a line of content\r\n" * 2_000_000
        return await self.attempt(server.port, transport=transport)

    async def test_early_refusal(self) -> None:
        """552 amid the content is the outcome; the connection is of no more use."""
        result = await self.large(b"552 5.3.4 too big")
        self.assertEqual(short(result.outcomes[0]), "failure 552 5.3.4")
        self.assertIsNone(self.pool.take_idle(f"relay:None@{result.attempt.ip}"))
        await self.pool.gone()

    async def test_early_yes(self) -> None:
        """250 amid the content is a lie: the server cannot have what was not sent."""
        result = await self.large(b"250 2.0.0 taken")
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.5.0")

    async def test_cut_within_large_content(self) -> None:
        """A reset while blocks are read and sent is a deferral."""
        result = await self.large(cut)
        self.assertEqual(short(result.outcomes[0]), "deferral 451 4.4.2")


class TranscriptTests(OutboundTestCase):
    """What the history shows."""

    async def test_whole_dialogue(self) -> None:
        """Every command and reply is there, the content as its size."""
        server = await ScriptedServer.start(self, reactor, polite(EHLO=b"250 peer.test"))
        result = await self.attempt(server.port)
        self.assertEqual(
            list(result.attempt.transcript),
            [
                f"(127.0.0.1 [127.0.0.1]:{server.port})",
                "S: 220 peer.test ESMTP",
                "C: EHLO us.test",
                "S: 250 peer.test",
                "C: MAIL FROM:<a@us.test>",
                "S: 250 2.1.0 ok",
                "C: RCPT TO:<someone@peer.test>",
                "S: 250 2.1.5 ok",
                "C: DATA",
                "S: 354 go on",
                "C: (38 bytes of content)",
                "C: .",
                "S: 250 2.0.0 taken",
            ],
        )

    async def test_failed_opening_is_told(self) -> None:
        """What was said before a connection was given up is there too, with the reason."""
        server = await ScriptedServer.start(self, reactor, polite(EHLO=b"421 4.3.2 busy"))
        result = await self.attempt(server.port)
        self.assertIn("S: 421 4.3.2 busy", result.attempt.transcript)
        self.assertEqual(result.attempt.transcript[-1], "(421 4.3.2 busy)")
